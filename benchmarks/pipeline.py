"""The whole pipeline at a rate that it has to keep up with: every service as its own process, Redis and PostgreSQL."""

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from redis.asyncio import Redis

from benchmarks.ground import Ground
from benchmarks.report import Row, row
from benchmarks.running import found, running
from services.admin.embedded import find_free_port
from shared import streams

PARTITIONS = 4
SERVICES = ("analyzer", "persister", "gateway", "fetcher")
RATE = 40_000
LIVE = {1_000: 60, 10_000: 15}
"""Tickers to seconds."""
WARM_SECONDS = 2
PATIENCE_SECONDS = 240
DRAINED_SECONDS = 2
"""Rows may be that far behind."""
CAP = 25_000
"""Entries of a stream: where the rate is too much, the source waits for room, and what is left at the end is stored within seconds."""


@dataclass
class Watch:
    """What was seen of a run, twice a second: the analyzer's lag in entries, and the most memory of each service in MB."""

    lags: list[int] = field(default_factory=list)
    memory_mb: dict[str, float] = field(default_factory=dict)


async def measure(ground: Ground) -> list[Row]:
    """At the end every tick and event must be a row, each once."""
    rows = []
    for tickers, seconds in LIVE.items():
        rows += await _live(ground, tickers, seconds)
    return rows


async def _live(ground: Ground, tickers: int, seconds: int) -> list[Row]:
    names = ",".join(f"T{n:04d}" for n in range(tickers))
    async with started(ground, SOURCE="simulated", SIMULATED_RATE=str(RATE), SIMULATED_SEED="1", TICKERS=names) as run:
        await asyncio.sleep(WARM_SECONDS)
        first, start = await run.stored(), time.perf_counter()
        await run.watch_for(seconds)
        last, took = await run.stored(), time.perf_counter() - start
        behind = await run.unstored()
        run.stop("fetcher")
        await run.until_all_stored(await run.appended())
    what = f"whole pipeline, {tickers:,} tickers, {seconds} s at {RATE:,}/s"
    rows = [
        Row(f"{what}, every tick and event stored once", (last - first) / took, "ticks/s", 0.98 * RATE),
        row(f"{what}: analyzer lag", "entries", run.watch.lags, wanted=RATE / 10, at_most=True),
        Row(f"{what}: rows behind at its end", behind / RATE, "s", DRAINED_SECONDS, at_most=True),
    ]
    return rows + run.memory_rows(f", {tickers:,} tickers")


@asynccontextmanager
async def started(ground: Ground, **variables: str) -> AsyncIterator["Run"]:
    """Empty both servers, start the services, and wait for the first tick."""
    await found(ground, PARTITIONS)
    given = {"GATEWAY_PORT": str(find_free_port()), "REPLAY_WINDOW_SECONDS": "5", "STREAM_CAP": str(CAP)} | variables
    database = await asyncpg.connect(ground.database_url)
    try:
        with running(ground, SERVICES, PARTITIONS, **given) as processes:
            async with ground.client() as redis:
                run = Run(redis, database, dict(zip(SERVICES, processes, strict=True)))
                while not await run.appended():
                    await asyncio.sleep(0.02)
                yield run
    finally:
        await database.close()


class Run:
    """Services at work, and what is seen of them."""

    def __init__(self, redis: Redis, database: asyncpg.Connection, processes: dict[str, subprocess.Popen[bytes]]) -> None:
        self.watch = Watch()
        self._redis = redis
        self._database = database
        self._processes = processes

    def memory_rows(self, when: str = "") -> list[Row]:
        """The most memory of each service."""
        most = sorted(self.watch.memory_mb.items())
        return [Row(f"most memory of the {service}{when}", mb, "MB", 150, at_most=True) for service, mb in most]

    async def unstored(self) -> int:
        """Of the stream that is further behind, how many entries are no rows yet."""
        appended = await self.appended()
        return appended - await self.stored()

    async def stored(self) -> int:
        """Seqs that are rows, of the stream that is further behind."""
        query = "SELECT coalesce(sum(seq), 0) FROM cursors WHERE stream = $1"
        return min([int(await self._database.fetchval(query, stream)) for stream in ("ticks", "enriched")])

    def stop(self, service: str) -> None:
        """End one service in good order."""
        self._processes[service].send_signal(signal.SIGTERM)
        self._processes[service].wait(20)

    async def appended(self) -> int:
        """Ticks accepted so far."""
        seqs = [await self._redis.hget(streams.log(p), "seq") for p in range(PARTITIONS)]
        return sum(int(seq or 0) for seq in seqs)

    async def watch_for(self, seconds: float) -> None:
        """Look at lag and memory for so long."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            await asyncio.sleep(0.5)
            self.watch.lags.append(await self._lag())
            self._measure_memory()

    async def _lag(self) -> int:
        passed = [await self._redis.hget(streams.log(p), "cursor_seq") for p in range(PARTITIONS)]
        return await self.appended() - sum(int(seq or 0) for seq in passed)

    def _measure_memory(self) -> None:
        for name, process in self._processes.items():
            for line in _status_of(process.pid):
                if line.startswith("VmHWM:"):
                    self.watch.memory_mb[name] = int(line.split()[1]) / 1024

    async def until_all_stored(self, ticks: int) -> None:
        """Wait until both tables hold every tick; raise if one never comes or comes twice."""
        deadline = time.perf_counter() + PATIENCE_SECONDS
        while await self.stored() < ticks:
            if time.perf_counter() > deadline:
                raise RuntimeError("not all ticks were stored in time")
            self._measure_memory()
            await asyncio.sleep(0.1)
        for table in ("ticks", "enriched"):
            stored = await self._database.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608  # one of two names above
            if stored != ticks:
                raise RuntimeError(f"{stored} rows in {table}, not {ticks}")


def _status_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return []
