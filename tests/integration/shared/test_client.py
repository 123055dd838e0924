"""The client repeats nothing by itself, and no call ever gets another call's answer."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared import streams
from shared.redis import client as client_module
from shared.redis import log
from shared.redis.client import REDIS_AWAY, connect, exchange
from tests.faults.proxy import Cut, Duplicate, FaultProxy
from tests.integration.partition import PartitionUnderTest


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[FaultProxy]:
    """A proxy before this worker's Redis."""
    async with FaultProxy(redis_url).running() as running:
        yield running


async def plain_call(client: Any) -> None:
    await client.incr("counter")


async def pipeline(client: Any) -> None:
    await client.pipeline(transaction=False).incr("counter").execute()


async def transaction(client: Any) -> None:
    await client.pipeline(transaction=True).incr("counter").execute()


async def an_exchange(client: Any) -> None:
    await exchange(client, ("INCR", "counter"))


@pytest.mark.parametrize("count_up", [plain_call, pipeline, transaction, an_exchange])
async def test_a_write_whose_answer_is_lost_is_done_once_and_raises(
    redis: Redis, proxy: FaultProxy, count_up: Callable[[Any], Awaitable[None]]
) -> None:
    async with connect(proxy.url, service="tests") as client:
        await client.ping()
        lost = proxy.plan(Cut((b"INCR",), reply_bytes=0))
        with pytest.raises(REDIS_AWAY):
            await count_up(client)
        assert (lost.cuts, await redis.get("counter")) == (1, "1")
        await count_up(client)
        assert await redis.get("counter") == "2"


async def test_a_write_whose_request_is_lost_is_not_sent_again(redis: Redis, proxy: FaultProxy) -> None:
    async with connect(proxy.url, service="tests") as client:
        lost = proxy.plan(Cut((b"INCR",), request_bytes=0))
        with pytest.raises(REDIS_AWAY):
            await client.incr("counter")
        assert (lost.cuts, await redis.get("counter")) == (1, None)


async def test_an_append_whose_answer_is_lost_is_sent_once(partition: PartitionUnderTest, proxy: FaultProxy) -> None:
    batch = log.freeze(1, [("AAPL", "1", "1", "simulated", "", "", "")])
    async with connect(proxy.url, service="tests") as client:
        lost = proxy.plan(Cut((b"append_1",), times=2, reply_bytes=0))
        with pytest.raises(REDIS_AWAY):
            await log.append(client, 0, token="f", producer="f", batch=batch, cap=10)
    assert lost.hits == 1
    assert await partition.redis.xlen(streams.ticks(0)) == 1


async def test_a_redis_that_does_not_answer_is_given_up_in_time(
    redis_url: str, redis: Redis, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 0.1)
    async with connect(proxy.url, service="tests") as client:
        await client.ping()
        proxy.replies.is_swallowed = True
        began = time.monotonic()
        with pytest.raises(REDIS_AWAY):
            await client.incr("counter")
        assert 0.05 < time.monotonic() - began < 4
        proxy.replies.is_swallowed = False
        # The answer that came too late belongs to nobody.
        assert await client.get("counter") == "1"


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_a_redis_that_takes_nothing_is_given_up_in_time_or_when_asked_and_is_asked_again(
    redis: Redis, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, is_cancelled: bool
) -> None:
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 60.0 if is_cancelled else 0.2)
    async with connect(proxy.url, service="tests") as client:
        await client.ping()
        proxy.requests.bytes_per_second = 1000
        sending = asyncio.ensure_future(client.set("big", "x" * 30_000_000))  # more than all buffers between hold
        if is_cancelled:
            for _ in range(10):  # until it is being sent
                await asyncio.sleep(0)
            sending.cancel()
        with pytest.raises(asyncio.CancelledError if is_cancelled else RedisTimeoutError):
            await sending
        proxy.requests.bytes_per_second = 0
        await client.set("small", "1")
        assert await redis.mget(["big", "small"]) == [None, "1"]


async def test_a_second_answer_to_a_doubled_request_is_nobody_elses(redis: Redis, proxy: FaultProxy) -> None:
    await redis.mset({f"key-{number}": f"value-{number}" for number in range(20)})
    proxy.plan(Duplicate((b"key-",), times=20))
    async with connect(proxy.url, service="tests") as client:
        for number in range(20):
            assert await client.get(f"key-{number}") == f"value-{number}"


async def test_a_redis_that_is_not_there_is_away(unused_tcp_port: int) -> None:
    async with connect(f"redis://127.0.0.1:{unused_tcp_port}", service="tests") as client:
        with pytest.raises(REDIS_AWAY):
            await client.ping()


async def test_a_blocking_read_may_last_longer_than_an_answer(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", 0.05)
    async with connect(redis_url, service="tests", block_seconds=0.2) as reader:
        assert not await reader.xread({"nothing": "0"}, block=200)


async def test_a_client_is_named_after_its_service(redis: Redis, redis_url: str) -> None:
    async with connect(redis_url, service="analyzer") as client:
        await client.ping()
        assert "tickstream:analyzer" in [found["name"] for found in await redis.client_list()]


async def get(client: Any, number: int) -> None:
    assert await client.get(f"key-{number}") == f"value-{number}"


async def get_two(client: Any, number: int) -> None:
    assert await client.pipeline(transaction=False).echo(f"{number}").get(f"key-{number}").execute() == [f"{number}", f"value-{number}"]


async def exchange_two(client: Any, number: int) -> None:
    assert await exchange(client, ("ECHO", number), ("GET", f"key-{number}")) == [f"{number}", f"value-{number}"]


CALLS = (get, get_two, exchange_two)


async def test_an_error_among_the_answers_is_raised_when_all_are_read(redis: Redis, redis_url: str) -> None:
    await redis.set("key-1", "value-1")
    async with connect(redis_url, service="tests") as client:
        before = await client.client_id()
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await exchange(client, ("ECHO", 1), ("HMGET", "key-1", "field"), ("ECHO", 2))
        await exchange_two(client, 1)
        assert await client.client_id() == before, "the connection was well"


async def test_a_cancelled_call_never_leaves_its_answer_to_the_next(redis: Redis, redis_url: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    await redis.mset({f"key-{number}": f"value-{number}" for number in range(100)})
    cancelled = 0
    async with connect(redis_url, service="tests") as client:
        while cancelled < 200:
            asking = asyncio.create_task(chance.choice(CALLS)(client, chance.randrange(50)))
            for _ in range(chance.randrange(5)):
                await asyncio.sleep(0)
            asking.cancel()
            cancelled += isinstance((await asyncio.gather(asking, return_exceptions=True))[0], asyncio.CancelledError)
            await chance.choice(CALLS)(client, 50 + chance.randrange(50))


async def test_a_blocking_read_that_is_given_up_leaves_nothing_behind(redis: Redis, redis_url: str) -> None:
    async with connect(redis_url, service="tests", block_seconds=10) as reader:
        for number in range(20):
            reading = asyncio.ensure_future(reader.xread({"stream": "$"}, block=10_000))
            await asyncio.sleep(0.002)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await redis.xadd("stream", {"number": number})
            assert await reader.echo(f"{number}") == f"{number}"
