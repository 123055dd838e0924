"""Which life of a partition an entry belongs to, and whether a reader lost something when a new one began.

An incarnation ends when Redis restarts, fails over or is restored. `log:{p}` lists those that ended, each with what
survived of it per stream; a reader compares its position with the end of its own incarnation on its own stream.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

import msgspec


class End(msgspec.Struct, frozen=True):
    """What survived of an incarnation on one stream: last seq, last entry id, entries added so far."""

    seq: int
    id: str
    added: int


class Ended(msgspec.Struct, frozen=True):
    """An incarnation that ended, with its end on each stream."""

    incarnation: str
    ticks: End
    enriched: End
    events: End

    def end_on(self, stream: str) -> End:
        """The end on the stream of that name."""
        end: End = getattr(self, stream)
        return end


@dataclass(frozen=True)
class Head:
    """The head of a partition: its incarnation now, those that ended (oldest first), the last seq per stream."""

    incarnation: str
    lineage: tuple[Ended, ...]
    last_seq: Mapping[str, int]


class Resolution(Enum):
    """What a reader does after a new incarnation began."""

    CONTINUE = auto()
    """Nothing below the position was lost."""
    REWIND = auto()
    """The position is beyond what survived of its incarnation."""
    RESET = auto()
    """The incarnation is not known any more."""


def parse_lineage(text: str) -> tuple[Ended, ...]:
    """Decode the `lineage` field of `log:{p}`."""
    return msgspec.json.decode(text, type=tuple[Ended, ...])


def resolve(stream: str, incarnation: str, seq: int, head: Head) -> Resolution:
    """Judge a position (the label of the last entry read and its seq) against the head as it is now."""
    if incarnation == head.incarnation:
        return Resolution.CONTINUE
    for ended in head.lineage:
        if ended.incarnation == incarnation:
            return Resolution.CONTINUE if seq <= ended.end_on(stream).seq else Resolution.REWIND
    return Resolution.RESET


def label(stream: str, seq: int, head: Head) -> str:
    """The incarnation an entry belongs to: the first listed one whose end is not below its seq, else the current one."""
    for ended in head.lineage:
        if ended.end_on(stream).seq >= seq:
            return ended.incarnation
    return head.incarnation
