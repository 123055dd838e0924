"""What the REST service asks of PostgreSQL, on 30 days of ticks: at the server, warm, with indexes and without."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from statistics import median
from typing import NamedTuple

import asyncpg
import msgspec

from benchmarks.ground import Ground
from benchmarks.report import Row
from services.admin.migrate import migrate_postgres
from services.api.database import queries
from shared.partitions import partition_of
from shared.postgres.calendar_days import bounds, day_of
from shared.postgres.housekeeping import keep_house
from shared.settings import DEFAULT_TICKERS

ROWS = 10_000_000
DAYS = 30
PARTITIONS = 4
TICKERS = DEFAULT_TICKERS.split(",")
TICKER = "MSFT"
INCARNATION = "1795346662034123-3fa9c1d2"
MADE_AT_ONCE = 500_000
TIMES = 7
NO_INDEX = "SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off"


class Question(NamedTuple):
    """A statement of the API with its arguments, and the milliseconds it may take."""

    what: str
    name: str
    arguments: Sequence[object]
    most_ms: float


async def measure(ground: Ground) -> list[Row]:
    """Make the rows, ask each question; medians."""
    await migrate_postgres(ground.database_url, PARTITIONS)
    database = await asyncpg.connect(ground.database_url, command_timeout=3600)
    try:
        begin = bounds(day_of(datetime.now(UTC)))[0] - timedelta(days=DAYS)
        start = time.perf_counter()
        await make_rows(database, begin)
        made = Row(f"storage: making {ROWS:,} rows", time.perf_counter() - start, "s")
        size = await database.fetchval("SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('ticks')")
        per_row = Row("storage: a tick in PostgreSQL, with indexes", float(size) / ROWS, "bytes")
        rows = [await _ask(database, question) for question in questions(begin)]
        await database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    finally:
        await database.close()
    return [made, per_row, *rows]


def questions(begin: datetime) -> list[Question]:
    """What is asked of rows that begin there."""
    middle = begin + timedelta(days=DAYS / 2)
    keyset = (middle, INCARNATION, partition_of(TICKER, PARTITIONS), 0)
    day = (TICKER, middle, middle + timedelta(days=1), timedelta(minutes=1))
    return [
        Question("newest tick of a ticker", "newest_tick", (TICKER, begin, begin + timedelta(days=DAYS)), 5),
        Question("500 ticks of a ticker, from the middle on", "ticks", (TICKER, begin, *keyset, 500), 20),
        Question("a day of a ticker's minutes", "bars", day, 50),
        Question("the newest day of 15 tickers, 32 points each", "days", (TICKERS, begin + timedelta(days=DAYS - 4), 32), 50),
    ]


async def make_rows(database: asyncpg.Connection, begin: datetime) -> None:
    """Fill `ticks` and have it vacuumed, as autovacuum does with rows that stay."""
    for table_day in range(-DAYS, 0, 7):
        await keep_house(database, begin + timedelta(days=DAYS + table_day), 0)
    partitions = [partition_of(ticker, PARTITIONS) for ticker in TICKERS]
    every = timedelta(days=DAYS) / ROWS
    for first in range(0, ROWS, MADE_AT_ONCE):
        span = first, first + MADE_AT_ONCE
        await database.execute(making(), INCARNATION, TICKERS, partitions, *span, begin, every)
    await database.execute("VACUUM ANALYZE ticks")


async def _ask(database: asyncpg.Connection, question: Question) -> Row:
    ours = median([await explain(database, question) for _ in range(TIMES)])
    async with database.transaction():
        await database.execute(NO_INDEX)
        theirs = median([await explain(database, question) for _ in range(3)])
    what = f"storage: {question.what}, at the server"
    return Row(what, ours * 1000, "µs", question.most_ms * 1000, at_most=True, against="without indexes", against_measured=theirs * 1000)


async def explain(database: asyncpg.Connection, question: Question) -> float:
    """Milliseconds of one execution, without planning."""
    statement = "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + queries()[question.name]
    (plan,) = msgspec.json.decode(await database.fetchval(statement, *question.arguments))
    return float(plan["Execution Time"])


@cache
def making() -> str:
    """The statement that makes rows."""
    return Path(__file__).with_name("storage.sql").read_text(encoding="utf-8")
