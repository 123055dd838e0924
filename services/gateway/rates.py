"""How often a client may send something: a token bucket. Pure: time is an argument, seconds of one monotonic clock."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """Frames that may come at once, and how many more every second."""

    burst: int = 300
    per_second: float = 20.0


class Bucket:
    """Full at first; every frame takes one, and time fills it up again."""

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._left = float(rate.burst)
        self._at = now

    def take(self, now: float) -> bool:
        """Take one; False if it is empty."""
        self._left = min(self._rate.burst, self._left + (now - self._at) * self._rate.per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
