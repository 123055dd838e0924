"""What a member may take in a round; and from any start all members' loads come to differ by one at most, and stay so."""

from collections import Counter
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.lease_rules import PATIENCE_SECONDS, Plan, Seen, fair_share, plan, vacant_seconds

ROUND_SECONDS = 0.5
LEASE_SECONDS = 1.0


def held(owner: str, wanted_by: str = "") -> Seen:
    return Seen(owner, f"token of {owner}", wanted_by=wanted_by)


def free(seconds: float = 0.0, wanted_by: str = "") -> Seen:
    return Seen("", "", wanted_by=wanted_by, vacant_seconds=seconds)


def stood_still(owner: str, seconds: float = 0.0, wanted_by: str = "") -> Seen:
    return Seen(owner, f"token of {owner}", wanted_by=wanted_by, vacant_seconds=seconds)


def leases(*seen: Seen) -> dict[int, Seen]:
    return dict(enumerate(seen))


@pytest.mark.parametrize(("partitions", "members", "share"), [(4, 1, 4), (4, 2, 2), (4, 3, 2), (4, 5, 1), (64, 3, 22), (1, 0, 1)])
def test_a_fair_share_is_rounded_up(partitions: int, members: int, share: int) -> None:
    assert fair_share(partitions, members) == share


def test_a_member_alone_takes_every_free_partition_at_once() -> None:
    assert plan("a", leases(free(), free(), free()), {"a"}) == Plan((0, 1, 2), None)


def test_a_member_takes_free_partitions_up_to_its_share() -> None:
    assert plan("a", leases(free(), free(), free(), held("a")), {"a", "b"}).take == (0,)


def test_what_a_holder_left_standing_is_taken_as_if_it_were_free() -> None:
    assert plan("a", leases(held("a"), stood_still("dead")), {"a"}).take == (1,)


def test_what_beats_is_never_taken() -> None:
    assert plan("a", leases(held("dead"), held("b")), {"a", "b"}).take == ()


def test_beyond_its_share_a_member_waits_whether_the_fair_taker_comes() -> None:
    mine = (held("a"), held("a"))
    for vacant in (free, lambda seconds: stood_still("b", seconds)):
        assert plan("a", leases(*mine, vacant(PATIENCE_SECONDS - 0.01), held("b")), {"a", "b"}) == Plan()
        assert plan("a", leases(*mine, vacant(PATIENCE_SECONDS), held("b")), {"a", "b"}).take == (2,)


def test_a_partition_that_was_asked_for_is_left_to_the_one_that_asked() -> None:
    assert plan("a", leases(free(wanted_by="b"), held("b")), {"a", "b"}).take == ()
    assert plan("b", leases(free(wanted_by="b"), held("b")), {"a", "b"}).take == (0,)
    assert plan("a", leases(free(PATIENCE_SECONDS, wanted_by="b"), held("b")), {"a", "b"}).take == (0,)
    assert plan("a", leases(free(wanted_by="dead"), held("b")), {"a", "b"}).take == (0,)


def test_what_stands_in_my_own_name_and_is_not_held_is_taken_again() -> None:
    """The answer to an acquire was lost, or that to a release."""
    assert plan("a", leases(held("a"), stood_still("a")), {"a", "b"}).take == (1,)


def test_the_one_with_two_more_is_asked_for_one() -> None:
    assert plan("b", leases(held("a"), held("a")), {"a", "b"}) == Plan((), 1)
    assert plan("b", leases(held("a"), held("a"), held("b")), {"a", "b"}) == Plan()


def test_what_is_asked_for_already_counts_as_gone_and_as_the_askers() -> None:
    assert plan("b", leases(held("a", "b"), held("a"), held("a")), {"a", "b"}) == Plan()
    assert plan("c", leases(held("a", "b"), held("a"), held("a")), {"a", "b", "c"}).want in (1, 2)
    assert plan("c", leases(held("a", "b"), held("a")), {"a", "b", "c"}) == Plan()


def test_an_asker_that_died_counts_for_nothing() -> None:
    assert plan("b", leases(held("a", "dead"), held("a", "dead")), {"a", "b"}).want is not None


def test_the_most_loaded_is_asked() -> None:
    many = leases(held("b"), held("b"), *[held("c")] * 3)
    assert plan("a", many, {"a", "b", "c"}).want in (2, 3, 4)


def test_members_that_join_at_once_ask_for_different_partitions() -> None:
    everything = leases(*[held("a")] * 4)
    assert len({plan(me, everything, {"a", "b", "c"}).want for me in ("b", "c")}) == 2


def test_a_round_that_takes_asks_for_nothing() -> None:
    assert plan("b", leases(*[held("a")] * 4, free()), {"a", "b"}) == Plan((4,), None)


def test_what_is_barred_is_neither_taken_nor_asked_for() -> None:
    assert plan("b", leases(held("a"), held("a"), held("a"), free(9)), {"a", "b"}, barred={0, 1, 3}) == Plan((), 2)


def test_a_member_that_the_others_have_not_seen_yet_counts_itself() -> None:
    assert plan("b", leases(held("a"), held("a")), {"a"}).want is not None


@dataclass
class World:
    """Leases in Redis, and what members do to them in rounds."""

    members: list[str]
    owners: list[str]
    wanters: list[str]
    vacant_for: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.vacant_for = [0.0] * len(self.owners)

    def seen(self) -> dict[int, Seen]:
        return {
            p: Seen(owner, owner and f"token of {owner}", wanted_by=self.wanters[p], vacant_seconds=self.vacant(p))
            for p, owner in enumerate(self.owners)
        }

    def vacant(self, p: int) -> float | None:
        if self.owners[p] in self.members:
            return None
        return vacant_seconds(self.owners[p], self.vacant_for[p], LEASE_SECONDS)

    def act(self, me: str, seen: dict[int, Seen]) -> Plan:
        """A round of one member; Redis refuses what is not as it was seen."""
        decided = plan(me, seen, self.members)
        for p in decided.take:
            assert seen[p].vacant_seconds is not None
            if self.owners[p] == seen[p].owner:
                self.owners[p], self.wanters[p], self.vacant_for[p] = me, "", 0.0
        if decided.want is not None:
            p = decided.want
            assert seen[p].owner in self.members
            assert seen[p].owner != me
            if (self.owners[p], self.wanters[p]) == (seen[p].owner, seen[p].wanted_by):
                self.wanters[p] = me
        return decided

    def hand_over(self, me: str) -> None:
        """As the holder does it: what another live member wants is given back."""
        for p, wanter in enumerate(self.wanters):
            if self.owners[p] == me and wanter in self.members and wanter != me:
                self.owners[p], self.vacant_for[p] = "", 0.0

    def tick(self) -> None:
        self.vacant_for = [
            0.0 if owner in self.members else seconds + ROUND_SECONDS for owner, seconds in zip(self.owners, self.vacant_for, strict=True)
        ]

    @property
    def loads(self) -> Counter[str]:
        found = Counter(dict.fromkeys(self.members, 0))
        found.update(self.owners)
        return found


@st.composite
def worlds(draw: st.DrawFn) -> World:
    partitions = draw(st.integers(1, 9))
    members = [f"m{n}" for n in range(draw(st.integers(1, 6)))]
    names = st.sampled_from([*members, members[0], "dead", ""])
    owners, wanters = (draw(st.lists(names, min_size=partitions, max_size=partitions)) for _ in range(2))
    return World(members, owners, wanters)


def rounds_to_converge(world: World) -> int:
    """The lease of dead holders, patience for wants that lead nowhere, and a steal per round and member."""
    return round((LEASE_SECONDS + PATIENCE_SECONDS) / ROUND_SECONDS) + 2 * len(world.owners) + 4


@settings(max_examples=60)
@given(worlds(), st.randoms(use_true_random=False), st.booleans())
def test_from_any_start_the_loads_come_to_differ_by_one_at_most_and_then_nothing_moves(world: World, chance: Random, in_step: bool) -> None:
    """`in_step`: all members look before any of them acts."""
    for _ in range(rounds_to_converge(world)):
        one_round(world, chance, in_step=in_step)
    loads = world.loads
    assert set(loads) == set(world.members)
    assert max(loads.values()) - min(loads.values()) <= 1
    for _ in range(5):
        before = list(world.owners)
        assert one_round(world, chance, in_step=in_step) == [Plan()] * len(world.members)
        assert world.owners == before


def one_round(world: World, chance: Random, *, in_step: bool) -> list[Plan]:
    order = list(world.members)
    chance.shuffle(order)
    seen = world.seen()
    plans = []
    for me in order:
        plans.append(world.act(me, seen if in_step else world.seen()))
        world.hand_over(me)
    world.tick()
    return plans


@settings(max_examples=30)
@given(worlds(), st.randoms(use_true_random=False))
def test_a_member_that_joins_takes_no_more_than_its_share_and_nothing_moves_between_the_others(world: World, chance: Random) -> None:
    for _ in range(rounds_to_converge(world)):
        one_round(world, chance, in_step=False)
    before = list(world.owners)
    world.members.append("new")
    moves = 0
    for _ in range(rounds_to_converge(world)):
        was = list(world.owners)
        one_round(world, chance, in_step=False)
        assert all(now in (old, "new", "") for old, now in zip(before, world.owners, strict=True))
        moves += sum(now == "new" != old for old, now in zip(was, world.owners, strict=True))
    assert moves == world.loads["new"] == len(before) // len(world.members)
