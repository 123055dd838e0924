"""How many entries to read at once: all that are allowed, and fewer while reads do not come through in time. Pure.

A read that is cut off brings nothing: on a slow line the same batch would be asked for again and again, for ever.
"""

SHRINKS_TO = 4
"""A part of what was too much; what comes through is doubled again."""


class BatchSize:
    """The COUNT of the next read."""

    def __init__(self, most: int) -> None:
        self.count = most
        self._most = most

    def on_timeout(self) -> None:
        """Ask for less: no answer came in time, or a write of what was read had none."""
        self.count = max(1, self.count // SHRINKS_TO)

    def on_read(self, entries: int) -> bool:
        """Ask for more if what came was all that was asked for; return whether it was, so that there may be more."""
        is_full = entries >= self.count
        if is_full:
            self.count = min(self._most, self.count * 2)
        return is_full
