"""When an operator is told that a stream fills up: once at 50 % and once at 80 % of STREAM_CAP, again if another group holds
it by then, and once when it is over. Pure.

What counts is what trimming may not remove because a group has yet to read it. What only REPLAY_WINDOW_SECONDS keeps gives
way by itself, and is no reason to wake anybody.
"""

from enum import Enum

LEVELS = (0.5, 0.8)
"""Parts of STREAM_CAP at which a warning is given."""
BACK = 0.05
"""So far below a level a stream must fall before it counts as back: one that sways around a level is told of once."""


class Change(Enum):
    """What an operator is told."""

    FILLING = "filling"
    BACK = "back"


class Fullness:
    """Of one stream, from one look to the next."""

    def __init__(self) -> None:
        self.level = 0.0
        """The highest level that was reached and not left again; 0 for none."""
        self._told_of = ""

    def on_look(self, ratio: float, held_by: str) -> Change | None:
        """Take in how much of the cap is held, and by which group; say what is to be told."""
        before = self.level
        reached = max((level for level in LEVELS if ratio >= level), default=0.0)
        kept = max((level for level in LEVELS if level <= before and ratio > level - BACK), default=0.0)
        self.level = max(reached, kept)
        if self.level > before or (self.level and held_by != self._told_of):
            self._told_of = held_by
            return Change.FILLING
        return Change.BACK if before and not self.level else None
