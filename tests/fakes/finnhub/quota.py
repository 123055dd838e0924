"""How many calls a key has: so many in any 60 seconds, and so many in any second. Refused calls are not counted."""

import math
from collections import deque
from typing import NamedTuple

MINUTE_SECONDS = 60
SECOND = 1


class Rate(NamedTuple):
    """What the headers of an answer say; `reset` is the epoch second from which a further call is possible."""

    limit: int
    remaining: int
    reset: int
    is_exceeded: bool = False

    def headers(self) -> dict[str, str]:
        """The headers, spelled as Finnhub does. There is no Retry-After."""
        return {
            "X-Ratelimit-Limit": str(self.limit),
            "X-Ratelimit-Remaining": str(self.remaining),
            "X-Ratelimit-Reset": str(self.reset),
        }


class Quota:
    """The calls of one key."""

    def __init__(self, per_minute: int, per_second: int) -> None:
        self.per_minute = per_minute
        self.per_second = per_second
        self._times: deque[float] = deque()
        """When calls of the last minute were taken, oldest first."""

    def take(self, now: float) -> Rate:
        """Count a call, if it is within the quota."""
        self._forget(now)
        if (free_at := self._free_at(now)) > now:
            return Rate(self.per_minute, 0, math.ceil(free_at), is_exceeded=True)
        self._times.append(now)
        return self.rate(now)

    def rate(self, now: float) -> Rate:
        """What is left, counting nothing."""
        self._forget(now)
        oldest = self._times[0] if self._times else now
        return Rate(self.per_minute, self.per_minute - len(self._times), math.ceil(oldest + MINUTE_SECONDS))

    def exhausted(self, now: float) -> Rate:
        """What is said to who has no quota at all."""
        return Rate(self.per_minute, 0, math.ceil(now + MINUTE_SECONDS), is_exceeded=True)

    def _free_at(self, now: float) -> float:
        """When a further call is possible; `now` or earlier if at once."""
        limits = ((self.per_minute, MINUTE_SECONDS), (self.per_second, SECOND))
        return max((self._times[-most] + seconds for most, seconds in limits if len(self._times) >= most), default=now)

    def _forget(self, now: float) -> None:
        while self._times and self._times[0] + MINUTE_SECONDS <= now:
            self._times.popleft()
