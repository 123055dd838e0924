"""How many calls a provider allows: so many within any minute and within any second, counted so that the provider agrees.

A call occupies its place from its begin until a whole window after its end. The provider counts it somewhere in between, so
whatever its network needed, no window of the provider's ever holds more than is allowed.
"""

from collections import deque

MINUTE_SECONDS = 60.0
SECOND_SECONDS = 1.0
IN_FLIGHT_SECONDS = 0.05
"""How long to wait before looking again when calls that are on their way occupy everything."""


class Quota:
    """Places for calls; times are seconds of one steady clock."""

    def __init__(self, per_minute: int, per_second: int) -> None:
        self._per_minute = per_minute
        self._per_second = per_second
        self._share = 1.0
        self._in_flight = 0
        self._ended: deque[float] = deque()
        self._paused_until = float("-inf")

    def take_share(self, share: float) -> None:
        """Use this part (0 … 1) of what is allowed: other processes with other partitions use the rest."""
        self._share = share

    def wait_seconds(self, now: float) -> float:
        """How long to wait for a place; 0 if a call may begin at `now`."""
        while self._ended and self._ended[0] <= now - MINUTE_SECONDS:
            self._ended.popleft()
        return max(
            0.0,
            self._paused_until - now,
            self._wait_for(self._per_minute, MINUTE_SECONDS, now),
            self._wait_for(self._per_second, SECOND_SECONDS, now),
        )

    def _wait_for(self, allowed: int, window_seconds: float, now: float) -> float:
        places = max(1, int(allowed * self._share))
        recent = [ended for ended in self._ended if ended > now - window_seconds]
        surplus = self._in_flight + len(recent) - places
        if surplus < 0:
            return 0.0
        return recent[surplus] + window_seconds - now if surplus < len(recent) else IN_FLIGHT_SECONDS

    def begin(self) -> None:
        """Occupy a place."""
        self._in_flight += 1

    def end(self, now: float) -> None:
        """Give the place back, one window from now on."""
        self._in_flight -= 1
        self._ended.append(now)

    def is_paused(self, now: float) -> bool:
        """Whether calls are held back by a pause."""
        return now < self._paused_until

    def pause(self, now: float, seconds: float) -> None:
        """Begin no call for so long: the provider said that it counts more than we do."""
        self._paused_until = max(self._paused_until, now + seconds)
