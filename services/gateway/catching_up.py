"""A client that was sent more elsewhere waits until this gateway has come as far: it is not told a loss, nor shown older prices."""

import asyncio
from contextlib import suppress

from websockets.asyncio.server import ServerConnection

from services.gateway.hub import Hub

CHECK_SECONDS = 0.05


async def catch_up(hub: Hub, since: str, websocket: ServerConnection, seconds: float) -> None:
    """Return once the cursor can be answered, is not reached for so many seconds, or nobody waits for an answer any more."""
    if not hub.is_behind(since):
        return
    gone = asyncio.ensure_future(websocket.wait_closed())
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while hub.is_behind(since) and not gone.done():
                    await asyncio.wait((gone,), timeout=CHECK_SECONDS)
    finally:
        gone.cancel()
