"""PostgreSQL as the persister uses it: a batch and the cursor that names its end are stored in one transaction, or neither.

The cursor is moved first, by compare-and-set. In the other order a second writer would get a unique violation instead of
zero rows, and that must never be mistaken for a poison row.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import asyncpg
import msgspec
import structlog

from services.persister.rows import NOWHERE, Lines, Position, StreamEvent, rejected_line
from shared.crash_points import CrashPoint, reach
from shared.errors import TransientError
from shared.postgres import housekeeping

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.pool.PoolConnectionProxy

log = structlog.get_logger(__name__)
T = TypeVar("T")

POSTGRES_AWAY: tuple[type[Exception], ...] = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what asyncpg says when the server cuts the connection between two messages of a command
    TransientError,
)
"""PostgreSQL did not answer, or answered with an error: what it holds is read again before anything else is written."""

POISON = ("23502", "23514", "P0001")
"""Not null, check, and RAISE in a trigger of the operator's own; with class 22, a value that the column's type refuses, these
say that the row itself is wrong and will be wrong again. Never 23505, a unique violation: that is somebody else's batch."""

COLUMNS = {
    "ticks": ("incarnation", "partition", "seq", "entry_id", "ticker", "price", "ts", "source", "volume", "quote_ts", "received"),
    "enriched": ("incarnation", "partition", "seq", "entry_id", "tick_id", "ticker", "price", "sma", "alert", "ts", "source", "received"),
}

CONNECTIONS = 8
COMMAND_SECONDS = 60.0
STALLED_SECONDS = 5.0
"""Without a byte of a COPY: whoever waits for its locks ends it."""
CLOSE_SECONDS = 1.0
"""Nothing is under way any more when the service closes its connections."""
SERVER_SETTINGS = {
    "application_name": "tickstream-persister",
    "lock_timeout": "10s",
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


def pass_over_lost_copies(loop: asyncio.AbstractEventLoop) -> None:
    """Keep asyncio from reporting what `copy_in` of asyncpg 0.32 leaves to nobody when a connection dies between two chunks.

    The COPY itself has failed by then, with an error of its own that is told and acted on.
    """

    def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), asyncpg.ConnectionDoesNotExistError):
            loop.default_exception_handler(context)

    loop.set_exception_handler(report)


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
        self.outages: dict[tuple[str, int], str] = {}
        """Why a stream of a partition is not stored at the moment."""

    async def partitions(self) -> int | None:
        """PARTITIONS as the database was set up with; None if it was not yet. Raise one of `POSTGRES_AWAY`."""

        async def ask(connection: "Connection") -> int | None:
            count: int | None = await connection.fetchval(queries()["partitions"])
            return count

        try:
            return await self._with_connection(ask)
        except asyncpg.UndefinedTableError:
            return None

    async def position(self, stream: str, partition: int) -> Position:
        """How far the stream is stored."""

        async def ask(connection: "Connection") -> asyncpg.Record | None:
            await connection.execute(queries()["begin"], stream, partition)
            return await connection.fetchrow(queries()["position"], stream, partition)

        row = await self._with_connection(ask)
        return Position(*row) if row else NOWHERE

    async def newest(self, stream: str, partition: int, incarnation: str, most_seq: int) -> tuple[str, int] | None:
        """Entry id and seq of the newest stored row of an incarnation, up to a seq."""
        query = {"ticks": "newest_tick", "enriched": "newest_enriched"}[stream]
        return await self._entry(query, incarnation, partition, most_seq)

    async def newest_dropped(self, stream: str, partition: int, incarnation: str) -> tuple[str, int] | None:
        """Entry id and seq of the newest row of an incarnation that RETENTION_DAYS has dropped."""
        return await self._entry("newest_dropped", stream, partition, incarnation)

    async def _entry(self, query: str, *arguments: str | int) -> tuple[str, int] | None:
        row = await self._with_connection(lambda connection: connection.fetchrow(queries()[query], *arguments))
        return (row["entry_id"], row["seq"]) if row else None

    async def keep_house(self, retention_days: int) -> bool:
        """Make and drop partitions; return whether it was ours to do. Raise one of `POSTGRES_AWAY`: what failed is not done."""

        async def keep(connection: "Connection") -> bool:
            return await housekeeping.keep_house(connection, await housekeeping.trusted_now(connection), retention_days)

        return await self._with_connection(keep)

    async def store(
        self, stream: str, partition: int, before: Position, batch: Lines, when_sent: Callable[[], None] = lambda: None
    ) -> list[StreamEvent]:
        """Store a batch that was read after `before`; return the rows that PostgreSQL refused, which are noted with it.

        `when_sent` is called once rows are on their way, while PostgreSQL is at work on them; again where it refused some.
        Raise `StoredElsewhere` if the cursor has moved. After any other error of `POSTGRES_AWAY`, and when cancelled, it is not
        known whether the batch is in: the cursor tells.
        """
        return await self._with_connection(lambda connection: _store(connection, stream, partition, before, batch, when_sent))

    async def _end_stalled(self) -> None:
        """End persisters that stand still within a COPY: no timeout of PostgreSQL's does, and they hold the row of a cursor."""
        found = await self._with_connection(lambda connection: connection.fetch(queries()["end_stalled"], STALLED_SECONDS))
        for session in found:
            log.warning("ended a persister's session that stood still in mid-COPY", server_pid=session["pid"], client=session["client"])

    async def _with_connection(self, work: "Callable[[Connection], Awaitable[T]]") -> T:
        """Do some work on a connection; when cancelled, cut it: a ROLLBACK, or the pool's reset, would wait for a dead server."""
        try:
            connection = await self._pool.acquire()
            try:
                return await _in_a_task(work(connection), connection.terminate)
            finally:
                # The pool shields its reset from a cancelled caller, who then never hears how it ended.
                await _in_a_task(self._pool.release(connection))
        except asyncpg.ReadOnlySQLTransactionError:
            # A former primary, after a fail-over: its connections stay open, and would be used for ever.
            await self._pool.expire_connections()
            raise
        except asyncpg.LockNotAvailableError:
            await self._end_stalled()
            raise


async def _in_a_task(work: Awaitable[T], when_cancelled: Callable[[], object] = lambda: None) -> T:
    """Wait for work that a cancelled caller gives up but does not cancel."""
    working = asyncio.ensure_future(work)
    try:
        await asyncio.wait({working})
    except asyncio.CancelledError:
        working.add_done_callback(_look_at)
        when_cancelled()
        raise
    return working.result()


def _look_at(ended: "asyncio.Future[T]") -> None:
    """How work ends that was given up is of no interest; an exception that nobody looks at would be reported."""
    if not ended.cancelled():
        ended.exception()


async def _store(
    connection: "Connection", stream: str, partition: int, before: Position, batch: Lines, when_sent: Callable[[], None]
) -> list[StreamEvent]:
    refused: list[StreamEvent] = []
    after = batch.position
    async with connection.transaction():
        moved = await connection.execute(queries()["advance"], stream, partition, *after, before.incarnation, before.entry_id)
        if moved != "UPDATE 1":
            raise StoredElsewhere
        await reach(CrashPoint.PERSISTER_CURSOR_MOVED)
        if batch.lines:
            # What an operator's own deferred constraint refuses at COMMIT could not be told from the rest of the batch.
            await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            await _copy(connection, stream, batch.lines, refused, when_sent)
        for event in (*batch.events, *refused):
            await _note(connection, partition, event)
        await reach(CrashPoint.PERSISTER_ROWS_COPIED)
    return refused


async def _copy(
    connection: "Connection", stream: str, lines: Sequence[str], refused: list[StreamEvent], when_sent: Callable[[], None]
) -> None:
    """Copy the lines; if PostgreSQL refuses one, halve until it stands alone, so that the rest is stored."""
    try:
        async with connection.transaction():
            await connection.copy_to_table(stream, source=_chunk(lines, when_sent), columns=COLUMNS[stream], format="text")
    except asyncpg.PostgresError as error:
        if not is_poison(error):
            raise
        if len(lines) == 1:
            refused.append(rejected_line(stream, lines[0], f"{type(error).__name__}: {error}"))
            return
        middle = len(lines) // 2
        await _copy(connection, stream, lines[:middle], refused, when_sent)
        await _copy(connection, stream, lines[middle:], refused, when_sent)


def is_poison(error: asyncpg.PostgresError) -> bool:
    """Whether the row itself is refused, and would be again."""
    state = error.sqlstate or ""
    # A row that no partition takes, as there is none or one is just being attached: 23514 too, of a table and of no constraint.
    is_homeless = state == "23514" and error.table_name is not None and error.constraint_name is None
    return (state.startswith("22") or state in POISON) and not is_homeless


async def _chunk(lines: Sequence[str], when_sent: Callable[[], None]) -> AsyncIterator[bytes]:
    yield "".join(lines).encode()
    # asyncpg asks for more once it has written this.
    when_sent()


async def _note(connection: "Connection", partition: int, event: StreamEvent) -> None:
    detail = msgspec.json.encode(event.detail).decode()
    await connection.execute(
        queries()["note"], event.kind, event.stream, partition, event.incarnation, event.first_seq, event.last_seq, detail, event.at_ms
    )
