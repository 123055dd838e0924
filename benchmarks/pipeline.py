"""The whole pipeline: every service as its own process, Redis and PostgreSQL, all on this machine."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from benchmarks.ground import Ground, make_batches
from benchmarks.report import Row
from services.admin.embedded import find_free_port
from services.admin.migrate import migrate_postgres, migrate_redis
from shared import streams

PARTITIONS = 4
SERVICES = ("analyzer", "persister", "gateway", "fetcher")
RATE = 20_000
SECONDS = 30
TICKERS = [f"T{n:03d}" for n in range(1000)]
REPLAYED = 1_000_000
PATIENCE_SECONDS = 240


@dataclass
class Watch:
    """What was seen of a run: the analyzer's lag every half second, and the most memory of each service in MB."""

    lags: list[int] = field(default_factory=list)
    memory_mb: dict[str, float] = field(default_factory=dict)


async def measure(ground: Ground) -> list[Row]:
    """A fixed rate, then a file as fast as it goes; at the end every tick and event must be a row."""
    live, live_watch = await _live(ground)
    replayed, replay_watch = await _replay(ground)
    most = {service: max(live_watch.memory_mb[service], replay_watch.memory_mb[service]) for service in SERVICES}
    rows = [
        Row(f"whole pipeline, {SECONDS} s at {RATE:,}/s, 1 000 tickers, all rows stored", live, "ticks/s", 0.98 * RATE),
        Row("analyzer lag in that run, highest after the first second", max(live_watch.lags[2:]), "entries", RATE, at_most=True),
        Row(f"whole pipeline, replay of {REPLAYED:,} rows, until all are stored", replayed, "ticks/s", RATE),
    ]
    return rows + [Row(f"most memory of the {service}", mb, "MB", 150, at_most=True) for service, mb in sorted(most.items())]


async def _live(ground: Ground) -> tuple[float, Watch]:
    variables = {"SOURCE": "simulated", "SIMULATED_RATE": str(RATE), "SIMULATED_SEED": "1", "TICKERS": ",".join(TICKERS)}
    async with await _Run.begin(ground, variables) as run:
        first, start = await run.appended(), time.perf_counter()
        await run.watch_for(SECONDS)
        appended, seconds = await run.appended() - first, time.perf_counter() - start
        run.stop("fetcher")
        await run.until_all_stored(await run.appended())
        return appended / seconds, run.watch


async def _replay(ground: Ground) -> tuple[float, Watch]:
    path = Path(ground.directory, "replay.csv")
    with path.open("w", encoding="ascii") as file:
        file.write("ticker,price,ts\n")
        for batch in make_batches(REPLAYED, 1000):
            file.writelines(f"{ticker},{price},{ts}\n" for ticker, price, ts, *_ in batch)
    start = time.perf_counter()
    async with await _Run.begin(ground, {"SOURCE": "replay", "REPLAY_FILE": str(path)}) as run:
        await run.until_all_stored(REPLAYED)
        return REPLAYED / (time.perf_counter() - start), run.watch


class _Run:
    def __init__(self, ground: Ground, database: asyncpg.Connection, processes: dict[str, subprocess.Popen[bytes]]) -> None:
        self.watch = Watch()
        self._redis = ground.client()
        self._database = database
        self._processes = processes

    @classmethod
    async def begin(cls, ground: Ground, variables: dict[str, str]) -> "_Run":
        """Empty both servers and start the services."""
        async with ground.client() as redis:
            await redis.flushall()
            await migrate_redis(redis, PARTITIONS, 5)
        database = await asyncpg.connect(ground.database_url)
        await database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await migrate_postgres(ground.database_url, PARTITIONS)
        given = {"REDIS_URL": ground.redis_url, "DATABASE_URL": ground.database_url, "PARTITIONS": str(PARTITIONS)}
        given |= {"GATEWAY_PORT": str(find_free_port()), "REPLAY_WINDOW_SECONDS": "5", "LOG_LEVEL": "warning"}
        environment = os.environ | given | variables
        processes = {name: subprocess.Popen([sys.executable, "-m", f"services.{name}"], env=environment) for name in SERVICES}
        run = cls(ground, database, processes)
        while not await run.appended():
            await asyncio.sleep(0.02)
        return run

    async def __aenter__(self) -> "_Run":
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait(20)
        await self._database.close()
        await self._redis.aclose()

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
        query = "SELECT coalesce(sum(seq), 0) FROM cursors WHERE stream = $1"
        while min([await self._database.fetchval(query, stream) for stream in ("ticks", "enriched")]) < ticks:
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
