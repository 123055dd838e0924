"""What Redis itself spends on a tick: the least CPU time of many batches, in units of the plain XADD that has its turn with them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from redis.asyncio import Redis

from benchmarks.ground import CAP, PERIOD, TOKEN, append_all, make_batches, redis_cpu_seconds, set_up
from services.admin.embedded import EmbeddedRedis, find_free_port
from services.analyzer.state_machine import StateMachine
from shared.commits import Digest
from shared.events import TickValues
from shared.redis import log
from shared.redis.client import connect

TICKS = 20_000
PLAIN_BATCHES = 5
TICKERS = (100, 1_000)
SAMPLES = 12
PLAIN = "plain"
FIELDS = ("ticker", "price", "ts", "source", "volume", "quote_ts", "shed")

Costs = dict[str, float]
"""Workload to its cost a unit."""


@contextmanager
def server() -> Iterator[EmbeddedRedis]:
    """A Redis that writes no file: the disk is not to be measured."""
    with TemporaryDirectory(prefix="tickstream-count-") as directory:
        Path(directory).chmod(0o755)
        with EmbeddedRedis(Path(directory, "redis"), find_free_port(), appendonly=False) as redis:
            yield redis


async def count(url: str) -> Costs:
    """Thousandths of what a plain XADD of the same fields costs."""
    least: Costs = {}
    async with connect(url, service="bench") as redis:
        for _ in range(SAMPLES):
            async for what, seconds in _batches(redis):
                least[what] = min(seconds, least.get(what, seconds))
    plain = least.pop(PLAIN)
    return {what: 1000 * seconds / plain for what, seconds in least.items()}


async def _batches(redis: Redis) -> AsyncIterator[tuple[str, float]]:
    """What was done and the seconds that it took, batch after batch."""
    for tickers in TICKERS:
        await set_up(redis)
        batches = make_batches(TICKS, tickers)
        for n, batch in enumerate(batches):
            yield "append: a tick", await _spent(redis, append_all(redis, [batch], first=1000 * n + 1))
        incarnation = (await log.load(redis, 0)).incarnation
        for digest in await _digests(redis):
            yield f"commit: a tick, {tickers:,} tickers", await _spent(redis, _commit(redis, digest, incarnation))
        for batch in batches[:PLAIN_BATCHES]:
            yield PLAIN, await _spent(redis, _add(redis, batch))


async def _spent(redis: Redis, work: Awaitable[object]) -> float:
    before = await redis_cpu_seconds(redis)
    await work
    return await redis_cpu_seconds(redis) - before


async def _digests(redis: Redis) -> list[Digest]:
    """Of all ticks, in batches as the analyzer takes them."""
    state = await log.load(redis, 0)
    machine, cursor, digests = StateMachine(state), state.cursor, []
    for _ in range(TICKS // 1000):
        found = await log.read(redis, "ticks", 0, cursor, count=1000, block_ms=0)
        digests.append(machine.digest(found.entries, found.seq))
        cursor = found.entries[-1][0]
    return digests


async def _commit(redis: Redis, digest: Digest, incarnation: str) -> None:
    committed = await log.commit(redis, 0, token=TOKEN, period=PERIOD, incarnation=incarnation, cap=CAP, digest=digest)
    if committed.answer is not log.Answer.OK:
        raise RuntimeError(f"commit answered {committed}")


async def _add(redis: Redis, batch: list[TickValues]) -> None:
    pipeline = redis.pipeline(transaction=False)
    for tick in batch:
        pipeline.xadd(PLAIN, dict(zip(FIELDS, tick, strict=True)))
    await pipeline.execute()


def costs() -> tuple[str, Costs]:
    """Which server it was, and its costs."""
    with server() as redis:
        return redis.flavour.partition(" at ")[0], asyncio.run(count(redis.url))
