"""PostgreSQL that fails at an exact moment of a persister's transaction, and what its tables must hold afterwards.

A trigger does it, the first few times only: it counts by a sequence, which a rolled back transaction does not take back. So a
test need not disarm it while a persister tries again and again (but a killed server may have forgotten).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import structlog
from redis.asyncio import Redis

from services.admin.migrate import migrate_postgres
from services.persister.service import persist
from services.persister.store import connect_store
from shared import streams
from shared.redis.client import connect
from shared.redis.lease import Lease
from tests.e2e.pipeline import Pipeline, until
from tests.e2e.proof import ENRICHED_ROWS, EVENTS, TICK_ROWS, assert_same
from tests.integration.partition import PartitionUnderTest, set_up
from tests.observed import Gain

PERSISTER = "tickstream-persister"
SLEEP = "PERFORM pg_sleep(100)"
WAITING = "waiting, nothing is lost"

PLACES = {
    "cursor": "CREATE TRIGGER fault BEFORE UPDATE ON cursors FOR EACH ROW WHEN (NEW.stream = 'ticks') EXECUTE FUNCTION fault()",
    "copy": "CREATE TRIGGER fault BEFORE INSERT ON ticks FOR EACH ROW WHEN (NEW.price = 13) EXECUTE FUNCTION fault()",
    "commit": """
        CREATE FUNCTION defer() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN SET CONSTRAINTS ALL DEFERRED; RETURN NEW; END $$;
        CREATE TRIGGER defer BEFORE INSERT ON ticks FOR EACH ROW WHEN (NEW.price = 13) EXECUTE FUNCTION defer();
        CREATE CONSTRAINT TRIGGER fault AFTER INSERT ON ticks DEFERRABLE FOR EACH ROW WHEN (NEW.price = 13) EXECUTE FUNCTION fault()""",
}
"""Moments of the transaction that stores a tick of price 13, and the trigger that acts there."""
STATEMENTS = {"cursor": "%UPDATE cursors%", "copy": "COPY%", "commit": "COMMIT%"}


def raising(state: str) -> str:
    """What a trigger does to fail with an SQLSTATE."""
    return f"RAISE EXCEPTION 'as ordered' USING ERRCODE = '{state}'"


def fault(act: str, times: int) -> str:
    """The function `fault`, for triggers: it acts so many times, and then never again."""
    body = f"BEGIN IF nextval('hits') <= {times} THEN {act}; END IF; RETURN NEW; END"
    return f"CREATE SEQUENCE hits; CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$"


@dataclass
class Storage:
    """Partition 0 in Redis, and a database for it."""

    partition: PartitionUnderTest
    redis_url: str
    url: str
    database: asyncpg.Connection

    async def write(self, *prices: str) -> None:
        """Append ticks, by default five with one of price 13, and commit their enriched events."""
        await self.partition.append(*(prices or ("1", "2", "13", "4", "5")))
        await self.partition.analyze()

    async def set_fault(self, place: str, act: str, times: int = 1) -> None:
        """Let the transaction that stores a tick of price 13 fail at a place, so many times."""
        await self.database.execute(f"{fault(act, times)}; {PLACES[place]}")

    async def until_asleep(self, place: str) -> int:
        """Wait until a persister's transaction sleeps at that place; return the backend's process id."""
        query = (
            "SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND wait_event = 'PgSleep' AND query LIKE $2 "
            "AND datname = current_database()"
        )

        async def is_asleep() -> bool:
            return await self.database.fetchval(query, PERSISTER, STATEMENTS[place]) is not None

        await until(is_asleep, f"a transaction asleep at {place}")
        return int(await self.database.fetchval(query, PERSISTER, STATEMENTS[place]))

    async def end_fault(self) -> None:
        """Let nothing fail from now on, and wake up who sleeps."""
        await self.database.execute("SELECT setval('hits', 1000)")
        await self.database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")

    async def connect_again(self) -> None:
        """After the server was away."""
        self.database.terminate()
        self.database = await asyncpg.connect(self.url)

    async def until_stored(self) -> None:
        """Wait until the persister's groups have passed all that is in the streams."""
        await until(self.is_stored, "all entries to be stored")

    async def is_stored(self) -> bool:
        """Whether the persister's groups have passed all that is in the streams."""
        groups = [await self.partition.redis.xinfo_groups(streams.stream(stream, 0)) for stream in ("ticks", "enriched")]
        return all(group["lag"] == 0 for found in groups for group in found if group["name"] == "persister")

    async def check(self, *, refused: Collection[int] = (), lost: range = range(0), events: Collection[tuple[object, ...]] = ()) -> None:
        """Exactly one row per event that ever was, but the ticks `refused` and all `lost`, by seq; and these events: (kind, first, last).

        Of what was stored and then trimmed there is the seq alone to compare.
        """
        incarnation = await self.partition.redis.hget(streams.log(0), "incarnation")
        for stream, query, row_of in (("ticks", TICK_ROWS, tick_row), ("enriched", ENRICHED_ROWS, enriched_row)):
            entries = await self._entries(stream)
            last = int(entries[-1][1]["seq"])
            without = {*lost, *(refused if stream == "ticks" else ())}
            rows = [tuple(row) for row in await self.database.fetch(query)]
            assert [int(row[2]) for row in rows] == [seq for seq in range(1, last + 1) if seq not in without]
            wanted = [row_of(incarnation, *entry) for entry in entries if int(entry[1]["seq"]) not in without]
            assert_same(stream, rows[len(rows) - len(wanted) :], wanted)
            position = "SELECT position FROM cursors WHERE stream = $1 AND partition = 0"
            assert await self.database.fetchval(position, stream) == entries[-1][0]
        found = [(row["kind"], row["first_seq"], row["last_seq"]) for row in await self.database.fetch(EVENTS)]
        assert sorted(found) == sorted(events)

    async def _entries(self, stream: str) -> list[tuple[str, dict[str, str]]]:
        found: list[tuple[str, dict[str, str]]] = await self.partition.redis.xrange(streams.stream(stream, 0))
        return found


def tick_row(incarnation: str, entry_id: str, e: dict[str, str]) -> tuple[str | None, ...]:
    """The row that an entry of `ticks:{0}` must become, as text."""
    volume = e["volume"] or None
    return incarnation, "0", e["seq"], entry_id, e["ticker"], e["price"], e["ts"], e["source"], volume, None, entry_id.partition("-")[0]


def enriched_row(incarnation: str, entry_id: str, e: dict[str, str]) -> tuple[str | None, ...]:
    """The row that an entry of `enriched:{0}` must become, as text."""
    judged = e["sma"] or None, e["alert"] or None
    named = incarnation, "0", e["seq"], entry_id, e["tick_id"], e["ticker"], e["price"]
    return *named, *judged, e["ts"], e["source"], entry_id.partition("-")[0]


@asynccontextmanager
async def storage(redis: Redis, redis_url: str, database_url: str, *, partitions: int = 1) -> AsyncIterator[Storage]:
    """A fresh deployment on an empty Redis and a database without rows."""
    partition = await set_up(redis, partitions=partitions)
    await migrate_postgres(database_url, partitions)
    prepared = Storage(partition, redis_url, database_url, await asyncpg.connect(database_url))
    try:
        yield prepared
    finally:
        prepared.database.terminate()


def processes_on(stored: Storage, folder: Path, partitions: int = 1) -> Pipeline:
    """For persisters as processes of their own; `folder` gets their logs."""
    return Pipeline(stored.redis_url, stored.url, folder, partitions, SMA_PERIOD=str(stored.partition.period))


@asynccontextmanager
async def persisting(redis_url: str, database_url: str) -> AsyncIterator["asyncio.Task[None]"]:
    """A persister at work on partition 0, in this process; its task may be cancelled."""
    lease = Lease("persister", 0, "p")
    async with (
        connect(redis_url, service="persister") as redis,
        connect(redis_url, service="persister", block_seconds=2) as reader,
        connect_store(database_url) as store,
    ):
        task = asyncio.create_task(persist(redis, reader, store, lease, block_ms=100))
        try:
            yield task
        finally:
            lease.ended.set()
            await asyncio.wait({task})
    if not task.cancelled():
        task.result()


Lines = list[Any]


@contextmanager
def observed_outage(*, failed: int | None = None, errors: int = 0) -> Iterator[Lines]:
    """In the block one line must say that the ticks wait, and why, and so many be errors; so many transactions must fail, if known."""
    transactions = Gain("persister", "tickstream_persister_transactions_total", outcome="failed")
    with structlog.testing.capture_logs() as lines:
        yield lines
    assert sum(line["log_level"] == "error" for line in lines) == errors, lines
    (reason,) = reasons(lines)
    assert reason
    assert failed is None or transactions.value == failed


def reasons(lines: Lines) -> list[str]:
    """Why the ticks wait, as the log has it."""
    return [line["reason"] for line in lines if line["event"] == WAITING and line["stream"] == "ticks"]


def is_waiting(lines: Lines, why: str = "") -> Callable[[], Awaitable[bool]]:
    """A condition: the log says that the ticks wait, for a reason with that text."""

    async def is_said() -> bool:
        return any(why in reason for reason in reasons(lines))

    return is_said
