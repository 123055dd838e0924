"""Who works on which partition: what each member of a service may take, and when. Pure, time is an argument.

Everyone decides for itself from what it sees, and Redis' compare-and-set lets one of them have it. From any start the loads
of the members come to differ by one at most, and then nothing moves any more.
"""

from collections import Counter
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)

PATIENCE_SECONDS = 1.0
"""A partition that its fair taker has not taken for so long is anybody's: that one may be unable to."""


class Standstill(Generic[K]):
    """For how long counters of others have stood still, by the watcher's own monotonic clock.

    As Kinesis' KCL does it: no clock is ever compared with another's. A look counts for little time however late it comes,
    since whoever watches, or Redis, may itself have been stopped meanwhile, and the counters with it.
    """

    def __init__(self, longest_step_seconds: float) -> None:
        """`longest_step_seconds` is what one look counts at most."""
        self._longest_step_seconds = longest_step_seconds
        self._seen: dict[K, tuple[Hashable, float, float]] = {}

    def look(self, key: K, mark: Hashable, now_seconds: float) -> float:
        """Look at a counter; return for how many seconds it has been seen to stand still."""
        before_mark, before_seconds, still_seconds = self._seen.get(key, (None, now_seconds, 0.0))
        still_seconds += min(now_seconds - before_seconds, self._longest_step_seconds)
        still_seconds = still_seconds if before_mark == mark else 0.0
        self._seen[key] = (mark, now_seconds, still_seconds)
        return still_seconds

    def forget(self, key: K | None = None) -> None:
        """Start anew with one counter or all: after an error nothing is known about the time in between."""
        if key is None:
            self._seen.clear()
        else:
            self._seen.pop(key, None)

    def retain(self, keys: Collection[K]) -> None:
        """Drop every other counter: it is gone."""
        self._seen = {key: seen for key, seen in self._seen.items() if key in keys}


@dataclass(frozen=True, slots=True)
class Seen:
    """A lease as a member sees it; every text is empty where there is none."""

    owner: str
    token: str
    beats: str = "0"
    wanted_by: str = ""
    vacant_seconds: float | None = None
    """For how long somebody else may have it, by the clock of the member; None while its holder works."""


def vacant_seconds(token: str, still_seconds: float, lease_seconds: float) -> float | None:
    """A free lease is vacant since it was first seen; a held one once its counter has stood still for LEASE_SECONDS."""
    if not token:
        return still_seconds
    return still_seconds - lease_seconds if still_seconds >= lease_seconds else None


class Plan(NamedTuple):
    """What a member does in a round: partitions to take now, and one to ask its holder for."""

    take: tuple[int, ...] = ()
    want: int | None = None


def fair_share(partitions: int, members: int) -> int:
    """The most partitions a member holds when all hold as many as the others."""
    return -(-partitions // max(1, members))


def plan(me: str, leases: Mapping[int, Seen], live: Collection[str], *, barred: Collection[int] = ()) -> Plan:
    """Decide about a round. `live` are the members including `me`; what is `barred` this one leaves alone for now."""
    members = sorted({me, *live})
    claims = Claims(leases, members)
    take = _takes(me, leases, claims, fair_share(len(leases), len(members)), barred)
    # What is taken may still be refused: whether a steal is due is seen in the next round.
    return Plan(take, None if take else _steal(me, leases, claims, members, barred))


class Claims:
    """Whose each partition is or is about to be: a wanted one counts as gone from its holder already."""

    def __init__(self, leases: Mapping[int, Seen], members: Collection[str]) -> None:
        self.of = {partition: _claimant(seen, members) for partition, seen in leases.items()}
        self.load = Counter(dict.fromkeys(members, 0))
        self.load.update(member for member in self.of.values() if member)


def _claimant(seen: Seen, members: Collection[str]) -> str:
    if seen.wanted_by in members:
        return seen.wanted_by
    return seen.owner if seen.vacant_seconds is None and seen.owner in members else ""


def _takes(me: str, leases: Mapping[int, Seen], claims: Claims, share: int, barred: Collection[int]) -> tuple[int, ...]:
    load, taken = claims.load[me], []
    for partition, seen in leases.items():
        if seen.vacant_seconds is None or partition in barred:
            continue
        is_mine = me in (seen.wanted_by, seen.owner)
        is_fair = not claims.of[partition] and load < share
        if is_mine or is_fair or seen.vacant_seconds >= PATIENCE_SECONDS:
            load += claims.of[partition] != me
            taken.append(partition)
    return tuple(taken)


def _steal(me: str, leases: Mapping[int, Seen], claims: Claims, members: list[str], barred: Collection[int]) -> int | None:
    richest = max(members, key=lambda member: claims.load[member])
    if claims.load[richest] - claims.load[me] < 2:
        return None
    there = [p for p, seen in leases.items() if claims.of[p] == richest == seen.owner and p not in barred]
    # Several that join at once ask for different ones.
    return there[members.index(me) % len(there)] if there else None
