"""Listens and answers until told to stop; then no new connections, the requests in flight get their answers, and the end."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvicorn
from redis.asyncio import Redis

from services.api.application import make_application
from services.api.database import Database, connect_database
from services.api.latest import Latest, agree
from services.api.pipeline import Pipeline
from services.api.settings import ApiSettings
from services.api.sources import Sources
from shared.listening import listen
from shared.observe import confirm, probing
from shared.redis.cluster import connect_to
from shared.runtime import until_ready, wait_or_stop

READY_CHECK = "listening"
POSTGRESQL = "postgresql"
DRAIN_SECONDS = 7
"""Below the grace: what is cut off then still has time to be ended in order."""
TICK_SECONDS = 1.0
"""The precision of the header `Date`."""

log = structlog.get_logger(__name__)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ending = asyncio.Event()

    async def main_loop(self) -> None:
        """Tick until `ending`. The one of uvicorn wakes ten times a second to look whether it should end."""
        while not self.ending.is_set():
            await self.on_tick(0)
            confirm(READY_CHECK)
            await wait_or_stop(self.ending, TICK_SECONDS)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the runtime's: it tells us by `stop`."""
        yield


async def serve(settings: ApiSettings, stop: asyncio.Event) -> None:
    """Answer requests until `stop`; whatever server is away, what does not need it is answered."""
    async with (
        connect_to(settings, service="api") as redis,
        connect_database(settings.database_url.get_secret_value()) as database,
        probing({POSTGRESQL: lambda: database.check(settings.partitions)}),
        asyncio.TaskGroup() as tasks,
    ):
        agreeing = tasks.create_task(_agree(settings, redis, database, stop), name="agree")
        sources = Sources(settings, Latest(redis, settings.partitions), database, Pipeline(redis, database, settings))
        await _answer(settings, sources, stop)
        agreeing.cancel()


async def _agree(settings: ApiSettings, redis: Redis, database: Database, stop: asyncio.Event) -> None:
    """End the process if the deployment is of other values, as soon as that can be asked."""
    await until_ready(lambda: agree(redis, settings.partitions, settings.sma_period), what="redis", stop=stop)
    await until_ready(lambda: database.check(settings.partitions), what="postgresql", stop=stop)


async def _answer(settings: ApiSettings, sources: Sources, stop: asyncio.Event) -> None:
    listener = listen("API", settings.api_host, settings.api_port)
    server = _Server(
        uvicorn.Config(
            make_application(sources),
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
    )
    log.info("listening", url=f"http://{settings.api_host}:{settings.api_port}/")
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        server.ending.set()
        await serving
