"""What the random runs met seldom, step by step: Redis loses its data between two requests of one reader."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from services.gateway.feed import Feed, Outage
from services.persister.service import _Follower
from services.persister.store import Store
from shared import streams
from shared.redis import log
from shared.redis.lease import Lease
from tests.faults.model.gates import Actor, Fate, Gate, GatedPool, GatedRedis, current_actor
from tests.faults.model.running import small_batches
from tests.integration.gateway.test_gateway_gap import ToldHub
from tests.integration.partition import PartitionUnderTest, set_up

STEPS = 200
"""Far more than any of these needs."""


class Calm:
    """Every request is answered at once."""

    def __init__(self) -> None:
        self.redis_lives = 1
        self.locks: dict[str, Actor] = {}

    def fate_of(self, _what: str) -> Fate:
        """As is promised."""
        return Fate.ANSWERED

    def execute(self, _name: str, run: Callable[[], Any]) -> Any:
        """Nobody looks on."""
        return run()

    def working(self) -> asyncio.Event:
        """Nobody waits."""
        return asyncio.Event()

    def hear_of(self, error: asyncpg.PostgresError) -> None:
        """Nothing is to be refused."""
        raise error


class Reader:
    """An actor that is led from request to request."""

    def __init__(self, actor: Actor) -> None:
        self._actor = actor

    async def stop_before(self, what: str) -> None:
        """Let it go on until it comes to a request of that name, which waits."""
        for _ in range(STEPS):
            if (gate := await self._gate()).what == what:
                return
            gate.passed.set_result(None)
            await asyncio.sleep(0)
        raise AssertionError(f"{STEPS} requests, and none was {what}")

    async def stop_behind(self, what: str) -> None:
        """Let it go on until a request of that name is answered and the next one waits."""
        await self.stop_before(what)
        (await self._gate()).passed.set_result(None)
        await asyncio.sleep(0)
        await self._gate()

    async def _gate(self) -> Gate:
        async with asyncio.timeout(10):
            while True:
                for gate in self._actor.gates:
                    if not gate.passed.done():
                        return gate
                if self._actor.task is not None and self._actor.task.done():
                    self._actor.task.result()
                await asyncio.sleep(0.001)


@asynccontextmanager
async def leading(live: Callable[[], Any]) -> AsyncIterator[Reader]:
    """An actor that stops before each request."""
    actor = Actor("reader", live)
    current_actor.set(actor)
    with small_batches():
        actor.task = asyncio.create_task(live())
        try:
            yield Reader(actor)
        finally:
            actor.die()
            await asyncio.wait({actor.task})


@pytest.fixture
async def partition(redis: AsyncRedis) -> PartitionUnderTest:
    """Partition 0 of a fresh deployment."""
    return await set_up(redis)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the database of the persister under test."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def gated(redis_url: str) -> GatedRedis:
    """A client whose requests wait to be let through."""
    real = Redis.from_url(redis_url, protocol=3, decode_responses=True)
    real.response_callbacks.pop("XREAD", None)  # as the services' own client does
    return GatedRedis(real, Calm())


@asynccontextmanager
async def persisting(gated: GatedRedis, database_url: str) -> AsyncIterator[Reader]:
    """A persister that follows `enriched:{0}`."""
    connection = await asyncpg.connect(database_url)
    store = Store(cast(Any, GatedPool(connection, Calm())))
    follower = _Follower(cast(Any, gated), cast(Any, gated), store, Lease("persister", 0, "p"), "enriched", 0)
    async with leading(follower.run) as reader:
        yield reader
    await connection.close()


@pytest.fixture
async def persister(gated: GatedRedis, database_url: str, database: asyncpg.Connection) -> AsyncIterator[Reader]:
    """One persister."""
    async with persisting(gated, database_url) as reader:
        yield reader


async def flush(partition: PartitionUnderTest, _copy: object = None) -> None:
    await partition.redis.flushdb()
    await set_up(partition.redis)
    partition.number = 0


async def go_back_to(partition: PartitionUnderTest, copy: dict[str, bytes | None]) -> None:
    """A fail-over to a replica that lagged, and was empty: no function has run on it yet."""
    await partition.redis.flushdb()
    partition.number = 0
    for key, dump in copy.items():
        await partition.redis.restore(key, 0, dump)
    await partition.restart_server()


async def commit(partition: PartitionUnderTest, *prices: str) -> None:
    await partition.append(*prices)
    await partition.analyze()


async def stored(database: asyncpg.Connection) -> list[int]:
    rows: list[int] = await database.fetchval("SELECT coalesce(array_agg(seq ORDER BY seq), '{}') FROM enriched")
    return rows


async def kinds_of_events(database: asyncpg.Connection) -> list[str]:
    return [str(row["kind"]) for row in await database.fetch("SELECT kind FROM stream_events ORDER BY at")]


@pytest.mark.parametrize("lose", [flush, go_back_to], ids=["flushed", "an older copy"])
async def test_what_redis_lost_while_a_persister_looked_for_it_is_no_gap(
    persister: Reader, partition: PartitionUnderTest, database: asyncpg.Connection, lose: Callable[..., Any]
) -> None:
    """Nothing to read, then four that were written since, then all is lost: none of the four was deleted unread."""
    copy = await partition.snapshot_of_keys()
    await persister.stop_behind("xread")
    await commit(partition, "1", "2", "3", "4")
    await persister.stop_before("xinfo_stream")
    await lose(partition, copy)
    await persister.stop_before("xread")
    assert await kinds_of_events(database) == []
    await commit(partition, "5", "6")
    await persister.stop_behind("mirror_1")
    assert await stored(database) == [1, 2]
    assert await kinds_of_events(database) == []


async def test_a_hole_that_redis_forgot_before_it_was_judged_is_no_gap(
    persister: Reader, partition: PartitionUnderTest, database: asyncpg.Connection
) -> None:
    """A tick was dead-lettered, the events on both sides of it are read, then all is lost, and as many come anew."""
    await commit(partition, "1")
    await persister.stop_behind("mirror_1")
    await partition.redis.hincrby(streams.log(0), "seq", 1)
    await partition.append("2")
    state, digest = await partition.digest()
    await partition.commit(state, digest._replace(missing=()))
    await persister.stop_before("xinfo_stream")
    await flush(partition)
    await commit(partition, "1", "2", "3", "4")
    await persister.stop_before("xread")
    assert await kinds_of_events(database) == ["reset"]
    assert await stored(database) == [1]


async def test_a_cursor_that_came_back_to_where_a_paused_persister_stands_takes_no_gap_from_it(
    persister: Reader, gated: GatedRedis, partition: PartitionUnderTest, database: asyncpg.Connection, database_url: str
) -> None:
    """What it missed was stored by another, trimmed and then lost: the compare-and-set lets it pass, the rows that stand do not."""
    await commit(partition, "1")
    await persister.stop_behind("mirror_1")
    copy = await partition.snapshot_of_keys()
    async with persisting(gated, database_url) as paused:
        await paused.stop_before("xread")
        await commit(partition, "2", "3")
        await persister.stop_behind("mirror_1")
        await log.trim(partition.redis, 0, cap=10, window_ms=0)
        await paused.stop_before("UPDATE")
        await go_back_to(partition, copy)
        await partition.append("4", first=2)
        await persister.stop_behind("COMMIT")
        assert await kinds_of_events(database) == ["rewind"]
        await paused.stop_before("COPY")
        await paused.stop_before("xread")
    assert await kinds_of_events(database) == ["rewind"]
    assert await stored(database) == [1, 2, 3]


@pytest.mark.parametrize(("lose", "told"), [(flush, [None, "reset"]), (go_back_to, [None])], ids=["flushed", "an older copy"])
async def test_clients_are_told_of_no_gap_when_redis_lost_what_a_gateway_looked_for(
    gated: GatedRedis, partition: PartitionUnderTest, lose: Callable[..., Any], told: list[str | None]
) -> None:
    copy = await partition.snapshot_of_keys()
    hub = ToldHub()
    feed = Feed(cast(Any, gated), 0, hub, Outage(), lambda: asyncio.sleep(0))
    async with leading(feed.run) as gateway:
        await gateway.stop_behind("xinfo_stream")
        await gateway.stop_behind("xread")
        await commit(partition, "1", "2", "3", "4")
        await gateway.stop_before("xinfo_stream")
        await lose(partition, copy)
        await gateway.stop_behind("role")
        await commit(partition, "5", "6")
        await gateway.stop_behind("role")
        await gateway.stop_behind("role")
    assert hub.reasons == told
