"""The library websockets: every update to all with `broadcast`. `fan_websockets.py PORT REDIS_URL plain|deflate`."""

import sys

import uvloop
from updates import updates
from websockets.asyncio.server import ServerConnection, broadcast, serve


async def main(port: str, url: str, form: str) -> None:
    """Run until killed."""
    clients: set[ServerConnection] = set()

    async def attend(client: ServerConnection) -> None:
        await client.send("{}")
        clients.add(client)
        try:
            await client.wait_closed()
        finally:
            clients.discard(client)

    compression = "deflate" if form == "deflate" else None
    async with serve(attend, "127.0.0.1", int(port), compression=compression, ping_interval=None, backlog=4096):
        async for text in updates(url):
            broadcast(clients, text)


uvloop.run(main(*sys.argv[1:]))
