"""Redis and PostgreSQL for `up`: those of REDIS_URL and DATABASE_URL, else embedded ones that are kept running."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from services.admin.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedRedis
from services.admin.ports import LOOPBACK, POSTGRESQL_PORT, REDIS_PORT, first_free, remember, remembered
from services.admin.processes import Say
from services.admin.settings import UpSettings
from shared.backoff import Backoff
from shared.logging import redact
from shared.runtime import wait_or_stop

LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Server:
    """A server that the services use: given by its URL, or embedded."""

    name: str
    variable: str
    given_url: str
    embedded: EmbeddedRedis | EmbeddedPostgres | None

    @property
    def url(self) -> str:
        """May hold a password: never to be shown."""
        return self.embedded.url if self.embedded else self.given_url

    @property
    def shown_url(self) -> str:
        """The URL without user and password."""
        return redact(self.url)

    @property
    def environment(self) -> dict[str, str]:
        """What a service needs to find an embedded server; a given one is in the environment already, in whatever form."""
        return {self.variable: self.url} if self.embedded else {}

    @property
    def psql(self) -> str:
        """A command line that opens the database; a given URL is not repeated, it may hold a password."""
        return self.embedded.psql if isinstance(self.embedded, EmbeddedPostgres) else f'psql "${self.variable}"'


def plan_redis(settings: UpSettings, data_dir: Path, taken: Collection[int]) -> Server:
    """The Redis that REDIS_URL names, else an embedded one on a free port; nothing is started yet."""
    url = settings.redis_url.get_secret_value()
    port = 0 if url else _choose_port(data_dir, "redis", REDIS_PORT, taken)
    return Server("Redis", "REDIS_URL", url, None if url else EmbeddedRedis(data_dir / "redis", port))


def plan_postgresql(settings: UpSettings, data_dir: Path, taken: Collection[int]) -> Server:
    """The PostgreSQL that DATABASE_URL names, else an embedded one on a free port; nothing is started yet."""
    url = settings.database_url.get_secret_value()
    port = 0 if url else _choose_port(data_dir, "postgresql", POSTGRESQL_PORT, taken)
    return Server("PostgreSQL", "DATABASE_URL", url, None if url else EmbeddedPostgres(data_dir / "postgresql", port))


def _choose_port(data_dir: Path, name: str, default: int, taken: Collection[int]) -> int:
    file = data_dir / "ports.json"
    port = first_free(remembered(file, name, default), taken)
    remember(file, name, port)
    return port


def _named(name: str, flavour: str) -> str:
    return flavour if flavour.startswith(name) else f"{name}: {flavour}"


@asynccontextmanager
async def serving(server: Server, say: Say, stop: asyncio.Event) -> AsyncIterator[None]:
    """Start an embedded server, start it again whenever it dies, stop it in the end; a given one is only told of.

    Raise `EmbeddedError` if it cannot be started.
    """
    embedded = server.embedded
    if embedded is None:
        say(f"{server.name}: {server.shown_url} ({server.variable} is set)")
        yield
        return
    say(f"starting {server.name} …")
    try:
        await asyncio.to_thread(embedded.start)
        say(f"{_named(server.name, embedded.flavour)} on {LOOPBACK}:{embedded.port} ({server.variable} is not set; {embedded.why})")
        watching = asyncio.create_task(_keep_running(server, embedded, say, stop))
        try:
            yield
        finally:
            # Not cancelled: a server that is being started by a thread must be known before it can be stopped.
            stop.set()
            await watching
    finally:
        await asyncio.to_thread(embedded.stop)


async def _keep_running(server: Server, embedded: EmbeddedRedis | EmbeddedPostgres, say: Say, stop: asyncio.Event) -> None:
    backoff = Backoff(0.2, 10)
    while not await wait_or_stop(stop, LOOK_SECONDS):
        if embedded.is_running:
            continue
        say(f"{server.name} has ended by itself, starting it again; see {embedded.log_file}")
        try:
            await asyncio.to_thread(embedded.stop)
            await asyncio.to_thread(embedded.start)
        except (EmbeddedError, OSError) as error:
            say(str(error))
            await wait_or_stop(stop, backoff.next_seconds())
        else:
            backoff.reset()
            say(f"{server.name} runs again")
