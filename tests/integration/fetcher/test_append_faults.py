"""What the producer makes of each answer of `append`, and of none."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from services.admin.embedded import EmbeddedRedis
from services.fetcher.producer import LiveProducer
from services.fetcher.service import serve
from services.fetcher.settings import FetcherSettings
from shared import streams
from shared.errors import Fenced
from shared.redis.client import connect
from shared.redis.deployment import join
from shared.redis.lease import Lease
from shared.redis.log import library_code
from tests.integration.fetcher.playing import PARTITIONS, Rows, entries_of, row_of, rows_in, rows_of, until

SettingsOf = Callable[..., FetcherSettings]
PricesFile = Callable[..., Path]


class LossyProxy:
    """Forwards to Redis, but of every third `append` it loses the answer, or in turn the call, with the connection."""

    def __init__(self, upstream_url: str) -> None:
        upstream = urlsplit(upstream_url)
        self._host, self._port = upstream.hostname or "127.0.0.1", upstream.port or 6379
        self._database = upstream.path
        self._appends = 0
        self.lost_answers = 0
        self.lost_calls = 0
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["LossyProxy"]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}{self._database}"
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redis_reader, redis_writer = await asyncio.open_connection(self._host, self._port)
        loses_answer = asyncio.Event()
        directions = {
            asyncio.create_task(self._forward(reader, redis_writer, loses_answer)),
            asyncio.create_task(self._answer(redis_reader, writer, loses_answer)),
        }
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        for direction in directions:
            direction.cancel()
        await asyncio.gather(*directions, return_exceptions=True)
        writer.close()
        redis_writer.close()

    async def _forward(self, reader: asyncio.StreamReader, redis_writer: asyncio.StreamWriter, loses_answer: asyncio.Event) -> None:
        while data := await reader.read(1 << 20):
            if b"append_1" in data:
                self._appends += 1
                if self._appends % 6 == 3:
                    loses_answer.set()
                elif self._appends % 6 == 0:
                    self.lost_calls += 1
                    return
            redis_writer.write(data)

    async def _answer(self, redis_reader: asyncio.StreamReader, writer: asyncio.StreamWriter, loses_answer: asyncio.Event) -> None:
        while data := await redis_reader.read(1 << 20):
            if loses_answer.is_set():
                self.lost_answers += 1
                return
            writer.write(data)


async def test_a_replay_survives_lost_calls_and_answers(
    ready_redis: Redis, redis_url: str, settings: SettingsOf, prices_file: PricesFile
) -> None:
    path = prices_file(30_000, bad_every=50)
    async with LossyProxy(redis_url).running() as proxy:
        await serve(settings(redis_url=proxy.url, source="replay", replay_file=path), asyncio.Event())
        assert min(proxy.lost_answers, proxy.lost_calls) >= 4
    assert await rows_in(ready_redis) == rows_of(path)
    assert sum([await ready_redis.xlen(streams.deadletters(p)) for p in range(4)]) == 600


async def consume_until_done(redis: Redis, playing: "asyncio.Task[None]") -> Rows:
    """Read and delete what comes, so that there is room; return all of it. No stream may exceed its cap by a batch."""
    consumed: Rows = defaultdict(list)
    is_last = False
    while not is_last:
        is_last = playing.done()
        for partition in range(PARTITIONS):
            entries = await entries_of(redis, streams.ticks(partition))
            assert len(entries) < 600 + 1000
            consumed[partition] += [row_of(fields) for _, fields in entries]
            if entries:
                await redis.xdel(streams.ticks(partition), *[entry_id for entry_id, _ in entries])
    await playing
    return {partition: rows for partition, rows in consumed.items() if rows}


async def test_a_full_stream_makes_the_replay_wait_and_loses_nothing(
    ready_redis: Redis, settings: SettingsOf, prices_file: PricesFile
) -> None:
    path = prices_file(20_000)
    playing = asyncio.create_task(serve(settings(source="replay", replay_file=path, stream_cap=600), asyncio.Event()))
    assert await consume_until_done(ready_redis, playing) == rows_of(path)


async def test_a_replay_goes_back_to_what_redis_lost(ready_redis: Redis, settings: SettingsOf, prices_file: PricesFile) -> None:
    path = prices_file(5_000)
    options = {"source": "replay", "replay_file": path, "replay_id": "lossy", "partitions": 1, "stream_cap": 600}
    playing = asyncio.create_task(serve(settings(**options), asyncio.Event()))

    async def is_full() -> bool:
        return await ready_redis.xlen(streams.ticks(0)) >= 1000

    await until(is_full)
    async with ready_redis.pipeline() as pipeline:
        for entry_id, _ in (await entries_of(ready_redis, streams.ticks(0)))[500:]:
            pipeline.xdel(streams.ticks(0), entry_id)
        pipeline.hset(streams.producers(0), "lossy", "500")
        await pipeline.execute()
    assert await consume_until_done(ready_redis, playing) == rows_of(path, 1)


async def test_redis_killed_and_started_again_in_mid_replay(
    redis_server: EmbeddedRedis, settings: SettingsOf, prices_file: PricesFile
) -> None:
    path = prices_file(40_000)
    async with connect(redis_server.url, service="tests") as redis:
        await redis.function_load(library_code(), replace=True)
        playing = asyncio.create_task(serve(settings(redis_url=redis_server.url, source="replay", replay_file=path), asyncio.Event()))

        async def is_on_its_way() -> bool:
            return await redis.xlen(streams.ticks(0)) > 2_000

        await until(is_on_its_way)
        await asyncio.to_thread(redis_server.stop)
        assert not playing.done()
        await asyncio.to_thread(redis_server.start)
        await playing
        assert await rows_in(redis) == rows_of(path)


async def test_a_replay_begins_again_when_everything_is_flushed(ready_redis: Redis, settings: SettingsOf, prices_file: PricesFile) -> None:
    path = prices_file(40_000)
    playing = asyncio.create_task(serve(settings(source="replay", replay_file=path), asyncio.Event()))

    async def is_on_its_way() -> bool:
        return await ready_redis.xlen(streams.ticks(0)) > 2_000

    await until(is_on_its_way)
    await ready_redis.flushall()
    assert not playing.done()
    await playing
    assert await rows_in(ready_redis) == rows_of(path)


async def live_producer(redis: Redis, cap: int = 1000) -> LiveProducer:
    await join(redis, PARTITIONS, 5)
    await hold_lease(redis, "mine")
    return LiveProducer(redis, Lease("fetcher", 0, "mine"), cap=cap, lease_seconds=0.5)


async def hold_lease(redis: Any, token: str) -> None:
    await redis.hset(streams.lease("fetcher", 0), "token", token)


def ticks(*prices: str) -> list[tuple[str, ...]]:
    return [("KO", price, "5", "simulated", "", "", "") for price in prices]


async def prices_in(redis: Redis) -> list[str]:
    return [price for _, price, _ in (await rows_in(redis)).get(0, [])]


async def test_a_live_producer_survives_lost_calls_and_answers(ready_redis: Redis, redis_url: str) -> None:
    async with LossyProxy(redis_url).running() as proxy, connect(proxy.url, service="tests") as redis:
        producer = await live_producer(redis)
        prices = [str(number) for number in range(1, 61)]
        for price in prices:
            await producer.append(ticks(price))
        assert min(proxy.lost_answers, proxy.lost_calls) >= 4
    assert await prices_in(ready_redis) == prices


async def test_a_live_producer_waits_for_room(ready_redis: Redis) -> None:
    producer = await live_producer(ready_redis, cap=1)
    await producer.append(ticks("1"))
    waiting = asyncio.create_task(producer.append(ticks("2")))
    done, _ = await asyncio.wait({waiting}, timeout=0.3)
    assert not done
    assert await prices_in(ready_redis) == ["1"]
    await ready_redis.xtrim(streams.ticks(0), maxlen=0, approximate=False)
    await waiting
    assert await prices_in(ready_redis) == ["2"]


async def test_a_live_producer_renumbers_when_redis_lost_ticks(ready_redis: Redis) -> None:
    producer = await live_producer(ready_redis)
    await producer.append(ticks("1", "2", "3"))
    await ready_redis.hset(streams.producers(0), "mine", "1")
    await producer.append(ticks("4", "5"))
    await producer.append(ticks("6"))
    assert await prices_in(ready_redis) == ["1", "2", "3", "4", "5", "6"]
    assert await ready_redis.hget(streams.producers(0), "mine") == "4"


async def test_a_fenced_producer_stops(ready_redis: Redis) -> None:
    producer = await live_producer(ready_redis)
    await hold_lease(ready_redis, "theirs")
    with pytest.raises(Fenced):
        await producer.append(ticks("1"))
    assert await rows_in(ready_redis) == {}
