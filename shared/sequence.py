"""The dense numbering of a partition's ticks: what a hole means, and what cannot be a number that `append` gave."""

from shared.errors import InvalidEntry


class SequenceCheck:
    """Follows the seq of a stream's entries from the last one that was passed."""

    def __init__(self, last: int) -> None:
        self.last = last

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
