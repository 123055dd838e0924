"""PostgreSQL as the persister uses it: a batch and the cursor that names its end are stored in one transaction, or neither.

The cursor is moved first, by compare-and-set. In the other order a second writer would get a unique violation instead of
zero rows, and that must never be mistaken for a poison row.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files

import asyncpg
import msgspec
import structlog

from services.persister.rows import NOWHERE, Lines, Position, StreamEvent, rejected_line
from shared.crash_points import CrashPoint, reach
from shared.errors import TransientError
from shared.postgres import housekeeping

log = structlog.get_logger(__name__)

POSTGRES_AWAY: tuple[type[Exception], ...] = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg says when the server cuts the connection between two messages of a command
    TransientError,
)
"""PostgreSQL did not answer, or answered with an error: what it holds is read again before anything else is written."""

POISON: tuple[type[asyncpg.PostgresError], ...] = (
    asyncpg.DataError,  # class 22: a value that the column's type refuses
    asyncpg.CheckViolationError,
    asyncpg.NotNullViolationError,
    asyncpg.RaiseError,  # a trigger of the operator's own that refuses a row
)
"""The row itself is wrong and will be wrong again. Never a unique violation: that is somebody else's batch."""

COLUMNS = {
    "ticks": ("incarnation", "partition", "seq", "entry_id", "ticker", "price", "ts", "source", "volume", "quote_ts", "received"),
    "enriched": ("incarnation", "partition", "seq", "entry_id", "tick_id", "ticker", "price", "sma", "alert", "ts", "source", "received"),
}

CONNECTIONS = 8
COMMAND_SECONDS = 60.0
CLOSE_SECONDS = 3.0
SERVER_SETTINGS = {
    "application_name": "tickstream-persister",
    "lock_timeout": "30s",
    # A process that stands still in a transaction holds the cursor's row, for which its successor waits.
    "idle_in_transaction_session_timeout": "5s",
    # The streams are trimmed once a row is stored: it must be on disk by then.
    "synchronous_commit": "on",
    "timezone": "UTC",
}


class StoredElsewhere(TransientError):
    """The cursor is not where this batch was read from: another persister stored it."""

    def __str__(self) -> str:
        return "another persister stored this batch"


@cache
def queries() -> dict[str, str]:
    """The statements of `store.sql` by name."""
    text = files("services.persister").joinpath("store.sql").read_text(encoding="utf-8")
    parts = (part.partition("\n") for part in text.split("-- name: ")[1:])
    return {name.strip(): statement.strip() for name, _, statement in parts}


@asynccontextmanager
async def connect_store(url: str, *, close_seconds: float = CLOSE_SECONDS) -> AsyncIterator["Store"]:
    """Connect lazily; on the way out a dead server cannot hold the process up for longer than `close_seconds`."""
    pool = asyncpg.create_pool(
        url, min_size=0, max_size=CONNECTIONS, timeout=10, command_timeout=COMMAND_SECONDS, server_settings=SERVER_SETTINGS
    )
    try:
        await pool
        yield Store(pool)
    finally:
        try:
            async with asyncio.timeout(close_seconds):
                await pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()


class Store:
    """The tables of the persister."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def partitions(self) -> int | None:
        """PARTITIONS as the database was set up with; None if it was not yet. Raise one of `POSTGRES_AWAY`."""
        try:
            count: int | None = await self._pool.fetchval(queries()["partitions"])
        except asyncpg.UndefinedTableError:
            return None
        return count

    async def position(self, stream: str, partition: int) -> Position:
        """How far the stream is stored."""
        async with self._pool.acquire() as connection:
            await connection.execute(queries()["begin"], stream, partition)
            row = await connection.fetchrow(queries()["position"], stream, partition)
        return Position(*row) if row else NOWHERE

    async def newest(self, stream: str, partition: int, incarnation: str, most_seq: int) -> tuple[str, int] | None:
        """Entry id and seq of the newest stored row of an incarnation, up to a seq."""
        query = {"ticks": "newest_tick", "enriched": "newest_enriched"}[stream]
        row = await self._pool.fetchrow(queries()[query], incarnation, partition, most_seq)
        return (row["entry_id"], row["seq"]) if row else None

    async def newest_dropped(self, stream: str, partition: int, incarnation: str) -> tuple[str, int] | None:
        """Entry id and seq of the newest row of an incarnation that RETENTION_DAYS has dropped."""
        row = await self._pool.fetchrow(queries()["newest_dropped"], stream, partition, incarnation)
        return (row["entry_id"], row["seq"]) if row else None

    async def keep_house(self, retention_days: int) -> bool:
        """Make and drop partitions; return whether it was ours to do. Raise one of `POSTGRES_AWAY`: what failed is not done."""
        async with self._pool.acquire() as connection:
            return await housekeeping.keep_house(connection, await housekeeping.trusted_now(connection), retention_days)

    async def store(self, stream: str, partition: int, before: Position, batch: Lines) -> list[StreamEvent]:
        """Store a batch that was read after `before`; return the rows that PostgreSQL refused, which are noted with it.

        Raise `StoredElsewhere` if the cursor has moved. After any other error of `POSTGRES_AWAY` it is not known whether
        the batch is in: the cursor tells.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            after = batch.position
            moved = await connection.execute(queries()["advance"], stream, partition, *after, before.incarnation, before.entry_id)
            if moved != "UPDATE 1":
                raise StoredElsewhere
            await reach(CrashPoint.PERSISTER_CURSOR_MOVED)
            refused: list[StreamEvent] = []
            if batch.lines:
                await _copy(connection, stream, batch.lines, refused)
            for event in (*batch.events, *refused):
                await _note(connection, partition, event)
            await reach(CrashPoint.PERSISTER_ROWS_COPIED)
        return refused


async def _copy(connection: "asyncpg.pool.PoolConnectionProxy", stream: str, lines: Sequence[str], refused: list[StreamEvent]) -> None:
    """Copy the lines; if PostgreSQL refuses one, halve until it stands alone, so that the rest is stored."""
    try:
        async with connection.transaction():
            await connection.copy_to_table(stream, source=_chunk(lines), columns=COLUMNS[stream], format="text")
    except POISON as error:
        if len(lines) == 1:
            refused.append(rejected_line(stream, lines[0], f"{type(error).__name__}: {error}"))
            return
        middle = len(lines) // 2
        await _copy(connection, stream, lines[:middle], refused)
        await _copy(connection, stream, lines[middle:], refused)


async def _chunk(lines: Sequence[str]) -> AsyncIterator[bytes]:
    yield "".join(lines).encode()


async def _note(connection: "asyncpg.pool.PoolConnectionProxy", partition: int, event: StreamEvent) -> None:
    detail = msgspec.json.encode(event.detail).decode()
    await connection.execute(
        queries()["note"], event.kind, event.stream, partition, event.incarnation, event.first_seq, event.last_seq, detail, event.at_ms
    )
