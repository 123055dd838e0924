"""A client that was sent more elsewhere waits until this gateway has come as far: it is not told a loss, nor shown older prices."""

import asyncio
from contextlib import suppress

from websockets.asyncio.server import ServerConnection

from services.gateway.hub import Hub

CATCH_UP_SECONDS = 2.0
"""Gateways are a flush apart, the delay of a read, or an incarnation that one has not noticed yet. After that it is no true cursor."""
CHECK_SECONDS = 0.05


async def catch_up(hub: Hub, since: str, websocket: ServerConnection) -> None:
    """Return once the cursor can be answered, is in the future for good, or nobody waits for an answer any more."""
    gone = asyncio.ensure_future(websocket.wait_closed())
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_SECONDS):
                while hub.is_behind(since) and not gone.done():
                    await asyncio.wait((gone,), timeout=CHECK_SECONDS)
    finally:
        gone.cancel()
