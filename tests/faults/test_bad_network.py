"""The services behind networks that are slow, torn or half-open: all is exact in the end, and no process ends, grows or spins."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest
from redis.asyncio import Redis

from shared import streams
from tests.e2e.market_data import outcome, recording
from tests.e2e.pipeline import STOP_SECONDS, Pipeline, Service, random_moments
from tests.e2e.playing import run_to_the_end
from tests.e2e.proof import Proof
from tests.e2e.viewer import Viewer
from tests.faults.proxy import FaultProxy, Way

PARTITIONS = 4
TICKS = 1500
FEW_TICKS = 250
"""Few of them, but more for one partition than a throttled line brings before a read is given up."""
VERY_FEW_TICKS = 50
"""Each byte of them is a segment of its own, several times over."""
MOST_MEGABYTES = 256
BUSY = 0.5
"""Part of a processor: a service that waits takes a few hundredths, one that spins all of it."""
BY_ASYNCPG = ("Resetting connection with an active transaction",)
"""What asyncpg logs of a connection that died within a transaction."""


@dataclass
class Network:
    """A pipeline whose services reach both servers through proxies."""

    pipeline: Pipeline
    proof: Proof
    redis: FaultProxy
    postgres: FaultProxy

    def ways(self) -> list[Way]:
        """Every direction of both."""
        return [way for proxy in (self.redis, self.postgres) for way in (proxy.requests, proxy.replies)]


@dataclass
class Servers:
    """What the services stand on, and where they log."""

    redis: Redis
    redis_url: str
    database_url: str
    folder: Path

    @asynccontextmanager
    async def network(self, ticks: int, seconds: float = 0) -> AsyncIterator[Network]:
        """Play so many ticks, in so many seconds, 0: as fast as it goes."""
        path = self.folder / "market.csv"
        path.write_text(recording(ticks).text, encoding="ascii")
        quotes = recording(ticks).quotes
        speed = (quotes[-1].at - quotes[0].at).total_seconds() / seconds if seconds else 0
        variables = {"SOURCE": "replay", "REPLAY_FILE": str(path), "REPLAY_SPEED": str(speed or "")}
        proof = Proof(self.redis, self.database_url, outcome(PARTITIONS, ticks))
        with FaultProxy(self.redis_url).in_thread() as redis, FaultProxy(self.database_url).in_thread() as postgres:
            async with Pipeline(redis.url, postgres.url, self.folder, PARTITIONS, **variables) as pipeline:
                await pipeline.migrate()
                yield Network(pipeline, proof, redis, postgres)


@pytest.fixture
def servers(redis: Redis, redis_url: str, database_url: str, tmp_path: Path) -> Servers:
    """This worker's Redis, which is empty, and a database of the test's own."""
    return Servers(redis, redis_url, database_url, tmp_path)


async def check_all(network: Network, viewer: Viewer) -> None:
    """Finish, and compare everything with what must be."""
    check_memory(network.pipeline)
    await run_to_the_end(network.pipeline, network.proof, viewer, errors_allowed=BY_ASYNCPG)
    await network.proof.check_all()
    network.proof.check_prices(viewer.book.stocks.values())
    await network.proof.check_alerts_seen(viewer.book)
    assert viewer.book.losses == []


def check_memory(pipeline: Pipeline) -> None:
    """No service ever took much memory."""
    for service in pipeline.started:
        if service.process.poll() is None:
            status = Path(f"/proc/{service.process.pid}/status").read_text(encoding="ascii")
            (peak,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
            assert int(peak) < MOST_MEGABYTES * 1024, f"{service.name} took {peak} kB"


def processor_seconds(service: Service) -> float:
    """Time of the processor that a service has taken."""
    fields = Path(f"/proc/{service.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("seconds", [2, pytest.param(8, marks=pytest.mark.long)])
async def test_connections_cut_again_and_again(servers: Servers, seconds: int) -> None:
    chance = random_moments("cuts")
    async with servers.network(TICKS, seconds) as network:
        start_readers(network)
        async with Viewer(network.pipeline.port) as viewer:
            fetcher = network.pipeline.start("fetcher")
            ends_at = monotonic() + seconds
            while monotonic() < ends_at:
                await asyncio.sleep(chance.uniform(0.1, 0.3))
                chance.choice((network.redis, network.postgres)).cut()
            assert await fetcher.finish() == 0
            await check_all(network, viewer)


def start_readers(network: Network) -> None:
    """All but the fetcher: a client that comes before the first tick sees every alert, however slow the start was."""
    for name in ("gateway", "persister", "analyzer"):
        network.pipeline.start(name)


def set_latency(way: Way) -> None:
    way.delay_seconds = 0.2


def set_throttle(way: Way) -> None:
    way.bytes_per_second = 10_000


def set_slices(way: Way) -> None:
    way.piece_bytes = 1


@pytest.mark.long
@pytest.mark.parametrize(("slow_down", "ticks"), [(set_latency, FEW_TICKS), (set_throttle, FEW_TICKS), (set_slices, VERY_FEW_TICKS)])
async def test_a_slow_network(servers: Servers, slow_down: Callable[[Way], None], ticks: int) -> None:
    async with servers.network(ticks) as network:
        for way in network.ways():
            slow_down(way)
        start_readers(network)
        async with Viewer(network.pipeline.port) as viewer:
            network.pipeline.start("fetcher")
            await network.pipeline.until(network.proof.is_complete, "all of the file", 110)
            for way in network.ways():
                vars(way).update(vars(Way()))
            await check_all(network, viewer)
            assert viewer.connections == 1


@pytest.mark.long
async def test_of_two_of_each_those_that_are_half_open_are_replaced_end_in_order_and_come_back(servers: Servers, redis: Redis) -> None:
    async with servers.network(TICKS, 4) as network:
        pipeline = network.pipeline
        afar = [pipeline.start(name) for name in ("gateway", "persister", "analyzer")]
        await pipeline.until(lambda: are_held(redis), "leases taken")
        near = {"REDIS_URL": servers.redis_url}
        for name in ("persister", "analyzer"):
            pipeline.start(name, **near)
        async with Viewer(pipeline.port) as viewer:
            fetcher = pipeline.start("fetcher", **near)
            await pipeline.until(lambda: has_ticks(network.proof, 100), "mid-run")
            network.redis.swallow()
            began, before = monotonic(), [processor_seconds(service) for service in afar]
            await viewer.until(lambda book: book.stale == [True], "that Redis is away")
            assert await fetcher.finish() == 0
            await pipeline.until(network.proof.is_complete, "the others to take over")
            await pipeline.until(afar[1].has_said("waiting, nothing is lost"), "the loss to be noticed")
            for service, spent in zip(afar, before, strict=True):
                assert processor_seconds(service) - spent < BUSY * (monotonic() - began), f"{service.name} spins"
            afar[2].terminate()
            assert await afar[2].finish(STOP_SECONDS) == 0
            network.redis.swallow(False)
            await viewer.until(lambda book: book.stale[-1] is False, "that Redis is back")
            await check_all(network, viewer)


async def are_held(redis: Redis) -> bool:
    """Whether every partition has an analyzer and a persister."""
    keys = [streams.lease(name, p) for name in ("analyzer", "persister") for p in range(PARTITIONS)]
    return all([await redis.hget(key, "token") for key in keys])


async def has_ticks(proof: Proof, count: int) -> bool:
    """Whether so many ticks were analyzed."""
    return await proof.count("enriched") >= count
