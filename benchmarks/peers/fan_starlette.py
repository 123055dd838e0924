"""Starlette on uvicorn with uvloop: every update to all, a send after the other. `fan_starlette.py PORT REDIS_URL plain|deflate`."""

import asyncio
import sys
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from updates import updates

PORT, URL, FORM = sys.argv[1:]
clients: set[WebSocket] = set()


async def attend(client: WebSocket) -> None:
    """Serve a connection."""
    await client.accept()
    await client.send_text("{}")
    clients.add(client)
    try:
        while True:
            await client.receive_text()
    except WebSocketDisconnect:
        clients.discard(client)


async def pass_on() -> None:
    """Run until cancelled."""
    async for text in updates(URL):
        for client in list(clients):
            await client.send_text(text)


@asynccontextmanager
async def lifespan(_: Starlette):
    """Pass on while the server runs."""
    task = asyncio.create_task(pass_on())
    yield
    task.cancel()


app = Starlette(routes=[WebSocketRoute("/ws/stocks/", attend)], lifespan=lifespan)
uvicorn.run(
    app, host="127.0.0.1", port=int(PORT), log_level="error", loop="uvloop", ws_ping_interval=None,
    ws_per_message_deflate=FORM == "deflate", backlog=4096,
)  # fmt: skip
