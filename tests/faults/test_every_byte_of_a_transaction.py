"""TCP resets within the persister's transaction, from BEGIN to the answer to COMMIT: every row once, whatever was heard."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from services.admin.migrate import load_library
from services.persister import store as store_module
from services.persister.service import persist
from services.persister.store import connect_store
from shared import streams
from shared.redis.client import connect
from shared.redis.deployment import join
from shared.redis.lease import Lease
from tests.faults.lanes import PATIENCE_SECONDS, PERIOD, PartitionLane
from tests.faults.proxy import Cut, Duplicate, FaultProxy
from tests.integration.shared.polling import until

LANES = 8
SAMPLE_STEP = 130
STEP = 7


@dataclass
class PersisterLane:
    """A partition with a persister and a proxy of its own: nothing in a BEGIN tells whose it is."""

    lane: PartitionLane
    proxy: FaultProxy
    database: asyncpg.Pool

    async def store_once(self, fault: Cut) -> Cut:
        """Append, have the transaction that stores it suffer, and return when the rows are there."""
        self.proxy.plan(fault)
        await self.lane.append(3)
        await until(self.is_stored, PATIENCE_SECONDS)
        self.proxy.withdraw(fault)
        return fault

    async def is_stored(self) -> bool:
        """Whether the cursor and the group stand at the end of the ticks."""
        query = "SELECT seq FROM cursors WHERE stream = 'ticks' AND partition = $1"
        if await self.database.fetchval(query, self.lane.partition) != len(self.lane.given):
            return False
        groups = await self.lane.redis.xinfo_groups(streams.ticks(self.lane.partition))
        return all(group["lag"] == 0 for group in groups if group["name"] == "persister")

    async def check(self) -> None:
        """Every tick has one row, every stranger's entry one event, and the group says so."""
        p = self.lane.partition
        entries = await self.lane.redis.xrange(streams.ticks(p))
        rows = await self.database.fetch("SELECT seq, entry_id, ticker, price::text FROM ticks WHERE partition = $1 ORDER BY seq", p)
        ticks = [(int(f["seq"]), entry_id, f["ticker"], f["price"]) for entry_id, f in entries if "seq" in f]
        assert [tuple(row) for row in rows] == ticks
        query = "SELECT detail->>'entry_id' FROM stream_events WHERE partition = $1 AND kind = 'rejected' "
        refused = [row[0] for row in await self.database.fetch(query, p)]
        assert sorted(refused) == sorted(entry_id for entry_id, f in entries if "seq" not in f)
        (group,) = [found for found in await self.lane.redis.xinfo_groups(streams.ticks(p)) if found["name"] == "persister"]
        assert (group["last-delivered-id"], group["entries-read"], group["lag"]) == (entries[-1][0], len(entries), 0)


@asynccontextmanager
async def persisting(redis: Redis, redis_url: str, database_url: str, pool: asyncpg.Pool, partition: int) -> AsyncIterator[PersisterLane]:
    """A real persister on one partition; PostgreSQL is behind a proxy."""
    lane = PartitionLane(redis, redis, partition)
    await lane.take()
    lease = Lease("persister", partition, "p")
    with FaultProxy(database_url).in_thread() as proxy:
        reader = connect(redis_url, service="tests", block_seconds=5)
        async with connect(redis_url, service="tests") as client, reader, connect_store(proxy.url) as store:
            working = asyncio.create_task(persist(client, reader, store, lease, block_ms=5000))
            yield PersisterLane(lane, proxy, pool)
            lease.ended.set()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await working


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """Connections that no fault meets."""
    async with asyncpg.create_pool(database_url, min_size=1, max_size=4) as found:
        yield found


@pytest.fixture
async def ready(redis: Redis) -> Redis:
    """A deployment of a partition for each lane."""
    await load_library(redis)
    await join(redis, LANES, PERIOD)
    return redis


async def suffer(lane: PersisterLane, recorded: Cut, step: int, first: int) -> list[Cut]:
    """Cut at every `step`th byte of the transaction that is this lane's share."""
    requests = range(first * step, recorded.request_seen, LANES * step)
    replies = range(first * step, recorded.reply_seen, LANES * step)
    faults = [Cut((b"BEGIN",), spans_requests=True, request_bytes=count) for count in requests]
    faults += [Cut((b"BEGIN",), spans_requests=True, reply_bytes=count) for count in replies]
    for fault in faults:
        await lane.store_once(fault)
        await lane.check()
    return faults


@pytest.mark.parametrize("step", [SAMPLE_STEP, pytest.param(STEP, marks=pytest.mark.long)])
async def test_a_reset_within_a_transaction(ready: Redis, redis_url: str, database_url: str, pool: asyncpg.Pool, step: int) -> None:
    async def share(place: int) -> list[Cut]:
        async with persisting(ready, redis_url, database_url, pool, place) as lane:
            # Only a new connection says all there is to say.
            await lane.store_once(Cut((b"BEGIN",), spans_requests=True, request_bytes=0))
            recorded = await lane.store_once(Cut((b"BEGIN",), spans_requests=True))
            assert recorded.request_seen > 500
            return await suffer(lane, recorded, step, place)

    async with asyncio.TaskGroup() as group:
        shares = [group.create_task(share(place)) for place in range(LANES)]
    faults = [fault for task in shares for fault in task.result()]
    assert sum(fault.cuts for fault in faults) >= 0.9 * len(faults)


@pytest.mark.parametrize("times", [1, 2, 5])
async def test_an_answer_to_commit_that_is_lost_again_and_again(
    ready: Redis, redis_url: str, database_url: str, pool: asyncpg.Pool, times: int
) -> None:
    async with persisting(ready, redis_url, database_url, pool, 0) as lane:
        fault = lane.proxy.plan(Cut((b"COMMIT",), times=times, reply_bytes=0))
        for _ in range(times):
            await lane.store_once(Cut((b"no such words",)))
            await lane.check()
        assert fault.cuts == times


async def test_a_commit_that_arrives_twice(ready: Redis, redis_url: str, database_url: str, pool: asyncpg.Pool) -> None:
    async with persisting(ready, redis_url, database_url, pool, 0) as lane:
        fault = lane.proxy.plan(Duplicate((b"COMMIT",)))
        for _ in range(3):
            await lane.store_once(Cut((b"no such words",)))
            await lane.check()
        assert fault.hits == 1


async def test_a_half_open_database_is_noticed_and_gone_on_with(
    ready: Redis, redis_url: str, database_url: str, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "COMMAND_SECONDS", 0.5)
    async with persisting(ready, redis_url, database_url, pool, 0) as lane:
        await lane.store_once(Cut((b"no such words",)))
        lane.proxy.swallow()
        with capture_logs() as logs:

            async def is_noticed() -> bool:
                return any(line["event"] == "waiting, nothing is lost" for line in logs)

            await lane.lane.append(3)
            await until(is_noticed, PATIENCE_SECONDS)
        lane.proxy.swallow(False)
        await until(lane.is_stored, PATIENCE_SECONDS)
        await lane.check()
