"""Follows the gateways as any client would, and keeps a board up to date."""

import asyncio
import time
from collections.abc import Sequence
from itertools import cycle

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from services.admin.board import Board
from shared.backoff import Backoff
from shared.runtime import wait_or_stop


async def follow(urls: Sequence[str], board: Board, ready: asyncio.Event, stop: asyncio.Event) -> None:
    """Feed `board` until `stop`, from the next of the gateways whenever one goes away; `ready` is set by the first message."""
    backoff = Backoff(0.1, 2)
    for url in cycle(urls):
        try:
            await _follow_one(url, board, ready, backoff)
        except (OSError, TimeoutError, WebSocketException):
            board.is_connected = False
        if await wait_or_stop(stop, backoff.next_seconds()):
            return


async def _follow_one(url: str, board: Board, ready: asyncio.Event, backoff: Backoff) -> None:
    # A proxy for outgoing traffic has no business between us and our own gateway.
    async with connect(url, proxy=None, compression=None, open_timeout=5) as gateway:
        async for message in gateway:
            board.on_message(message, time.monotonic())
            board.is_connected = True
            ready.set()
            backoff.reset()
    board.is_connected = False
