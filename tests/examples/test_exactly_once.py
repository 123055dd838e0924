"""`examples/exactly_once` beside the real pipeline: killed between commit and acknowledgement, or stopped, it stores each event once."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis
from tickstream_client.streams import Batch, Enriched
from tickstream_client.streams.events import EPOCH

from examples.exactly_once.store import store
from shared import streams
from tests.e2e.pipeline import ROOT, Pipeline, until
from tests.faults.small_market import FAST, small_outcome, small_recording

PARTITIONS = 2
ROWS = "SELECT partition, seq, ticker, price, sma, alert, incarnation FROM events ORDER BY partition, seq"


@pytest.fixture
async def pipeline(redis_url: str, redis: Redis, database_url: str, tmp_path: Path) -> AsyncIterator[Pipeline]:
    """A pipeline that plays a small market as fast as it goes, without anybody who stores it."""
    file = tmp_path / "market.csv"
    file.write_text(small_recording().text, encoding="ascii")
    async with Pipeline(redis_url, database_url, tmp_path, PARTITIONS, REPLAY_FILE=str(file), **FAST) as running:
        await running.migrate()
        yield running


@contextmanager
def storing(pipeline: Pipeline, redis_url: str, url: str, *command: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The example as a process; killed at the end."""
    variables = {"REDIS_URL": redis_url, "DATABASE_URL": url, "LEASE_SECONDS": "0.5", "PYTHONPATH": f"{ROOT}:{ROOT / 'clients/python'}"}
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=variables, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_every_event_is_stored_once_whenever_the_process_is_killed(
    pipeline: Pipeline, redis: Any, redis_url: str, empty_database_url: str
) -> None:
    def dying(commits: int) -> Any:
        return storing(pipeline, redis_url, empty_database_url, "-m", "tests.examples.dying", str(commits))

    pipeline.start("analyzer")
    pipeline.start("fetcher")
    for commits in (1, 2):
        with dying(commits) as process:
            await until(lambda: has_ended(process), "a process that kills itself")
            assert process.returncode == -signal.SIGKILL
    with dying(0) as stopped:
        await until(lambda: has_rows(empty_database_url, 1501), "more rows than the killed ones stored")
        stopped.send_signal(signal.SIGSTOP)
        with storing(pipeline, redis_url, empty_database_url, "examples/exactly_once/store.py"), dying(3):
            await until(lambda: has_rows(empty_database_url, small_outcome(PARTITIONS).ticks), "all rows")
            stopped.send_signal(signal.SIGCONT)
            await until(lambda: nothing_is_left(redis), "the end of the stream")
    stored = [tuple(row) for row in await fetch(empty_database_url, ROWS)]
    assert stored == [row async for row in in_the_stream(redis)]
    assert len(stored) == small_outcome(PARTITIONS).ticks


def batch_of(first: int, last: int, incarnation: str = "a") -> Batch[Enriched]:
    """Events whose prices are their seqs."""
    events = (
        Enriched(0, incarnation, seq, f"{seq}-0", "AAPL", Decimal(seq), None, None, EPOCH, "x", "0-0") for seq in range(first, last + 1)
    )
    return Batch(0, incarnation, tuple(events), False)


async def test_two_that_have_the_same_events_in_hand_store_them_once(empty_database_url: str) -> None:
    databases = [await asyncpg.connect(empty_database_url) for _ in range(2)]
    try:
        await databases[0].execute((ROOT / "examples/exactly_once/schema.sql").read_text(encoding="utf-8"))
        for batch, others in (
            (batch_of(1, 50), batch_of(1, 50)),
            (batch_of(51, 60), batch_of(41, 70)),
            (batch_of(71, 80), batch_of(61, 71)),
        ):
            await asyncio.gather(store(databases[0], batch), store(databases[1], others))
        await store(databases[0], batch_of(75, 82, "b"))
    finally:
        for database in databases:
            await database.close()
    rows = await fetch(empty_database_url, "SELECT incarnation, seq FROM events ORDER BY incarnation, seq")
    assert [tuple(row) for row in rows] == [("a", seq) for seq in range(1, 81)] + [("b", seq) for seq in range(75, 83)]


async def has_ended(process: "subprocess.Popen[bytes]") -> bool:
    return process.poll() is not None


async def has_rows(url: str, count: int) -> bool:
    try:
        (row,) = await fetch(url, "SELECT count(*) FROM events")
    except asyncpg.UndefinedTableError:
        return False
    return int(row[0]) >= count


async def nothing_is_left(redis: Any) -> bool:
    """Whether the group has read and acknowledged everything."""
    found = [row for p in range(PARTITIONS) for row in await redis.xinfo_groups(streams.enriched(p)) if row["name"] == "warehouse"]
    return [(row["lag"], row["pending"]) for row in found] == [(0, 0)] * PARTITIONS


async def fetch(url: str, query: str) -> list[Any]:
    """Rows of a database."""
    database = await asyncpg.connect(url)
    try:
        rows: list[Any] = await database.fetch(query)
        return rows
    finally:
        await database.close()


async def in_the_stream(redis: Any) -> AsyncIterator[tuple[Any, ...]]:
    """What must be stored, as the stream has it."""
    for p in range(PARTITIONS):
        incarnation = await redis.hget(streams.log(p), "incarnation")
        for _, fields in await redis.xrange(streams.enriched(p)):
            sma = Decimal(fields["sma"]) if fields["sma"] else None
            yield p, int(fields["seq"]), fields["ticker"], Decimal(fields["price"]), sma, fields["alert"] or None, incarnation
