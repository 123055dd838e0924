"""The analyzer at work on a full stream; beside it the textbook consumer group, FastStream, and the same commits with nobody at work."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from redis.asyncio import Redis

from benchmarks.ground import CAP, PERIOD, TOKEN, Ground, append_all, make_batches, rounds, set_aside, set_up, write_ticks
from benchmarks.peer import Peer, taking_turns
from benchmarks.recommitting import Recorded, recommit, recording, remember
from benchmarks.report import Row, row
from services.admin.embedded import EmbeddedRedis, find_free_port
from services.analyzer.service import analyze
from services.analyzer.settings import AnalyzerSettings
from shared import streams
from shared.events import TickValues
from shared.redis.client import connect
from shared.redis.lease import Lease
from shared.redis.log import read_hash

TICKS = 100_000
TEXTBOOK_TICKS = 20_000
FASTSTREAM_TICKS = {"each": 2_000, "batch": 10_000}
FASTSTREAM = {"each": "FastStream, a call a message", "batch": "FastStream, batches of 500"}
MOST_SECONDS = 25
WANTED = {100: 200_000.0, 1000: 140_000.0}


@dataclass
class Samples:
    """Of each side, ticks a second."""

    ours: list[float] = field(default_factory=list)
    limit: list[float] = field(default_factory=list)
    valkey: list[float] = field(default_factory=list)
    textbook: list[float] = field(default_factory=list)
    faststream: dict[str, list[float]] = field(default_factory=lambda: {form: [] for form in FASTSTREAM})


async def measure(ground: Ground) -> list[Row]:
    """100 and 1 000 tickers; all sides in turn."""
    rows = []
    async with ground.client() as redis:
        for tickers in WANTED:
            samples = await _in_turn(ground, redis, make_batches(TICKS, tickers), is_with_faststream=tickers == 100)
            rows += _rows(f"analyze, {tickers:,} tickers, exactly once", samples, WANTED[tickers])
        bytes_an_event = (await redis.memory_usage(streams.enriched(0), samples=0) or 0) / TICKS
    return [*rows, Row("Redis memory of an enriched event", bytes_an_event, "bytes", 85, at_most=True)]


def _rows(what: str, samples: Samples, wanted: float) -> list[Row]:
    ours, textbook = samples.ours, "redis-py, textbook group"
    rows = [
        row(what, "ticks/s", ours, wanted=wanted, against=textbook, against_samples=samples.textbook, wanted_ratio=12),
        row(what, "ticks/s", ours, against="Redis alone with these commits", against_samples=samples.limit, wanted_ratio=0.7),
    ]
    for (form, theirs), ratio in zip(samples.faststream.items(), (100, None), strict=True):
        if theirs:
            rows.append(row(what, "ticks/s", ours, against=FASTSTREAM[form], against_samples=theirs, wanted_ratio=ratio))
    if samples.valkey:
        rows.append(row(f"{what}, on Valkey", "ticks/s", samples.valkey, against="on Redis", against_samples=ours))
    return rows


async def _in_turn(ground: Ground, redis: Redis, batches: list[list[TickValues]], *, is_with_faststream: bool) -> Samples:
    samples = Samples()
    path, url, period = write_ticks(ground, batches), ground.redis_url, str(PERIOD)
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(taking_turns("grouping", url, path, period))
        valkey = await stack.enter_async_context(_valkey(ground))
        forms = FASTSTREAM if is_with_faststream else ()
        streaming = {form: await stack.enter_async_context(taking_turns("streaming", url, path, period, form)) for form in forms}
        for _ in rounds(MOST_SECONDS):
            samples.textbook.append(await group.take_turn(first=TEXTBOOK_TICKS))
            await _let_stream(streaming, samples)
            rate, recorded = await _recorded(ground, redis, batches)
            samples.ours.append(rate)
            samples.limit.append(TICKS / await asyncio.to_thread(recommit, url, recorded))
            if valkey:
                samples.valkey.append((await _recorded(valkey, valkey.client(), batches))[0])
    return _without_the_first(samples)


async def _let_stream(peers: dict[str, Peer], samples: Samples) -> None:
    for form, peer in peers.items():
        samples.faststream[form].append(await peer.take_turn(first=FASTSTREAM_TICKS[form]))


def _without_the_first(samples: Samples) -> Samples:
    faststream = {form: rates[1:] for form, rates in samples.faststream.items()}
    return Samples(samples.ours[1:], samples.limit[1:], samples.valkey[1:], samples.textbook[1:], faststream)


async def _recorded(ground: Ground, redis: Redis, batches: list[list[TickValues]]) -> tuple[float, Recorded]:
    """Ticks a second, and what it takes to commit the same once more."""
    await set_up(redis)
    await append_all(redis, batches)
    before = remember(ground.redis_url)
    set_aside()
    with recording(redis) as commits:
        seconds = await work_off(ground, redis, TICKS)
    return TICKS / seconds, Recorded(before, commits)


async def work_off(ground: Ground, redis: Redis, ticks: int, period: int = PERIOD, partitions: int = 1) -> float:
    """Analyze in this process until each partition's cursor stands behind so many ticks; seconds."""
    values = {"redis_url": ground.redis_url, "stream_cap": CAP, "sma_period": period, "partitions": partitions}
    settings = AnalyzerSettings.model_validate(values)
    leases = [Lease("analyzer", p, TOKEN) for p in range(partitions)]
    async with connect(ground.redis_url, service="bench", block_seconds=2) as reader:
        start = time.perf_counter()
        working = [asyncio.create_task(analyze(redis, reader, lease, settings, block_ms=1000)) for lease in leases]
        for p in range(partitions):
            while (await read_hash(redis, streams.log(p), ["cursor_seq"]))[0] != str(ticks):
                await asyncio.sleep(0.005)
        seconds = time.perf_counter() - start
        for lease in leases:
            lease.ended.set()
        await asyncio.gather(*working)
    return seconds


@asynccontextmanager
async def _valkey(ground: Ground) -> AsyncIterator[Ground | None]:
    """The Valkey of the wheel, beside a Redis of the machine; None where the wheel's is all there is."""
    if "Valkey" in ground.servers[0]:
        yield None
        return
    with EmbeddedRedis(Path(ground.directory, "valkey"), find_free_port(), search_path=str(ground.directory)) as server:
        yield Ground(server.url, ground.database_url, (server.flavour, ground.servers[1]), ground.directory)
