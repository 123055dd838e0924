"""What a worker loads from a partition's log and what it commits to it: plain values, all text that nobody computes with."""

from dataclasses import dataclass
from typing import NamedTuple

Entries = list[tuple[str, list[str]]]
"""Entries of a stream as (entry id, names and values of its fields in turn), as Redis sends them."""


class Outcome(NamedTuple):
    """What a worker made of a batch of ticks, in the shape that `commit` takes; every value is text."""

    prices: dict[str, list[str]]
    """Touched ticker to its new prices, oldest first, at most SMA_PERIOD."""
    events: list[str]
    """Eight values per enriched event, flat."""
    latest: list[str]
    """Ticker and JSON, flat."""
    sides: list[str]
    """Ticker and side of those that changed, flat."""
    deadletters: list[str]
    """Entry id, reason and payload, flat."""


class Digest(NamedTuple):
    """A batch of entries, digested: the outcome to commit, and where the cursor stands before and after it."""

    previous: str
    """Entry id of the cursor that the batch was read from."""
    last: str
    """Entry id of the batch's last entry."""
    seq: int
    """The seq of the last tick that was passed."""
    passed: int
    """Entries passed since the stream exists, lost ones included: the group's ENTRIESREAD."""
    missing: tuple[tuple[int, int], ...]
    """Ranges of seqs (first, last) that were lost before an entry of this batch."""
    outcome: Outcome


@dataclass(frozen=True)
class State:
    """The analyzer's committed state of a partition, as one moment had it."""

    incarnation: str
    period: int
    cursor: str
    passed: int
    seq: int
    """The seq of the last tick that was passed."""
    sides: dict[str, int]
    prices: dict[str, list[str]]
