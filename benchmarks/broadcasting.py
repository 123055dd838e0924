"""The textbook gateway that ours is compared with: `python -m benchmarks.broadcasting PORT REDIS_URL plain|deflate`.

Reads the stream `updates` and passes the texts of its entries to all clients with `websockets.broadcast`. It encodes nothing itself.
"""

import sys
from typing import Any

import uvloop
from redis.asyncio import Redis
from websockets.asyncio.server import ServerConnection, broadcast, serve

STREAM = "updates"


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
        redis, last_id = Redis.from_url(url, protocol=3, decode_responses=True), "$"
        while True:
            found: Any = await redis.xread({STREAM: last_id}, block=1000)
            for entry_id, entry in found[STREAM][0] if found else ():
                last_id = entry_id
                broadcast(clients, entry["text"])


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
