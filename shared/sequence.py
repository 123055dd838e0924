"""The dense numbering of a partition's ticks: what a hole means, and what cannot be a number that `append` gave."""

import re
from collections.abc import Iterator, Sequence

from shared.errors import InvalidEntry
from shared.events import TICK_PATTERNS

_is_seq = re.compile(TICK_PATTERNS["seq"], re.ASCII).fullmatch

Hole = tuple[int, int]
"""The first and the last of seqs that are missing."""


class SequenceCheck:
    """Follows the seq of a stream's entries from the last one that was passed."""

    def __init__(self, last: int) -> None:
        self.last = last
        self._refused: set[int] = set()

    def advance(self, seq: int, newest: int) -> int:
        """Pass an entry and return how many seqs are missing before it (0 in a whole stream of ticks).

        `newest` is the last seq that was assigned. Raise `InvalidEntry` for a seq that was passed before or never assigned:
        only a stranger writes that, and believing it would hide the true entries that follow.
        """
        if seq <= self.last:
            raise InvalidEntry(f"seq {seq} is not above {self.last}, the last one")
        if seq > newest:
            raise InvalidEntry(f"seq {seq} was never assigned, the newest is {newest}")
        missing = seq - self.last - 1
        self.last = seq
        return missing

    def refuse(self, entry: Sequence[str], newest: int) -> None:
        """Note the seq of an entry that cannot be read: no hole, unless a true one comes with that seq, and then a stranger's."""
        seq = dict(zip(entry[::2], entry[1::2], strict=True)).get("seq", "")
        self._refused = {refused for refused in self._refused if refused > self.last}
        if _is_seq(seq) and self.last < int(seq) <= newest:
            self._refused.add(int(seq))

    def holes(self, seq: int, missing: int) -> Iterator[Hole]:
        """What is missing before `seq`, as `advance` counted it, without the entries that were there and refused."""
        first = seq - missing
        for end in (*sorted(refused for refused in self._refused if first <= refused < seq), seq):
            if first < end:
                yield first, end - 1
            first = end + 1
