"""What a stream still holds, and what that tells a reader of a hole in the seqs: was it deleted unread, or never there. Pure.

The seqs of `enriched` are not dense, since a dead-lettered tick leaves none, so a hole alone proves nothing. Entries go from
the front only: as long as the entry where the reader stands is there, nothing behind it is gone. Once that entry is gone,
the entries ever added, less those still there, less those that were read, are those that nobody read.
"""

from collections.abc import Iterable
from typing import NamedTuple


class Retained(NamedTuple):
    """A stream in one moment; ids are empty, and counts 0, where there is nothing."""

    first_id: str
    """Of the oldest entry that is still there."""
    last_id: str
    """Of the newest entry that is still there."""
    newest_id: str
    """Of the newest entry there ever was."""
    length: int
    added: int
    """Entries ever added."""
    first_seq: int = 0
    """The seq of the oldest entry, 0 if it has none."""

    def has_after(self, entry_id: str) -> bool:
        """Whether a reader that stands at `entry_id` has anything left to read."""
        return bool(self.last_id) and is_after(self.last_id, entry_id)

    def began_anew(self, entry_id: str) -> bool:
        """Whether the stream was deleted and numbers from lower ids on: a reader would wait behind `entry_id` for ever."""
        return is_after(entry_id, self.newest_id)

    def was_cut(self, entry_id: str, passed: int, read_ids: Iterable[str] = ()) -> bool:
        """Whether entries after `entry_id` were deleted unread, by a reader that has passed so many up to there.

        `read_ids` are those it has read since, which may have been trimmed already, rightly.
        """
        if self.length and not is_after(self.first_id, entry_id):
            return False
        read_and_gone = sum(1 for read in read_ids if not self.length or is_after(self.first_id, read))
        # Below 0: the stream was deleted, and began to count anew.
        return self.added - self.length - passed - read_and_gone != 0


NOTHING = Retained("", "", "0-0", 0, 0)


def is_after(entry_id: str, other: str) -> bool:
    """Compare two entry ids as Redis writes them."""
    return _parts(entry_id) > _parts(other)


def _parts(entry_id: str) -> tuple[int, int]:
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number)
