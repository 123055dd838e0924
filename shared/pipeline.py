"""A partition as an operator looks at it: how full, how fast, how far each group is, and who holds trimming. Pure.

Ages and rates are told by the ids of entries, which are Redis' own time; no clock of another machine is compared with them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

RATE_MS = 10_000
"""The time over which entries are counted for a rate."""
LEAST_RATE_MS = 1000
"""Less of it, where older entries are gone, would make a single entry look like hundreds a second."""


@dataclass(frozen=True)
class Hold:
    """Who keeps a stream from being trimmed: the group that stands lowest."""

    group: str
    entries: int | None
    """That it has yet to read or to acknowledge; None if Redis cannot tell."""
    waiting_seconds: float
    """For how long the oldest of them has waited, by the clock of Redis."""
    is_required: bool
    """Whether the group is never passed; a group of your own is, at 95 % of STREAM_CAP."""


@dataclass(frozen=True)
class Group:
    """A consumer group on a stream."""

    name: str
    lag: int | None
    """Entries that it has not read; None if Redis cannot tell."""
    pending: int
    """Entries that it was given and has not acknowledged."""
    last_id: str
    """Up to where it has read."""
    oldest_id: str | None
    """The oldest entry that it has pending, else the first that it has not read; None if it needs none."""
    waiting_seconds: float | None
    """For how long that one has waited, by the clock of Redis; None if it needs none."""
    is_required: bool
    """Whether trimming never passes it."""


@dataclass(frozen=True)
class StreamState:
    """A stream of a partition; without any entry everything is None or 0."""

    length: int
    seq: int | None
    """Of the newest entry."""
    per_second: float
    """Entries added a second, over the last ten."""
    age_seconds: float | None
    """Since the newest entry was added, by the clock of Redis; None if there never was one."""
    pause_seconds: float | None
    """Between the newest entry and the one before it, of those that came in another moment: what is usual there."""
    source: str
    """Of the newest entry."""
    shed: int
    """Ticks of its ticker that were dropped at the cap before the newest entry."""
    groups: tuple[Group, ...]

    def group(self, name: str) -> Group | None:
        """The group of that name, if there is one."""
        return next((group for group in self.groups if group.name == name), None)

    @property
    def held_by(self) -> Hold | None:
        """The group whose oldest needed entry is the oldest of all; None if no group needs anything."""
        needing = [group for group in self.groups if group.oldest_id is not None]
        if not needing:
            return None
        lowest = min(needing, key=lambda group: (parsed(group.oldest_id or ""), group.name))
        entries = None if lowest.lag is None else max(0, lowest.lag) + lowest.pending
        return Hold(lowest.name, entries, lowest.waiting_seconds or 0.0, lowest.is_required)


@dataclass(frozen=True)
class DeadLetters:
    """What could not be processed: how many there are, and the newest of them."""

    count: int = 0
    stream: str = ""
    reason: str = ""
    age_seconds: float | None = None
    """Since the newest was buried, by the clock of Redis; None if there is none."""


@dataclass(frozen=True)
class Holding:
    """A lease as it stands in Redis; texts are empty where there is none."""

    owner: str
    token: str
    beats: str
    """Its counter: while it moves, the owner lives and works."""
    wanted_by: str


@dataclass(frozen=True)
class PartitionState:
    """One partition in one moment."""

    partition: int
    now_ms: int
    """That moment, by the clock of Redis."""
    ticks: StreamState
    enriched: StreamState
    deadletters: DeadLetters
    holdings: Mapping[str, Holding]
    """By service."""
    consumers: Mapping[str, Sequence[str]]
    """Group of `ticks` to the names of its consumers."""


class GatewayReport(NamedTuple):
    """What a gateway says of itself."""

    name: str
    connections: int
    messages_per_second: float
    lags: tuple[int | None, ...]
    """Of each partition, how many entries it had yet to read at its last look; None while it has not loaded the partition."""
    is_stale: bool
    """Whether it has told its clients that Redis is away."""


class Heard(NamedTuple):
    """A report, and how long ago it was made, by the clock of Redis."""

    report: GatewayReport
    age_seconds: float


def parsed(entry_id: str) -> tuple[int, int]:
    """An entry id as numbers: milliseconds, and the number within them."""
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number)


def seconds_since(entry_id: str, now_ms: int) -> float:
    """How long ago the entry was added; 0 if Redis' clock was turned back since."""
    return max(0.0, round((now_ms - parsed(entry_id)[0]) / 1000, 3))


def per_second(first: tuple[str, int], newest_seq: int, now_ms: int, *, is_cut: bool) -> float:
    """Entries a second, from id and seq of the first entry of the last RATE_MS.

    `is_cut`: older entries of that time may be gone, so it begins with this one.
    """
    counted_ms = max(LEAST_RATE_MS, now_ms - parsed(first[0])[0]) if is_cut else RATE_MS
    return round(max(0, newest_seq - first[1] + 1) * 1000 / counted_ms, 1)
