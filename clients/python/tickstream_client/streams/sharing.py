"""Who of a group's members works on which partition, by the rules of the pipeline's own services. Pure, time is an argument.

Everyone decides for itself from what it sees, and Redis' compare-and-set lets one of them have it. From any start the loads
of the members come to differ by one at most, and then nothing moves any more.
"""

from collections import Counter
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

PATIENCE_SECONDS = 1.0
"""A partition that its fair taker has not taken for so long is anybody's: that one may be unable to."""


class Standstill:
    """For how long counters of others have stood still, by the watcher's own monotonic clock.

    No clock is compared with another's. A look counts for little time however late it comes: whoever watches, or Redis, may
    itself have been stopped meanwhile, and the counters with it.
    """

    def __init__(self, longest_step_seconds: float) -> None:
        self._longest_step_seconds = longest_step_seconds
        self._seen: dict[Hashable, tuple[Hashable, float, float]] = {}

    def look(self, key: Hashable, mark: Hashable, now_seconds: float) -> float:
        """Look at a counter; return for how many seconds it has been seen to stand still."""
        before_mark, before_seconds, still_seconds = self._seen.get(key, (None, now_seconds, 0.0))
        still_seconds += min(now_seconds - before_seconds, self._longest_step_seconds)
        still_seconds = still_seconds if before_mark == mark else 0.0
        self._seen[key] = (mark, now_seconds, still_seconds)
        return still_seconds

    def forget(self, key: Hashable) -> None:
        """Start anew with one counter: after an error nothing is known about the time in between."""
        self._seen.pop(key, None)

    def retain(self, keys: Collection[Hashable]) -> None:
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
    """A free lease is vacant since it was first seen; a held one once its counter has stood still for the lease's time."""
    if not token:
        return still_seconds
    return still_seconds - lease_seconds if still_seconds >= lease_seconds else None


class Plan(NamedTuple):
    """What a member does in a round: partitions to take now, and one to ask its holder for."""

    take: tuple[int, ...] = ()
    want: int | None = None


def plan(me: str, leases: Mapping[int, Seen], live: Collection[str]) -> Plan:
    """Decide about a round. `live` are the members including `me`."""
    members = sorted({me, *live})
    claims = {partition: _claimant(seen, members) for partition, seen in leases.items()}
    load = Counter(dict.fromkeys(members, 0))
    load.update(member for member in claims.values() if member)
    share = -(-len(leases) // len(members))
    take = _takes(me, leases, claims, load[me], share)
    # What is taken may still be refused: whether one is due from another is seen in the next round.
    return Plan(take, None if take else _steal(me, leases, claims, load, members))


def _claimant(seen: Seen, members: Collection[str]) -> str:
    """Whose a partition is or is about to be: a wanted one counts as gone from its holder already."""
    if seen.wanted_by in members:
        return seen.wanted_by
    return seen.owner if seen.vacant_seconds is None and seen.owner in members else ""


def _takes(me: str, leases: Mapping[int, Seen], claims: Mapping[int, str], load: int, share: int) -> tuple[int, ...]:
    taken = []
    for partition, seen in leases.items():
        if seen.vacant_seconds is None:
            continue
        is_mine = me in (seen.wanted_by, seen.owner)
        is_fair = not claims[partition] and load < share
        if is_mine or is_fair or seen.vacant_seconds >= PATIENCE_SECONDS:
            load += claims[partition] != me
            taken.append(partition)
    return tuple(taken)


def _steal(me: str, leases: Mapping[int, Seen], claims: Mapping[int, str], load: Mapping[str, int], members: list[str]) -> int | None:
    richest = max(members, key=lambda member: load[member])
    if load[richest] - load[me] < 2:
        return None
    there = [partition for partition, seen in leases.items() if claims[partition] == richest == seen.owner]
    # Several that join at once ask for different ones.
    return there[members.index(me) % len(there)] if there else None
