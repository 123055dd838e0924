"""The time that sources go by, as an argument: weeks of market hours can be lived through in a second."""

import asyncio
import time
from typing import Protocol

from shared.runtime import wait_or_stop


class Clock(Protocol):
    """What time it is, and waiting for it to pass."""

    def now(self) -> float:
        """Epoch seconds; may be set back."""

    def steady(self) -> float:
        """Seconds of a clock that is never set."""

    async def wait(self, seconds: float, ended: asyncio.Event) -> bool:
        """Wait for `seconds` or until `ended` is set; return whether it is set."""


class SystemClock:
    """The machine's."""

    def now(self) -> float:
        """Epoch seconds."""
        return time.time()

    def steady(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    async def wait(self, seconds: float, ended: asyncio.Event) -> bool:
        """Wait for real."""
        return await wait_or_stop(ended, seconds)
