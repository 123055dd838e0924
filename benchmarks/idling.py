"""Little to do: the services at 15 ticks a minute, what they cost and need, and how soon they are ready. Linux alone tells it (/proc)."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

import asyncpg

from benchmarks.ground import PERIOD, Ground
from benchmarks.report import Row
from services.admin.embedded import find_free_port
from services.admin.migrate import migrate_postgres, migrate_redis

SERVICES = ("fetcher", "analyzer", "persister", "gateway", "api")
PARTITIONS = 4
TICKS_A_SECOND = "0.25"
SETTLE_SECONDS = 3
SECONDS = 60
PATIENCE_SECONDS = 60
MOST_MEMORY_MB = {"gateway": 60}


class Spent(NamedTuple):
    """What a process has cost so far: ms of CPU, and how often it went to sleep and was woken."""

    cpu_ms: float
    wakes: int


class Process(NamedTuple):
    """A service and the port that tells whether it is ready."""

    pid: int
    port: int


async def measure(ground: Ground) -> list[Row]:
    """All services of one deployment, each as its own process, watched for a minute."""
    await _empty(ground)
    began = time.perf_counter()
    async with _running(ground) as processes:
        await asyncio.gather(*(_until_ready(process.port) for process in processes.values()))
        ready_ms = 1000 * (time.perf_counter() - began)
        started = {name: _spent(process.pid) for name, process in processes.items()}
        memory = {name: _resident_mb(process.pid) for name, process in processes.items()}
        await asyncio.sleep(SETTLE_SECONDS)
        before = {name: _spent(process.pid) for name, process in processes.items()}
        await asyncio.sleep(SECONDS)
        after = {name: _spent(process.pid) for name, process in processes.items()}
    rows = [Row("all services ready after their start", ready_ms, "ms")]
    for name in SERVICES:
        cpu_ms, wakes = (float(new - old) / SECONDS for new, old in zip(after[name], before[name], strict=True))
        rows += [
            Row(f"{name} at 15 ticks a minute: CPU", cpu_ms, "ms a second", 10, at_most=True),
            Row(f"{name} at 15 ticks a minute: wake-ups", wakes, "a second"),
            Row(f"{name} at its start: memory", memory[name], "MB", MOST_MEMORY_MB.get(name), at_most=True),
            Row(f"{name} until it is ready: CPU", started[name].cpu_ms, "ms"),
        ]
    return rows


async def _empty(ground: Ground) -> None:
    async with ground.client() as redis:
        await redis.flushall()
        await migrate_redis(redis, PARTITIONS, PERIOD)
    database = await asyncpg.connect(ground.database_url)
    await database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await database.close()
    await migrate_postgres(ground.database_url, PARTITIONS)


@asynccontextmanager
async def _running(ground: Ground) -> AsyncIterator[Mapping[str, Process]]:
    given = {"REDIS_URL": ground.redis_url, "DATABASE_URL": ground.database_url, "PARTITIONS": str(PARTITIONS), "SMA_PERIOD": str(PERIOD)}
    given |= {"SOURCE": "simulated", "SIMULATED_RATE": TICKS_A_SECOND, "LOG_LEVEL": "warning"}
    given |= {"GATEWAY_PORT": str(find_free_port()), "API_PORT": str(find_free_port())}
    ports = {name: find_free_port() for name in SERVICES}
    started = {
        name: subprocess.Popen([sys.executable, "-m", f"services.{name}"], env=os.environ | given | {"METRICS_PORT": str(ports[name])})
        for name in SERVICES
    }
    try:
        yield {name: Process(process.pid, ports[name]) for name, process in started.items()}
    finally:
        for process in started.values():
            process.terminate()
        for process in started.values():
            process.wait(20)


async def _until_ready(port: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await asyncio.to_thread(_is_ready, port):
            await asyncio.sleep(0.05)


def _is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):
            return True
    except (URLError, OSError):
        return False


def _spent(pid: int) -> Spent:
    """Of all threads. Not `utime` and `stime`: those are counted by looks at the clock, between which a short wake-up falls."""
    threads = [*Path(f"/proc/{pid}/task").iterdir()]
    cpu_ns = sum(int((thread / "schedstat").read_text(encoding="ascii").split()[0]) for thread in threads)
    return Spent(cpu_ns / 1e6, sum(_number(thread / "status", "voluntary_ctxt_switches") for thread in threads))


def _resident_mb(pid: int) -> float:
    return _number(Path(f"/proc/{pid}/status"), "VmRSS") / 1024


def _number(file: Path, name: str) -> int:
    lines = (line.partition(":") for line in file.read_text(encoding="utf-8").splitlines())
    return next(int(value.split()[0]) for key, _, value in lines if key == name)
