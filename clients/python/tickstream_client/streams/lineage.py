"""Which life of a partition an entry belongs to, and what a new one took from who had read in the one before. Pure.

An incarnation ends when Redis restarts, fails over or is restored; `log:{p}` lists those that ended, each with what survived.
"""

import json
from dataclasses import dataclass
from enum import Enum, auto


@dataclass(frozen=True, slots=True)
class Ended:
    """What survived of an incarnation on one stream: its last seq and entry id."""

    incarnation: str
    seq: int
    entry_id: str


@dataclass(frozen=True, slots=True)
class Head:
    """The incarnation now, and those that ended, oldest first."""

    incarnation: str
    ended: tuple[Ended, ...] = ()

    def label(self, seq: int) -> str:
        """The incarnation of an entry: the first listed one that lasted to its seq, else the current one."""
        return next((each.incarnation for each in self.ended if each.seq >= seq), self.incarnation)

    def end_of(self, incarnation: str) -> Ended | None:
        """What survived of an incarnation that is listed."""
        return next((each for each in self.ended if each.incarnation == incarnation), None)


@dataclass(frozen=True, slots=True)
class Position:
    """The last entry that was worked on: its incarnation, seq and entry id."""

    incarnation: str
    seq: int
    entry_id: str


class Fate(Enum):
    """What became of a position."""

    KEPT = auto()
    REWOUND = auto()
    """It is beyond what survived of its incarnation."""
    FORGOTTEN = auto()
    """Nothing is known of its incarnation: everything was lost."""


def fate(position: Position, head: Head) -> tuple[Fate, str]:
    """Judge a position; return also the entry id after which what follows it is found."""
    if position.incarnation == head.incarnation:
        return Fate.KEPT, position.entry_id
    end = head.end_of(position.incarnation)
    if end is None:
        return Fate.FORGOTTEN, "0-0"
    return (Fate.KEPT, position.entry_id) if position.seq <= end.seq else (Fate.REWOUND, end.entry_id)


def read_head(stream: str, incarnation: str, lineage: str) -> Head:
    """Decode two fields of `log:{p}` for a stream."""
    ends = ((each["incarnation"], each[stream]) for each in json.loads(lineage))
    return Head(incarnation, tuple(Ended(name, int(end["seq"]), str(end["id"])) for name, end in ends))
