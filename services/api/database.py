"""PostgreSQL as the API uses it: read only, every statement and every wait for a connection bounded.

What may take long has connections of its own: however many of those are asked for, a page of rows gets one.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from typing import Any

import asyncpg

from services.api.unavailable import Unavailable
from shared.errors import ConfigurationError, Problem

POSTGRES_AWAY: tuple[type[Exception], ...] = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # stopping, starting, or the connection was ended by an operator
    asyncpg.InsufficientResourcesError,
    asyncpg.UndefinedTableError,  # `tickstream migrate` did not run yet
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg says when the server cuts the connection between two messages of a command
)
"""PostgreSQL cannot answer now: the same question may be answered later."""

PAGE_CONNECTIONS = 6
LONG_CONNECTIONS = 2
"""For bars, which add up many rows, and for files."""

STATEMENT_SECONDS = 5.0
ANSWER_SECONDS = STATEMENT_SECONDS + 1.0
"""Later than PostgreSQL's own bound: only a dead connection gets so far."""
CONNECT_SECONDS = 3.0
WAIT_SECONDS = 5.0
"""For a free connection."""
CLOSE_SECONDS = 1.0

SERVER_SETTINGS = {
    "application_name": "tickstream-api",
    "default_transaction_read_only": "on",
    "statement_timeout": str(int(STATEMENT_SECONDS * 1000)),
    "idle_in_transaction_session_timeout": "10s",
    "timezone": "UTC",
}


@cache
def queries() -> dict[str, str]:
    """The statements of `queries.sql` by name."""
    text = files("services.api").joinpath("queries.sql").read_text(encoding="utf-8")
    parts = (part.partition("\n") for part in text.split("-- name: ")[1:])
    found = {name.strip(): statement.strip() for name, _, statement in parts}
    evidence = found.pop("evidence")
    return {name: statement.replace("@evidence", evidence) for name, statement in found.items()}


class Lane:
    """Connections for one kind of question."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def rows(self, query: str, *arguments: object) -> Sequence[Any]:
        """The rows of a query of `queries.sql`, each a mapping; raise `Unavailable`."""
        try:
            async with self._pool.acquire(timeout=WAIT_SECONDS) as connection:
                rows: Sequence[Any] = await connection.fetch(queries()[query], *arguments)
                return rows
        except POSTGRES_AWAY as error:
            raise Unavailable("PostgreSQL", str(error) or type(error).__name__) from error

    async def value(self, query: str, *arguments: object) -> Any:
        """The first column of the first row; None if there is none."""
        rows = await self.rows(query, *arguments)
        return rows[0][0] if rows else None


class Database:
    """The tables, by two lanes."""

    def __init__(self, pages: asyncpg.Pool, long: asyncpg.Pool) -> None:
        self.pages = Lane(pages)
        self.long = Lane(long)

    async def check(self, partitions: int) -> None:
        """Raise `Unavailable` while it cannot be asked, `ConfigurationError` if it was set up for other PARTITIONS."""
        found = await self.pages.value("partitions")
        if found is None:
            raise Unavailable("PostgreSQL", "the database is not set up; run `tickstream migrate`")
        if found != partitions:
            allowed = f"this database was set up with PARTITIONS={found}; it is fixed for a deployment"
            raise ConfigurationError((Problem("PARTITIONS", str(partitions), allowed),))


@asynccontextmanager
async def connect_database(url: str) -> AsyncIterator[Database]:
    """Connect lazily; on the way out a dead server cannot hold the process up."""
    async with _pool(url, PAGE_CONNECTIONS) as pages, _pool(url, LONG_CONNECTIONS) as long:
        yield Database(pages, long)


@asynccontextmanager
async def _pool(url: str, connections: int) -> AsyncIterator[asyncpg.Pool]:
    pool = asyncpg.create_pool(
        url, min_size=0, max_size=connections, timeout=CONNECT_SECONDS, command_timeout=ANSWER_SECONDS, server_settings=SERVER_SETTINGS
    )
    try:
        await pool
        yield pool
    finally:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()
