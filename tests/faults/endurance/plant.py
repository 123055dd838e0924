"""All that is broken in a run: a Redis with a replica, a PostgreSQL, a way of its own to each, and the services."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg
import redis.asyncio as aioredis

from services.admin.embedded import EmbeddedPostgres, EmbeddedRedis, find_free_port
from shared.redis.client import connect
from tests.e2e.pipeline import Pipeline, Service, until
from tests.faults.endurance.market import Market
from tests.faults.proxy import FaultProxy

LEASE_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 90.0
"""For what must come by itself once all faults are over."""
MOST = {"fetcher": 2, "analyzer": 4, "persister": 3, "gateway": 2}
"""Processes of a service at one time; there is always one at least."""


class Plant:
    """`async with Plant(folder, market)`: servers run and are migrated; services are started by `start`."""

    def __init__(self, folder: Path, market: Market) -> None:
        self.services: dict[str, list[Service]] = {name: [] for name in MOST}
        self.pipeline: Pipeline
        self.to_redis: FaultProxy
        self.to_postgres: FaultProxy
        self._folder = folder
        self._market = market
        self._redis = [EmbeddedRedis(folder / f"redis-{name}", find_free_port()) for name in "ab"]
        self.postgres = EmbeddedPostgres(folder / "postgres", find_free_port())
        self._recording: dict[str, str] = {}
        self._main_gateway: Service | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for server in (*self._redis, self.postgres):
            self._stack.callback(server.stop)
            await asyncio.to_thread(server.start)
        await self._replicate(self.replica, self.primary)
        self.to_redis = await self._stack.enter_async_context(FaultProxy(self.primary.url).running())
        self.to_postgres = await self._stack.enter_async_context(FaultProxy(self.postgres.url).running())
        self.pipeline = await self._stack.enter_async_context(
            Pipeline(
                self.to_redis.url, self.to_postgres.url, self._folder, self._market.partitions,
                SMA_PERIOD=str(self._market.period), LEASE_SECONDS=str(LEASE_SECONDS), SOURCE="replay", REPLAY_WINDOW_SECONDS="30",
            )
        )  # fmt: skip
        await self.pipeline.migrate()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.__aexit__(kind, error, trace)

    @property
    def primary(self) -> EmbeddedRedis:
        """The Redis that serves."""
        return self._redis[0]

    @property
    def replica(self) -> EmbeddedRedis:
        """The Redis that copies it."""
        return self._redis[1]

    @property
    def running(self) -> list[Service]:
        """The service processes that have not ended."""
        return [service for services in self.services.values() for service in services if service.process.poll() is None]

    def play(self, path: Path, replay_id: str, speed: float) -> None:
        """Say what fetchers that are started from now on play."""
        self._recording = {"REPLAY_FILE": str(path), "REPLAY_ID": replay_id, "REPLAY_SPEED": f"{speed:g}"}

    def start(self, name: str) -> Service:
        """Start one more of a service."""
        variables = self._recording if name == "fetcher" else {}
        if name == "gateway" and self.main_gateway is not None:
            variables = {"GATEWAY_PORT": str(find_free_port())}
        service = self.pipeline.start(name, **variables)
        if name == "gateway" and self.main_gateway is None:
            self._main_gateway = service
        self.services[name].append(service)
        return service

    @property
    def main_gateway(self) -> Service | None:
        """The gateway on the port that the client comes back to, if it runs."""
        found = self._main_gateway
        return found if found is not None and found.process.poll() is None else None

    def forget_ended(self) -> None:
        """Look at the log of each process that has ended, and drop it; fail if it ended unasked or shows a traceback."""
        for services in self.services.values():
            for service in [each for each in services if each.process.poll() is not None]:
                service.check_alive()
                service.check_log(errors_allowed=("",))
                services.remove(service)
                self.pipeline.forget(service)
        assert all(self.services[name] for name in MOST if name != "fetcher")

    async def fail_over(self, lag_seconds: float) -> None:
        """Cut replication, let the primary go on for a while, then let the replica serve; the old primary comes back as its replica."""
        async with connect(self.replica.url, service="faults") as replica:
            await replica.replicaof("127.0.0.1", "1")
            await asyncio.sleep(lag_seconds)
            self.to_redis.refuses = True
            self.to_redis.cut()
            await asyncio.to_thread(self.primary.kill)
            await replica.replicaof("NO", "ONE")
        self._redis.reverse()
        self.to_redis.retarget(self.primary.url)
        self.to_redis.refuses = False
        await asyncio.to_thread(self.replica.start)
        await self._replicate(self.replica, self.primary)

    async def _replicate(self, replica: EmbeddedRedis, primary: EmbeddedRedis) -> None:
        async with connect(replica.url, service="faults") as client:
            await client.replicaof("127.0.0.1", str(primary.port))
        await self.until_replicated()

    async def until_replicated(self) -> None:
        """Wait until the replica has all that the primary has."""
        async with connect(self.primary.url, service="faults") as primary, connect(self.replica.url, service="faults") as replica:

            async def has_all() -> bool:
                here, there = await primary.info("replication"), await replica.info("replication")
                return there.get("master_link_status") == "up" and here["master_repl_offset"] == there["slave_repl_offset"]

            await until(has_all, "the replica to have caught up", LONGEST_WAIT_SECONDS)

    async def restart_redis(self) -> None:
        """Kill the primary, and start it again with its data."""
        await asyncio.to_thread(self.primary.kill)
        await asyncio.to_thread(self.primary.start)

    async def restart_postgres(self) -> None:
        """Kill PostgreSQL, and start it again with its data."""
        await asyncio.to_thread(self.postgres.kill)
        await asyncio.to_thread(self.postgres.start)

    async def until_stored(self) -> None:
        """Wait until the cursors in PostgreSQL stand at the last event of every partition, in both streams."""
        wanted = {(stream, p, len(events)) for stream in ("ticks", "enriched") for p, events in enumerate(self._market.events) if events}

        async def is_stored() -> bool:
            rows = await self.fetch("SELECT stream, partition, seq FROM cursors")
            return wanted <= {(row["stream"], row["partition"], row["seq"]) for row in rows}

        await self.pipeline.until(is_stored, "every row in PostgreSQL", LONGEST_WAIT_SECONDS)

    async def fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        """Ask PostgreSQL itself, on a connection of its own."""
        connection = await asyncpg.connect(self.postgres.url)
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()

    def look(self) -> "aioredis.Redis":
        """A client of the Redis that serves, whichever that is at the time."""
        return connect(self.to_redis.url, service="witness", block_seconds=1)
