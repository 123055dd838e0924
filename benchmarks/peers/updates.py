"""The texts that a gateway is to pass on: the entries of the stream that has the program's name."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

from redis.asyncio import Redis

STREAM = Path(sys.argv[0]).stem


async def updates(url: str) -> AsyncIterator[str]:
    """Each text as it comes, for ever."""
    redis, last_id = Redis.from_url(url, protocol=3, decode_responses=True), "$"
    while True:
        found = await redis.xread({STREAM: last_id}, block=1000)
        for entry_id, entry in found[STREAM][0] if found else ():
            last_id = entry_id
            yield entry["text"]
