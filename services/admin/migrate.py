"""`tickstream migrate`: makes Redis and PostgreSQL ready for this version. Running it twice, or two at once, is harmless.

Redis: loads the function library and writes the deployment's values; PostgreSQL: applies the numbered SQL files that are
not applied yet, under an advisory lock. A file that was applied and then changed is refused.
"""

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

import asyncpg
import structlog
from redis.asyncio import Redis

from shared import streams
from shared.errors import ConfigurationError, Problem
from shared.postgres.housekeeping import keep_house, trusted_now
from shared.redis.client import TRY_AGAIN
from shared.redis.cluster import at, check_mode, connect_to, each_primary, empty_primaries
from shared.redis.deployment import Deployment, prepare, refuse_eviction
from shared.redis.log import LIBRARY, call, library_code
from shared.runtime import until_ready
from shared.settings import PostgresqlUrl, Settings

log = structlog.get_logger(__name__)

ADVISORY_LOCK = 7_463_891_320_451
"""Any constant of our own: two runs at once take turns."""

MIGRATION_SECONDS = 3600.0
"""A migration may write every row anew."""

NOT_YET: tuple[type[Exception], ...] = (
    *TRY_AGAIN,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
)
"""Redis or PostgreSQL is away or still starting."""


class SchemaError(Exception):
    """The database is not what this program's migrations made it."""


class MigrateSettings(Settings):
    """What `migrate` reads from the environment; without DATABASE_URL only Redis is made ready, for use without a persister."""

    database_url: PostgresqlUrl | None = None


@dataclass(frozen=True)
class Migration:
    """A numbered SQL file."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> Iterator[Migration]:
    """The files of `services/admin/migrations`, in the order of their numbers."""
    folder = files("services.admin").joinpath("migrations")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        number, _, name = file.name.removesuffix(".sql").partition("_")
        if file.name.endswith(".sql"):
            yield Migration(int(number), name, file.read_text(encoding="utf-8"))


async def migrate(settings: MigrateSettings) -> None:
    """Make both ready; raise `ConfigurationError` if the deployment has other PARTITIONS, one of `NOT_YET` if a server is away."""
    async with connect_to(settings, service="migrate") as redis:
        await migrate_redis(redis, settings.partitions, settings.sma_period, with_persister=settings.database_url is not None)
    if settings.database_url is None:
        log.warning("DATABASE_URL is not set: only redis was made ready, and trimming waits for no persister")
        return
    await migrate_postgres(settings.database_url.get_secret_value(), settings.partitions)


async def migrate_redis(redis: Redis, partitions: int, sma_period: int, *, with_persister: bool = True) -> None:
    """Load the functions and write `config` and the head of each partition; a new SMA_PERIOD starts windows and sides again."""
    await check_mode(redis)
    await refuse_eviction(redis)
    await load_library(redis)
    wanted = Deployment.wanted(partitions, sma_period, with_persister=with_persister)
    found = await call(redis, "configure", [streams.CONFIG], wanted.partitions, wanted.sma_period, wanted.required)
    if int(found[0]) != partitions:
        allowed = f"this deployment was set up with PARTITIONS={found[0]}; it is fixed for a deployment"
        raise ConfigurationError((Problem("PARTITIONS", str(partitions), allowed),))
    for partition in range(partitions):
        await prepare(redis, wanted, partition)
        await _change_period(redis, partition, sma_period)
    if int(found[1]) != sma_period:
        log.warning("SMA_PERIOD changed, windows and sides start again", before=int(found[1]), now=sma_period)
    async with at(redis, streams.CONFIG) as server:
        await server.hset(streams.CONFIG, mapping={"sma_period": sma_period, "required": wanted.required})


async def load_library(redis: Redis) -> bool:
    """Load the function library into every primary that has not this very text; return whether there was one.

    Replicas get it from their primaries. A primary that has no slots yet gets it too: once slots come, it must be there.
    """
    async with each_primary(redis) as servers:
        everywhere = {**servers, **await empty_primaries(redis)}
        return any([await _load_into(name, server) for name, server in everywhere.items()])


async def _load_into(name: str, server: Redis) -> bool:
    loaded = await server.function_list(library=LIBRARY, withcode=True)
    if library_code() in _texts(loaded):
        return False
    await server.function_load(library_code(), replace=True)
    log.info("function library loaded", library=LIBRARY, server=name)
    return True


def _texts(reply: object) -> Iterator[str]:
    if isinstance(reply, str):
        yield reply
    elif isinstance(reply, dict):
        for value in reply.values():
            yield from _texts(value)
    elif isinstance(reply, list | tuple):
        for value in reply:
            yield from _texts(value)


async def _change_period(redis: Redis, partition: int, sma_period: int) -> None:
    keys = [streams.log(partition), streams.ticks(partition), streams.enriched(partition), streams.events(partition)]
    keys += [streams.sides(partition), streams.latest(partition)]
    answer = "RETRY"
    while answer == "RETRY":
        async with at(redis, streams.latest(partition)) as server:
            tickers = await server.hkeys(streams.latest(partition))
        lists = [streams.prices(partition, str(ticker)) for ticker in tickers]
        answer = await call(redis, "change_period", [*keys, *lists], sma_period)


async def migrate_postgres(url: str, partitions: int) -> list[str]:
    """Apply what is not applied yet, in one transaction; return the names of what was."""
    connection = await asyncpg.connect(
        url, timeout=10, command_timeout=MIGRATION_SECONDS, server_settings={"application_name": "tickstream-migrate"}
    )
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", ADVISORY_LOCK)
            applied = await _apply(connection)
            await _claim_partitions(connection, partitions)
        await _make_days(connection)
    finally:
        await connection.close(timeout=5)
    for name in applied:
        log.info("migration applied", name=name)
    return applied


async def _make_days(connection: asyncpg.Connection) -> None:
    """Make the partitions of the next days; what cannot be done now is left to the persisters, and rows are stored all the same."""
    try:
        await keep_house(connection, await trusted_now(connection), 0)
    except asyncpg.LockNotAvailableError as error:
        log.warning("not all partitions were made; a persister tries again", reason=str(error))


async def _apply(connection: asyncpg.Connection) -> list[str]:
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations "
        "(version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    done = {row["version"]: row for row in await connection.fetch("SELECT version, name, checksum FROM schema_migrations")}
    names = []
    for migration in migrations():
        row = done.pop(migration.version, None)
        if row is None:
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
                migration.version,
                migration.name,
                migration.checksum,
            )
            names.append(f"{migration.version:04d}_{migration.name}")
        elif row["checksum"] != migration.checksum:
            raise SchemaError(f"migration {migration.version:04d}_{migration.name} was changed after it was applied to this database")
    if done:
        raise SchemaError(f"this database is newer than this program: it has migration {max(done):04d}, which is not known here")
    return names


async def _claim_partitions(connection: asyncpg.Connection, partitions: int) -> None:
    await connection.execute("INSERT INTO deployment (partitions) VALUES ($1) ON CONFLICT DO NOTHING", partitions)
    found = await connection.fetchval("SELECT partitions FROM deployment")
    if found != partitions:
        allowed = f"this database was set up with PARTITIONS={found}; it is fixed for a deployment"
        raise ConfigurationError((Problem("PARTITIONS", str(partitions), allowed),))


async def migrate_when_ready(settings: MigrateSettings, stop: asyncio.Event) -> bool:
    """Migrate as soon as both answer, and say once what is waited for; False if stopped before."""

    async def attempt() -> bool:
        await migrate(settings)
        return True

    return bool(await until_ready(attempt, what="redis and postgresql", stop=stop, away=NOT_YET))
