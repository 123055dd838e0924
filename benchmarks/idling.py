"""Little to do: the services at 15 ticks a minute, what they cost and need, and how soon they are ready. Linux alone tells it (/proc)."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.ground import Ground
from benchmarks.report import Row, row
from benchmarks.running import cpu_seconds, found, running
from services.admin.embedded import find_free_port

SERVICES = ("fetcher", "analyzer", "persister", "gateway", "api")
PARTITIONS = 4
TICKS_A_SECOND = "0.25"
SETTLE_SECONDS = 3
SAMPLES, SAMPLE_SECONDS = 5, 4
"""A tick in each."""
PATIENCE_SECONDS = 60
MOST_CPU_MS = 10
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
    """All services of one deployment, each as its own process, watched for a while."""
    await found(ground, PARTITIONS)
    began = time.perf_counter()
    with _services(ground) as processes:
        await asyncio.gather(*(_until_ready(process.port) for process in processes.values()))
        ready_ms = 1000 * (time.perf_counter() - began)
        started = _spent(processes)
        memory = {name: _resident_mb(process.pid) for name, process in processes.items()}
        await asyncio.sleep(SETTLE_SECONDS)
        looks = [_spent(processes)]
        for _ in range(SAMPLES):
            await asyncio.sleep(SAMPLE_SECONDS)
            looks.append(_spent(processes))
    rows = [Row("all services ready after their start", ready_ms, "ms")]
    for name in SERVICES:
        rows += _rows(name, [look[name] for look in looks], started[name], memory[name])
    return rows


def _rows(name: str, looks: list[Spent], started: Spent, memory_mb: float) -> list[Row]:
    pairs = list(pairwise(looks))
    cpu_ms = [(new.cpu_ms - old.cpu_ms) / SAMPLE_SECONDS for old, new in pairs]
    wakes = [(new.wakes - old.wakes) / SAMPLE_SECONDS for old, new in pairs]
    return [
        row(f"{name} at 15 ticks a minute: CPU", "ms a second", cpu_ms, wanted=MOST_CPU_MS, at_most=True),
        row(f"{name} at 15 ticks a minute: wake-ups", "a second", wakes),
        Row(f"{name} at its start: memory", memory_mb, "MB", MOST_MEMORY_MB.get(name), at_most=True),
        Row(f"{name} until it is ready: CPU", started.cpu_ms, "ms"),
    ]


@contextmanager
def _services(ground: Ground) -> Iterator[Mapping[str, Process]]:
    given = {
        "SOURCE": "simulated",
        "SIMULATED_RATE": TICKS_A_SECOND,
        "GATEWAY_PORT": str(find_free_port()),
        "API_PORT": str(find_free_port()),
    }
    with ExitStack() as stack:
        started = {}
        for name in SERVICES:
            port = find_free_port()
            (process,) = stack.enter_context(running(ground, [name], PARTITIONS, METRICS_PORT=str(port), **given))
            started[name] = Process(process.pid, port)
        yield started


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


def _spent(processes: Mapping[str, Process]) -> dict[str, Spent]:
    return {name: _spent_by(process.pid) for name, process in processes.items()}


def _spent_by(pid: int) -> Spent:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return Spent(1000 * cpu_seconds(pid), sum(_number(thread / "status", "voluntary_ctxt_switches") for thread in threads))


def _resident_mb(pid: int) -> float:
    return _number(Path(f"/proc/{pid}/status"), "VmRSS") / 1024


def _number(file: Path, name: str) -> int:
    lines = (line.partition(":") for line in file.read_text(encoding="utf-8").splitlines())
    return next(int(value.split()[0]) for key, _, value in lines if key == name)
