"""Very many clients, silent ones and stalled ones: nobody is refused, everybody is served, the process stays alive and small."""

import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.e2e.pipeline import ROOT, Pipeline, until
from tests.integration.gateway.client import Client
from tests.integration.gateway.market import PERIOD, Market

Steps = dict[str, int]
TICKERS = 20


class Crowd:
    """The clients of a child process."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child

    async def look(self) -> Steps:
        """How many have come how far."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(b"\n")
        steps: Steps = json.loads(await self._child.stdout.readline())
        return steps

    async def until(self, step: str, count: int) -> Steps:
        """Wait until so many have come that far, and none was refused or lost."""

        async def have_come() -> bool:
            await asyncio.sleep(0.05)
            steps = await self.look()
            assert set(steps) <= {"HTTP 101", "snapshot", "update", "again"}, steps
            return steps.get(step, 0) >= count

        await until(have_come, f"{count} clients to have come as far as: {step}", 90.0)
        return await self.look()


@asynccontextmanager
async def crowd(port: int, count: int) -> AsyncIterator[Crowd]:
    """So many clients that connect at once and stay while the body runs."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.crowd", str(port), str(count), cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Crowd(child)
    finally:
        child.kill()
        await child.communicate()


def resident_kib(pid: int) -> int:
    """Memory of a process that is in RAM."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])


@pytest.fixture
def few_open_files() -> Iterator[None]:
    """A shell's usual limit, and less: who needs more must ask for it. Children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
async def market(redis: Redis) -> Market:
    """A deployment with one partition and a price for each ticker."""
    market = Market(redis, partitions=1)
    await market.open()
    await market.append([(f"T{n}", "1", "1771105101950") for n in range(TICKERS)])
    await market.analyze(0)
    return market


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.long)])
async def test_clients_that_come_all_at_once_are_all_served(
    market: Market, redis_url: str, few_open_files: None, tmp_path: Path, count: int
) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < count + 100:
        pytest.skip(f"this user may not open {count} files: raise the hard limit (ulimit -Hn)")
    async with Pipeline(redis_url, "", tmp_path, 1, SMA_PERIOD=str(PERIOD), GATEWAY_MAX_CONNECTIONS="0") as pipeline:
        gateway = pipeline.start("gateway")
        await pipeline.until(gateway.has_said("listening"), "the gateway to listen")
        before = resident_kib(gateway.process.pid)
        async with Client(pipeline.port) as client, crowd(pipeline.port, count) as many:
            await client.receive()
            await many.until("snapshot", count)
            await market.trade("T1", "2")
            await client.until_seen("T1", TICKERS + 1)
            steps = await many.until("update", count)
            grown = resident_kib(gateway.process.pid) - before
            print(f"{count} connections: {grown / count:.1f} KiB each; {steps.get('again', 0)} came twice")
            assert grown / count < 100
        gateway.terminate()  # it may still be busy with so many ends
        assert await gateway.finish(60.0) == 0
