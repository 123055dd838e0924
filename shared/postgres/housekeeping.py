"""Keeps `ticks` and `enriched` in days: makes those ahead, drops those that RETENTION_DAYS has passed.

Any number may try at once and any may be killed: each step is one transaction under an advisory lock, is judged within it
by what the catalog says, and does nothing if it was done. A lock that is not had soon ends the step; it is tried again later.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, TypeAlias

import structlog

from shared import metrics
from shared.postgres import calendar_days

if TYPE_CHECKING:
    import asyncpg

    Connection: TypeAlias = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

log = structlog.get_logger(__name__)

TABLES = ("ticks", "enriched")
ADVISORY_LOCK = 7_463_891_320_452
"""Any constant of our own, other than that of `tickstream migrate`."""
DELETED_AT_ONCE = 10_000
"""Rows of the DEFAULT partition in one transaction."""
STEP_SECONDS = 600.0
"""A day of rows that were stored before the day was made takes a while to move."""
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


class Busy(Exception):
    """Somebody else keeps house at this moment."""


async def trusted_now(connection: "Connection") -> datetime:
    """The time by the database's clock or by ours, whichever is earlier: one that runs ahead must not drop what is young."""
    theirs: datetime = await connection.fetchval("SELECT now()")
    return min(datetime.now(UTC), theirs)


async def keep_house(connection: "Connection", now: datetime, retention_days: int) -> bool:
    """Do whatever is due; return whether it was ours to do. Raise an error of asyncpg if a step failed: try again later.

    `retention_days` 0: nothing is dropped.
    """
    try:
        for table in TABLES:
            await _delete_from_default(connection, table, now, retention_days)
            await _make_days(connection, table, now)
        for table in TABLES:
            await _drop_days(connection, table, now, retention_days)
    except Busy:
        return False
    return True


@asynccontextmanager
async def _step(connection: "Connection") -> AsyncIterator[None]:
    async with connection.transaction():
        if not await connection.fetchval(queries()["try_lock"], ADVISORY_LOCK):
            raise Busy
        await connection.execute(queries()["bound_locks"])
        yield


async def _existing(connection: "Connection", table: str) -> set[date]:
    rows = await connection.fetch(_query("partitions", table))
    return {day for row in rows if (day := calendar_days.day_named(table, row["relname"])) is not None}


async def _make_days(connection: "Connection", table: str, now: datetime) -> None:
    """Make the days ahead, and those that rows of the DEFAULT partition belong to."""
    days = calendar_days.missing(now, await _existing(connection, table))
    for day in sorted({*days, *await _days_in_default(connection, table, now)}):
        await _make_day(connection, table, day)


async def _days_in_default(connection: "Connection", table: str, now: datetime) -> list[date]:
    """Up to the last day that is made ahead: what lies beyond (a wrong clock, a stranger's entry id) stays where it is."""
    days: list[date] = []
    begin, end = EARLIEST, calendar_days.bounds(calendar_days.last_wanted(now))[1]
    while (found := await connection.fetchval(_query("oldest_in_default", table), begin, end)) is not None:
        days.append(calendar_days.day_of(found))
        begin = calendar_days.bounds(days[-1])[1]
    return days


async def _make_day(connection: "Connection", table: str, day: date) -> None:
    async with _step(connection):
        if day in await _existing(connection, table):
            return
        await connection.execute(_query("make", table, day))
        moved = await _execute_long(connection, _query("move", table, day))
        await connection.execute(_query("close_default", table))
        moved += await _execute_long(connection, _query("move", table, day))
        await _execute_long(connection, _query("attach", table, day))
        for row in await connection.fetch(_query("copy_grants", table, day)):
            await connection.execute(row[0])
    log.info("partition made", partition=calendar_days.name_of(table, day), rows_moved=moved)


async def _execute_long(connection: "Connection", statement: str) -> int:
    """Execute with patience; return the number of rows, if the statement has one."""
    count = (await connection.execute(statement, timeout=STEP_SECONDS)).rpartition(" ")[2]
    return int(count) if count.isdigit() else 0


async def _drop_days(connection: "Connection", table: str, now: datetime, retention_days: int) -> None:
    for day in calendar_days.expired(now, await _existing(connection, table), retention_days):
        async with _step(connection):
            if day not in await _existing(connection, table):
                continue
            rows = await connection.fetchval(_query("mark", table, day), timeout=STEP_SECONDS)
            await connection.execute(_query("drop", table, day))
        _report(table, rows, partition=calendar_days.name_of(table, day), retention_days=retention_days)


async def _delete_from_default(connection: "Connection", table: str, now: datetime, retention_days: int) -> None:
    oldest = calendar_days.cutoff(now, retention_days)
    rows = DELETED_AT_ONCE if oldest is not None else 0
    while rows == DELETED_AT_ONCE:
        async with _step(connection):
            rows = await connection.fetchval(_query("delete", table), oldest, DELETED_AT_ONCE, timeout=STEP_SECONDS)
        if rows:
            _report(table, rows, partition=f"{table}_default", retention_days=retention_days)


def _report(table: str, rows: int, *, partition: str, retention_days: int) -> None:
    metrics.PERSISTER_DROPPED.labels(table).inc(rows)
    log.info("rows dropped, older than RETENTION_DAYS", partition=partition, rows=rows, retention_days=retention_days)


@cache
def queries() -> dict[str, str]:
    """The statements of `housekeeping.sql` by name."""
    text = files("shared.postgres").joinpath("housekeeping.sql").read_text(encoding="utf-8")
    parts = (part.partition("\n") for part in text.split("-- name: ")[1:])
    return {name.strip(): statement.strip() for name, _, statement in parts}


def _query(name: str, table: str, day: date | None = None) -> str:
    """A statement with its names filled in, all of our own making."""
    filled = queries()[name].replace("{table}", table)
    if day is None:
        return filled
    begin, end = (f"{bound:%Y-%m-%d %H:%M:%S+00}" for bound in calendar_days.bounds(day))
    return filled.replace("{partition}", calendar_days.name_of(table, day)).replace("{begin}", begin).replace("{end}", end)
