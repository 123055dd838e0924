"""Whether a peer that says nothing still lives: it is asked, and taken for dead if nothing comes of that."""

from enum import Enum, auto


class Sign(Enum):
    """What a look at a peer says."""

    ALIVE = auto()
    ASK = auto()
    MUTE = auto()


class Pulse:
    """When a peer was last heard of, as precise as the looks are frequent. Times are seconds of one monotonic clock."""

    __slots__ = ("_heard_at",)

    def __init__(self, now: float) -> None:
        self._heard_at = now

    def look(self, now: float, was_heard: bool, *, ask_seconds: float, mute_seconds: float) -> Sign:
        """Say what to do about a peer; `was_heard`: anything came from it since the last look."""
        if was_heard:
            self._heard_at = now
        silent_seconds = now - self._heard_at
        if silent_seconds >= mute_seconds:
            return Sign.MUTE
        return Sign.ASK if silent_seconds >= ask_seconds else Sign.ALIVE
