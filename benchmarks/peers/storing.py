"""asyncpg: `executemany` of typed values, and one INSERT a row. `storing.py DATABASE_URL TICKS_FILE`. Nothing is read, no cursor kept."""

import sys
import time
from datetime import UTC, datetime
from decimal import Decimal

import asyncpg
from turns import read_batches, take_turns

URL, FILE = sys.argv[1:]
COUNT = 5000
INSERT = (
    "INSERT INTO theirs (incarnation, partition, seq, entry_id, ticker, price, ts, source, received) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $7)"
)
ticks = [tick for batch in read_batches(FILE) for tick in batch]


async def store(form: str, first: int) -> float:
    """Store the first rows in an empty table like ours; rows a second."""
    database = await asyncpg.connect(URL)
    try:
        await database.execute("DROP TABLE IF EXISTS theirs; CREATE TABLE theirs (LIKE ticks INCLUDING ALL)")
        start = time.perf_counter()
        await {"executemany": in_batches, "insert": one_by_one}[form](database, first)
        return first / (time.perf_counter() - start)
    finally:
        await database.close()


async def in_batches(database, first: int) -> None:
    """5 000 rows in a transaction."""
    for start in range(0, first, COUNT):
        async with database.transaction():
            await database.executemany(INSERT, list(rows(start, min(first, start + COUNT))))


async def one_by_one(database, first: int) -> None:
    """A statement and a commit for each."""
    for row in rows(0, first):
        await database.execute(INSERT, *row)


def rows(start: int, end: int):
    """Of typed values, as asyncpg wants them."""
    for seq, (ticker, price, ts, source, *_) in enumerate(ticks[start:end], start + 1):
        yield ("1-bench", 0, seq, f"{seq}-0", ticker, Decimal(price), datetime.fromtimestamp(int(ts) / 1000, UTC), source)


take_turns(store)
