"""The persister at work on full streams, against executemany of the same rows."""

import asyncio
import time
from datetime import UTC, datetime
from decimal import Decimal

import asyncpg

from benchmarks.ground import TOKEN, Ground, append_all, make_batches, set_up
from benchmarks.report import Row
from services.admin.migrate import migrate_postgres
from services.persister.service import persist
from services.persister.store import connect_store
from shared.events import TickValues
from shared.redis.client import connect
from shared.redis.lease import Lease

ROWS = 200_000
THEIR_ROWS = 50_000


async def measure(ground: Ground) -> list[Row]:
    """Reading included."""
    batches = make_batches(ROWS, 100)
    async with ground.client() as redis:
        await set_up(redis)
        await append_all(redis, batches)
    await migrate_postgres(ground.database_url, 1)
    database = await asyncpg.connect(ground.database_url)
    try:
        rate = await _persist(ground, database)
        theirs = await _executemany(database, [tick for batch in batches for tick in batch][:THEIR_ROWS])
        await database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    finally:
        await database.close()
    return [Row("persist, reading included, exactly once", rate, "rows/s", 80_000, against="executemany", against_measured=theirs)]


async def _persist(ground: Ground, database: asyncpg.Connection) -> float:
    lease = Lease("persister", 0, TOKEN)
    async with (
        ground.client() as redis,
        connect(ground.redis_url, service="bench", block_seconds=2) as reader,
        connect_store(ground.database_url) as store,
    ):
        start = time.perf_counter()
        working = asyncio.create_task(persist(redis, reader, store, lease, block_ms=500))
        while await database.fetchval("SELECT seq FROM cursors WHERE stream = 'ticks'") != ROWS:
            await asyncio.sleep(0.01)
        seconds = time.perf_counter() - start
        lease.ended.set()
        await working
    return ROWS / seconds


async def _executemany(database: asyncpg.Connection, ticks: list[TickValues]) -> float:
    """Typed values, batches of 5 000, each in a transaction; not exactly-once, and nothing is read."""
    await database.execute("CREATE TABLE theirs (LIKE ticks INCLUDING ALL)")
    insert = (
        "INSERT INTO theirs (incarnation, partition, seq, entry_id, ticker, price, ts, source, received) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $7)"
    )
    start = time.perf_counter()
    for first in range(0, len(ticks), 5000):
        rows = [
            ("1-bench", 0, seq, f"{seq}-0", ticker, Decimal(price), datetime.fromtimestamp(int(ts) / 1000, UTC), source)
            for seq, (ticker, price, ts, source, *_) in enumerate(ticks[first : first + 5000], first + 1)
        ]
        async with database.transaction():
            await database.executemany(insert, rows)
    return len(ticks) / (time.perf_counter() - start)
