"""What an analyzer costs, against the number of tickers, the SMA period and the number of partitions; and several analyzers at once."""

import asyncio
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from benchmarks.analyzing import work_off
from benchmarks.ground import CAP, PERIOD, Ground, append_all, make_batches, redis_cpu_seconds, rounds, set_up
from benchmarks.report import Chart, Figure, Line, Row, point, row
from benchmarks.running import running
from shared import streams

TICKS, SPREAD_TICKS = 32_000, 64_000
"""Of one partition; of all, where there are up to 64."""
TICKS_OF_A_TICKER = 2 * PERIOD
"""At least: half of the averages are of full windows."""
MOST_SECONDS = 10
"""Of the rounds of a whole curve."""
TICKERS = (15, 100, 1_000, 10_000)
PERIODS = (5, 20, 100, 500)
FEW_TICKERS = 20
"""So that even the longest window is soon full."""
PARTITIONS = (1, 4, 16, 64)
ANALYZERS = (1, 2, 4)
SHARED_PARTITIONS = (4, 16)
ALL_TICKERS = 1_024
LEASE_SECONDS = 60
"""The processes stand still while others have their turn."""
PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Cost:
    """What a run of so many ticks took, each in µs a tick: by the clock, CPU of the analyzer, CPU of Redis."""

    clock: float
    analyzer: float
    redis: float


async def measure_tickers(ground: Ground) -> list[Figure]:
    """One partition."""
    async with ground.client() as redis:

        async def cost(tickers: int) -> Cost:
            ticks = max(TICKS, TICKS_OF_A_TICKER * tickers)
            await set_up(redis)
            await append_all(redis, make_batches(ticks, tickers))
            return await _cost(redis, ticks, work_off(ground, redis, ticks))

        return _figures("tickers", "tickers", TICKERS, await _costs(TICKERS, cost))


async def measure_periods(ground: Ground) -> list[Figure]:
    """One partition, few tickers."""
    async with ground.client() as redis:

        async def cost(period: int) -> Cost:
            await set_up(redis, period=period)
            await append_all(redis, make_batches(TICKS, FEW_TICKERS))
            return await _cost(redis, TICKS, work_off(ground, redis, TICKS, period))

        return _figures("periods", "SMA period", PERIODS, await _costs(PERIODS, cost))


async def measure_partitions(ground: Ground) -> list[Figure]:
    """The same tickers spread over more and more partitions of one analyzer."""
    async with ground.client() as redis:

        async def cost(partitions: int) -> Cost:
            await set_up(redis, partitions)
            await _spread(redis, partitions)
            return await _cost(redis, SPREAD_TICKS, work_off(ground, redis, SPREAD_TICKS // partitions, PERIOD, partitions))

        return _figures("partitions", "partitions", PARTITIONS, await _costs(PARTITIONS, cost))


async def _spread(redis: Redis, partitions: int, already: int = 0) -> None:
    """Append the same number of ticks to each partition, which holds so many already."""
    batches = make_batches(SPREAD_TICKS // partitions, ALL_TICKERS // partitions)
    for p in range(partitions):
        await append_all(redis, batches, p, already + 1)


async def _costs(places: Sequence[int], cost: Callable[[int], Awaitable[Cost]]) -> list[list[Cost]]:
    """Of each place the costs of its runs; the places are visited in turn, and the first round is thrown away."""
    costs: list[list[Cost]] = [[] for _ in places]
    for _ in rounds(MOST_SECONDS):
        for place, taken in zip(places, costs, strict=True):
            taken.append(await cost(place))
    return [taken[1:] for taken in costs]


async def _cost(redis: Redis, ticks: int, work: Awaitable[object]) -> Cost:
    before = time.perf_counter(), time.process_time(), await redis_cpu_seconds(redis)
    await work
    after = time.perf_counter(), time.process_time(), await redis_cpu_seconds(redis)
    return Cost(*(1e6 * (end - begin) / ticks for begin, end in zip(before, after, strict=True)))


def _figures(name: str, what: str, places: Sequence[int], costs: list[list[Cost]]) -> list[Figure]:
    def line(label: str, of: Callable[[Cost], float]) -> Line:
        return Line(label, tuple(point(place, [of(cost) for cost in each]) for place, each in zip(places, costs, strict=True)))

    lines = (
        line("CPU of the analyzer", lambda cost: cost.analyzer),
        line("CPU of Redis", lambda cost: cost.redis),
        line("by the clock", lambda cost: cost.clock),
    )
    chart = Chart(name, f"Cost of a tick against {what}", what, "µs a tick", lines)
    rates = [
        row(f"analyze, {what}: {place:,}", "ticks/s", [1e6 / cost.clock for cost in each])
        for place, each in zip(places, costs, strict=True)
    ]
    last, first = ([cost.analyzer + cost.redis for cost in costs[at]] for at in (-1, 0))
    against = f"{what}: {places[0]:,}"
    compared = row(f"CPU of a tick, {what}: {places[-1]:,}", "µs", last, at_most=True, against=against, against_samples=first)
    return [chart, *rates, compared]


async def measure_analyzers(ground: Ground) -> list[Figure]:
    """Processes of the service, one, two and four of them in turn, each number with a deployment of its own."""
    lines, rows = [], []
    for partitions in SHARED_PARTITIONS:
        rates = await _rates(ground, partitions)
        lines.append(Line(f"{partitions} partitions", tuple(point(count, each) for count, each in rates.items())))
        rows += _compared(partitions, rates)
    title = f"Analyzers at once, on {os.cpu_count()} cores that Redis shares"
    return [Chart("analyzers", title, "analyzers", "ticks/s", tuple(lines)), *rows]


def _compared(partitions: int, rates: dict[int, list[float]]) -> list[Row]:
    alone = rates[1]
    return [
        row(f"{count} analyzers, {partitions} partitions", "ticks/s", each, against="1 analyzer", against_samples=alone)
        if count > 1
        else row(f"1 analyzer, {partitions} partitions", "ticks/s", each)
        for count, each in rates.items()
    ]


async def _rates(ground: Ground, partitions: int) -> dict[int, list[float]]:
    """Number of analyzers to ticks a second."""
    rates: dict[int, list[float]] = {count: [] for count in ANALYZERS}
    async with AsyncExitStack() as stack:
        teams = {count: await stack.enter_async_context(_team(ground.beside(count), partitions, count)) for count in ANALYZERS}
        for _ in rounds(MOST_SECONDS):
            for count, team in teams.items():
                rates[count].append(await team.work())
    return {count: each[1:] for count, each in rates.items()}


class _Team:
    """Analyzers that share a deployment's partitions; they stand still unless they work."""

    def __init__(self, redis: Redis, partitions: int, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        self._redis = redis
        self._partitions = partitions
        self._processes = processes
        self._ticks = 0
        """Of each partition so far."""

    async def work(self) -> float:
        """Ticks a second of what was appended before they began."""
        await _spread(self._redis, self._partitions, self._ticks)
        self._ticks += SPREAD_TICKS // self._partitions
        start = time.perf_counter()
        self.signal(signal.SIGCONT)
        await _until(lambda: _is_done(self._redis, self._partitions, self._ticks))
        seconds = time.perf_counter() - start
        self.signal(signal.SIGSTOP)
        return SPREAD_TICKS / seconds

    def signal(self, number: signal.Signals) -> None:
        """Tell all of them."""
        for process in self._processes:
            process.send_signal(number)


@asynccontextmanager
async def _team(ground: Ground, partitions: int, count: int) -> AsyncIterator[_Team]:
    """Each of them with its share."""
    given = {"LEASE_SECONDS": str(LEASE_SECONDS), "STREAM_CAP": str(CAP)}
    async with ground.client() as redis:
        await set_up(redis, partitions, services=("fetcher",))
        with running(ground, ["analyzer"] * count, partitions, **given) as processes:
            await _until(lambda: _is_shared(redis, partitions, count))
            team = _Team(redis, partitions, processes)
            team.signal(signal.SIGSTOP)
            try:
                yield team
            finally:
                team.signal(signal.SIGCONT)


async def _is_shared(redis: Redis, partitions: int, count: int) -> bool:
    """Whether each analyzer holds its part."""
    pipeline = redis.pipeline(transaction=False)
    for p in range(partitions):
        pipeline.hget(streams.lease("analyzer", p), "owner")
    owners = Counter(await pipeline.execute())
    return sorted(owners.values()) == [partitions // count] * count and None not in owners


async def _is_done(redis: Redis, partitions: int, ticks: int) -> bool:
    pipeline = redis.pipeline(transaction=False)
    for p in range(partitions):
        pipeline.hget(streams.log(p), "cursor_seq")
    return all(seq == str(ticks) for seq in await pipeline.execute())


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await holds():
            await asyncio.sleep(0.005)
