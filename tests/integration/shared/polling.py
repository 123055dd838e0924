"""Waiting for what only Redis can tell."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], Awaitable[object]], seconds: float = 10.0) -> None:
    """Ask again and again until it holds; TimeoutError if it does not within the time."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)
