"""`examples/exactly_once`, killed right after its n-th commit and before it is acknowledged: `python -m tests.examples.dying N`."""

import asyncio
import os
import signal
import sys
from itertools import count

import asyncpg
from tickstream_client.streams import Batch, Enriched

from examples.exactly_once import store as example

commits = count(1)
store = example.store


async def store_and_die(database: asyncpg.Connection, batch: Batch[Enriched]) -> None:
    """Store, and be gone."""
    await store(database, batch)
    if next(commits) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    example.store = store_and_die
    asyncio.run(example.main())
