"""The persister at work on a full stream; beside it executemany, one INSERT a row, and the server's own COPY of the same rows."""

import asyncio
import time
from pathlib import Path

import asyncpg

from benchmarks.ground import TOKEN, Ground, append_all, make_batches, rounds, set_aside, set_up, write_ticks
from benchmarks.peer import taking_turns
from benchmarks.report import Row, row
from services.admin.migrate import migrate_postgres
from services.persister.service import persist
from services.persister.store import COLUMNS, connect_store
from shared.redis.client import connect
from shared.redis.lease import Lease

ROWS = 100_000
MOST_SECONDS = 25
THEIRS = {"executemany": 20_000, "insert": 500}
AGAINST = {
    "executemany": "asyncpg, executemany of 5,000, nothing read",
    "insert": "asyncpg, one INSERT a row",
    "copy": "COPY alone, of text that lies ready",
}
RATIOS = {"executemany": 1.3, "insert": 40, "copy": 0.2}


async def measure(ground: Ground) -> list[Row]:
    """All sides in turn; ours with reading and the cursor."""
    batches = make_batches(ROWS, 100)
    async with ground.client() as redis:
        await set_up(redis)
        await append_all(redis, batches)
    path = write_ticks(ground, batches[:20])
    set_aside()
    ours: list[float] = []
    theirs: dict[str, list[float]] = {form: [] for form in AGAINST}
    async with taking_turns("storing", ground.database_url, path) as peer:
        for _ in rounds(MOST_SECONDS):
            database = await _empty(ground)
            try:
                ours.append(await _persist(ground, database))
                theirs["copy"].append(await _copy(ground, database))
            finally:
                await database.close()
            for form, rows in THEIRS.items():
                theirs[form].append(await peer.take_turn(form=form, first=rows))
    await (await _empty(ground)).close()
    what, wanted = "persist, reading included, exactly once", {"executemany": 150_000}
    return [
        row(
            what, "rows/s", ours[1:],
            wanted=wanted.get(form), against=against, against_samples=theirs[form][1:], wanted_ratio=RATIOS[form],
        )
        for form, against in AGAINST.items()
    ]  # fmt: skip


async def _empty(ground: Ground) -> asyncpg.Connection:
    database = await asyncpg.connect(ground.database_url)
    await database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await migrate_postgres(ground.database_url, 1)
    return database


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


async def _copy(ground: Ground, database: asyncpg.Connection) -> float:
    """The rows that were just stored, as text that lies ready, into an empty table like ours: the server is all that works."""
    path = Path(ground.directory, "rows.txt")
    columns = COLUMNS["ticks"]
    await database.copy_from_query(f"SELECT {', '.join(columns)} FROM ticks", output=path)  # noqa: S608  # names of ours
    await database.execute("CREATE TABLE copied (LIKE ticks INCLUDING ALL)")
    start = time.perf_counter()
    await database.copy_to_table("copied", source=path, columns=columns)
    return ROWS / (time.perf_counter() - start)
