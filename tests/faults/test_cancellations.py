"""Calls that are cancelled at any await: no answer is taken for another's, no connection is lost or left over."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from random import Random
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from services.analyzer.state_machine import StateMachine
from services.persister.rows import NOWHERE, Position, encode
from services.persister.store import CONNECTIONS, Store, StoredElsewhere, connect_store
from shared.incarnations import Head
from shared.redis import log
from shared.redis.client import connect
from shared.redis.log import Answer, Batch
from shared.testing.entries import tick_entry
from tests.e2e.pipeline import random_moments
from tests.faults.lanes import CAP, PERIOD, PartitionLane, set_stage
from tests.integration.shared.polling import until

LANES = 8
MOST_TURNS = 14
"""Turns of the loop before a call is cancelled; more than most calls take."""

few_and_many = pytest.mark.parametrize("count", [1, pytest.param(5, marks=pytest.mark.long)], ids=["few", "many"])


async def cancelled(chance: Random, call: Callable[[], Awaitable[object]]) -> bool:
    """Call, and cancel it at a random moment; return whether it was not done by then. What it asserts counts."""
    task = asyncio.ensure_future(call())
    if chance.random() < 0.3:
        await asyncio.sleep(chance.random() * 0.003)
    else:
        for _ in range(chance.randrange(MOST_TURNS)):
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    if task.cancelled():
        return True
    task.result()
    return False


class Caller:
    """Calls about one partition, each answer compared with what only that partition can answer."""

    def __init__(self, redis: Redis, lane: PartitionLane, incarnation: str, chance: Random) -> None:
        self._redis = redis
        self._lane = lane
        self._incarnation = incarnation
        self._chance = chance
        self._pending: Batch | None = None
        self._appended = 0

    async def suffer(self, cancellations: int) -> None:
        """Call at random until so many calls were cancelled; then finish what is begun."""
        calls: tuple[Callable[[], Awaitable[object]], ...] = (self.head, self.read, self.append, self.append, self.commit, self.commit)
        count = 0
        while count < cancellations:
            count += await cancelled(self._chance, self._chance.choice(calls))
        await self.append()
        while await self.commit():
            pass
        await self._lane.check()

    async def head(self) -> None:
        assert (await log.head(self._redis, self._lane.partition)).incarnation == self._incarnation

    async def read(self) -> None:
        found = await log.read(self._redis, "ticks", self._lane.partition, "0-0", count=20, block_ms=0)
        assert found.incarnation == self._incarnation
        prices = [(entry[3], entry[5]) for _, entry in found.entries]
        assert prices == self._lane.given[: len(prices)]

    async def append(self) -> None:
        """Send the batch that is pending, the same bytes until it is answered."""
        if self._pending is None:
            self._pending = log.freeze(len(self._lane.given) + 1, self._lane.next_ticks(self._chance.randint(1, 3)))
        batch, token = self._pending, self._lane.fetcher.token
        answer = await log.append(self._redis, self._lane.partition, token=token, producer=token, batch=batch, cap=CAP)
        assert (answer.answer, answer.number) == (Answer.OK, len(self._lane.given))
        self._pending = None

    async def commit(self) -> bool:
        """Commit what comes next; return whether there was anything."""
        p = self._lane.partition
        state = await log.load(self._redis, p)
        found = await log.read(self._redis, "ticks", p, state.cursor, count=10, block_ms=0)
        if not found.entries:
            return False
        digest = StateMachine(state).digest(found.entries, found.seq)
        token = self._lane.lease.token
        committed = await log.commit(
            self._redis, p, token=token, period=PERIOD, incarnation=self._incarnation, cap=CAP, digest=digest
        )  # fmt: skip
        assert committed.answer in (Answer.OK, Answer.DUP, Answer.CONFLICT)
        return True


@few_and_many
async def test_calls_to_redis_that_are_cancelled_on_a_shared_pool(redis: Redis, redis_url: str, count: int) -> None:
    chance = random_moments("redis")
    async with set_stage(redis, redis_url, LANES) as stage, connect(redis_url, service="cancelled") as shared:
        incarnations = [(await log.head(redis, lane.partition)).incarnation for lane in stage.lanes]
        assert len(set(incarnations)) == LANES
        async with asyncio.TaskGroup() as group:
            for lane, incarnation in zip(stage.lanes, incarnations, strict=True):
                group.create_task(Caller(shared, lane, incarnation, Random(chance.random())).suffer(count * 230))
        pool: Any = shared.connection_pool
        assert not pool._in_use_connections
        assert len(pool._available_connections) <= LANES

        async def is_bounded() -> bool:
            names = [found["name"] for found in await stage.lanes[0].redis.client_list()]
            return names.count("tickstream:cancelled") <= LANES

        await until(is_bounded)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that nobody cancels."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def store_and_suffer(store: Store, partition: int, chance: Random, cancellations: int) -> None:
    """Store batches of one partition, cancelled at random, until so many were."""
    head = Head(f"1-{partition}", (), {"ticks": 10**9, "enriched": 0, "events": 0})

    async def store_next() -> None:
        before = await store.position("ticks", partition)
        assert before == NOWHERE or before == Position(head.incarnation, f"{before.seq}-{partition}", before.seq, before.seq)
        seqs = range(before.seq + 1, before.seq + 1 + chance.randint(1, 30))
        entries = [
            (f"{seq}-{partition}", tick_entry(seq=str(seq), ticker="KO", price=str(seq), ts="1700000000123", source="replay"))
            for seq in seqs
        ]
        # A transaction that was cancelled behind its COMMIT may be a moment late.
        with suppress(StoredElsewhere):
            await store.store("ticks", partition, before, encode("ticks", partition, entries, before, head))

    count = 0
    while count < cancellations:
        count += await cancelled(chance, store_next)
    await store_next()


@few_and_many
async def test_transactions_that_are_cancelled_on_a_shared_pool(database: asyncpg.Connection, database_url: str, count: int) -> None:
    chance = random_moments("postgresql")
    async with connect_store(database_url) as store:
        async with asyncio.TaskGroup() as group:
            for partition in range(LANES):
                group.create_task(store_and_suffer(store, partition, Random(chance.random()), count * 25))
        rows = await database.fetch("SELECT partition, seq, entry_id, price::text FROM ticks ORDER BY partition, seq")
        stored = {row["partition"]: row["seq"] for row in await database.fetch("SELECT partition, seq FROM cursors")}
        wanted = [(p, seq, f"{seq}-{p}", str(seq)) for p in range(LANES) for seq in range(1, stored[p] + 1)]
        assert [tuple(row) for row in rows] == wanted
        pool: Any = store._pool
        assert pool.get_idle_size() == pool.get_size() <= CONNECTIONS

        async def is_bounded() -> bool:
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tickstream-persister'"
            return bool(await database.fetchval(query) == pool.get_size())

        await until(is_bounded)
