"""A clock that a test moves: weeks pass in a second, and nothing is late because the machine is slow."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from heapq import heappop, heappush
from itertools import count


class SteeredClock:
    """As `services.fetcher.clock.Clock`; time stands still until it is moved. Also callable, for a fake that wants the time."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._order = count()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._came = asyncio.Event()

    def __call__(self) -> float:
        return self._now

    def now(self) -> float:
        return self._now

    def steady(self) -> float:
        return self._now

    async def wait(self, seconds: float, ended: asyncio.Event) -> bool:
        with self._entered(self._now + seconds) as due:
            ending = asyncio.ensure_future(ended.wait())
            try:
                await asyncio.wait((due, ending), return_when=asyncio.FIRST_COMPLETED)
            finally:
                ending.cancel()
        return ended.is_set()

    @contextmanager
    def _entered(self, due_at: float) -> Iterator["asyncio.Future[None]"]:
        entry = (due_at, next(self._order), asyncio.get_running_loop().create_future())
        heappush(self._waiting, entry)
        self._came.set()
        try:
            yield entry[2]
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)

    def move_to(self, now: float) -> None:
        """Let time pass; who is due goes on."""
        self._now = max(self._now, now)
        while self._waiting and self._waiting[0][0] <= self._now:
            _, _, due = heappop(self._waiting)
            if not due.done():
                due.set_result(None)

    async def until_waiting(self, parties: int) -> None:
        """Wait until so many have nothing to do but to wait for the time."""
        while len(self._waiting) < parties:
            self._came.clear()
            await self._came.wait()

    async def run_to(self, end: float, parties: int) -> None:
        """Let time pass up to `end`, from one who is due to the next, giving all `parties` the time they need in between."""
        while True:
            await self.until_waiting(parties)
            if self._waiting[0][0] > end:
                return self.move_to(end)
            self.move_to(self._waiting[0][0])
