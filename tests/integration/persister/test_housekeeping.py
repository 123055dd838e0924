"""Days are made ahead and dropped when they are too old, by any number of persisters, whatever fails in between."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest
import structlog

from services.admin.embedded import EmbeddedPostgres
from services.admin.migrate import migrate_postgres
from services.persister.housekeeping import keep_house_hourly
from services.persister.rows import Lines, Position, encode
from services.persister.store import Store, connect_store
from shared import metrics
from shared.incarnations import Head
from shared.postgres import housekeeping
from shared.postgres.calendar_days import DAYS_AHEAD, bounds, day_of, name_of
from shared.postgres.housekeeping import keep_house
from shared.testing.entries import flat, tick_entry

NOW = datetime(2031, 3, 10, 12, tzinfo=UTC)
"""Years ahead of the days that `migrate` makes: whatever is here, these tests made it."""
TODAY = NOW.date()
ONE_DAY, ONE_MS = timedelta(days=1), timedelta(milliseconds=1)
HEAD = Head("1-a", (), {"ticks": 10_000, "enriched": 10_000, "events": 0})


@pytest.fixture
async def other(database: asyncpg.Connection, database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A second connection to the same database."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


def batch_at(stream: str, moments: list[datetime], before: Position) -> Lines:
    """Rows that were received at these moments, one a moment."""
    entries = []
    for seq, moment in enumerate(moments, before.seq + 1):
        ms = str(round(moment.timestamp() * 1000))
        fields = {"seq": str(seq), "ticker": "AAPL", "price": "7", "ts": ms, "source": "replay"}
        entry = tick_entry(**fields) if stream == "ticks" else flat({**fields, "tick_id": f"{ms}-0", "sma": "", "alert": ""})
        entries.append((f"{ms}-{seq}", entry))
    return encode(stream, 0, entries, before, HEAD)


async def put(store: Store, *moments: datetime, stream: str = "ticks") -> None:
    before = await store.position(stream, 0)
    await store.store(stream, 0, before, batch_at(stream, list(moments), before))


async def days_of(database: asyncpg.Connection, table: str = "ticks") -> dict[str, int]:
    """Partition to its number of rows, of those made for the days of these tests and the DEFAULT."""
    names = await database.fetch("SELECT relid::text AS name FROM pg_partition_tree($1::regclass) WHERE isleaf", table)
    ours = [row["name"] for row in names if row["name"] >= f"{table}_2029"]
    return {name: await database.fetchval(f"SELECT count(*) FROM {name}") for name in ours}  # of the catalog


def counted(table: str = "ticks") -> float:
    return float(metrics.PERSISTER_DROPPED.labels(table)._value.get())


async def test_the_days_ahead_are_made_once_and_rows_go_into_their_own(store: Store, database: asyncpg.Connection) -> None:
    assert await keep_house(database, NOW, 0)
    await keep_house(database, NOW, 0)
    await put(store, NOW, NOW + DAYS_AHEAD * ONE_DAY)
    wanted = {name_of("ticks", TODAY + n * ONE_DAY): int(n in (0, DAYS_AHEAD)) for n in range(DAYS_AHEAD + 1)}
    assert await days_of(database) == {**wanted, "ticks_default": 0}
    assert len(await days_of(database, "enriched")) == DAYS_AHEAD + 2


async def test_migrate_makes_the_days_ahead(database: asyncpg.Connection) -> None:
    today = day_of(await database.fetchval("SELECT now()"))
    for table in housekeeping.TABLES:
        for n in range(DAYS_AHEAD + 1):
            assert await database.fetchval("SELECT to_regclass($1)", name_of(table, today + n * ONE_DAY)) is not None


async def test_a_row_of_the_last_millisecond_of_a_day_and_one_of_the_first_of_the_next_lie_in_two(
    store: Store, database: asyncpg.Connection
) -> None:
    await keep_house(database, NOW, 0)
    midnight = bounds(TODAY)[1]
    await put(store, midnight - ONE_MS, midnight)
    found = await days_of(database)
    assert (found[name_of("ticks", TODAY)], found[name_of("ticks", TODAY + ONE_DAY)], found["ticks_default"]) == (1, 1, 0)


async def test_rows_that_no_day_was_made_for_are_kept_and_moved_into_it_with_nothing_lost(
    store: Store, database: asyncpg.Connection
) -> None:
    moments = [NOW - 3 * ONE_DAY, NOW, NOW + ONE_MS, NOW + ONE_DAY]
    for stream in ("ticks", "enriched"):
        await put(store, *moments, stream=stream)
        assert (await days_of(database, stream))[f"{stream}_default"] == 4
    before = await database.fetch("SELECT * FROM ticks ORDER BY seq")
    await keep_house(database, NOW, 0)
    for stream in ("ticks", "enriched"):
        found = await days_of(database, stream)
        days = [TODAY - 3 * ONE_DAY, TODAY, TODAY + ONE_DAY]
        assert [found[name_of(stream, day)] for day in days] + [found[f"{stream}_default"]] == [1, 2, 1, 0]
    assert await database.fetch("SELECT * FROM ticks ORDER BY seq") == before


async def test_rows_of_a_far_future_stay_in_the_default_partition(store: Store, database: asyncpg.Connection) -> None:
    await put(store, NOW, NOW + 1000 * ONE_DAY)
    await keep_house(database, NOW, 1)
    found = await days_of(database)
    assert (found[name_of("ticks", TODAY)], found["ticks_default"]) == (1, 1)


async def test_a_row_that_came_twice_is_refused_before_and_after_its_move(store: Store, database: asyncpg.Connection) -> None:
    await put(store, NOW)
    again = "INSERT INTO ticks SELECT * FROM ticks"
    with pytest.raises(asyncpg.UniqueViolationError):
        await database.execute(again)
    await keep_house(database, NOW, 0)
    with pytest.raises(asyncpg.UniqueViolationError):
        await database.execute(again)


async def test_a_day_that_was_made_of_moved_rows_has_the_indexes_of_the_others(store: Store, database: asyncpg.Connection) -> None:
    await put(store, NOW, stream="enriched")
    await keep_house(database, NOW, 0)
    indexes = "SELECT count(*) FROM pg_index WHERE indrelid = $1::regclass"
    moved, empty = [await database.fetchval(indexes, name_of("enriched", day)) for day in (TODAY, TODAY + ONE_DAY)]
    assert moved == empty == await database.fetchval(indexes, "enriched")
    assert await database.fetchval("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0


async def test_of_several_at_once_each_day_is_made_and_dropped_once(store: Store, database_url: str, database: asyncpg.Connection) -> None:
    await put(store, *(NOW - n * ONE_DAY for n in range(40, 0, -1)))
    await keep_house(database, NOW - 30 * ONE_DAY, 0)
    before = counted()
    connections = [await asyncpg.connect(database_url) for _ in range(4)]
    outcomes = await asyncio.gather(*(keep_house(connection, NOW, 10) for connection in connections))
    while not await keep_house(database, NOW, 10):  # whoever skips leaves the rest to whoever works
        await asyncio.sleep(0)
    for connection in connections:
        await connection.close()
    assert any(outcomes)
    assert counted() - before == 30
    assert await database.fetchval("SELECT count(*) FROM ticks") == 10


async def test_while_somebody_else_keeps_house_nothing_is_done(database: asyncpg.Connection, other: asyncpg.Connection) -> None:
    async with other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock($1)", housekeeping.ADVISORY_LOCK)
        assert not await keep_house(database, NOW, 1)
        assert await days_of(database) == {"ticks_default": 0}
    assert await keep_house(database, NOW, 1)


async def test_a_row_that_is_younger_than_retention_days_by_a_millisecond_stays(store: Store, database: asyncpg.Connection) -> None:
    await keep_house(database, NOW - 5 * ONE_DAY, 0)
    newest_of_day = bounds(TODAY - 3 * ONE_DAY)[1] - ONE_MS
    await put(store, newest_of_day)
    await keep_house(database, newest_of_day + 3 * ONE_DAY, 3)
    assert await database.fetchval("SELECT count(*) FROM ticks") == 1
    await keep_house(database, newest_of_day + 3 * ONE_DAY + ONE_MS, 3)
    assert await database.fetchval("SELECT count(*) FROM ticks") == 0


async def test_of_the_default_partition_old_rows_go_one_by_one_and_exactly(
    store: Store, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "DELETED_AT_ONCE", 2)
    limit, before = NOW - 3 * ONE_DAY, counted()
    await put(store, *[limit - ONE_MS] * 5, limit, limit + ONE_MS)
    await keep_house(database, NOW, 3)
    assert [row["seq"] for row in await database.fetch("SELECT seq FROM ticks ORDER BY seq")] == [6, 7]
    assert counted() - before == 5


async def test_without_retention_days_nothing_is_ever_dropped(store: Store, database: asyncpg.Connection) -> None:
    await put(store, NOW - 10_000 * ONE_DAY, NOW)
    await keep_house(database, NOW, 0)
    assert await database.fetchval("SELECT count(*) FROM ticks") == 2


async def test_what_is_dropped_is_counted_and_told_and_the_newest_of_it_noted(store: Store, database: asyncpg.Connection) -> None:
    await put(store, NOW - 9 * ONE_DAY, NOW - 9 * ONE_DAY, NOW - 8 * ONE_DAY)
    await keep_house(database, NOW, 0)
    before = counted()
    with structlog.testing.capture_logs() as logs:
        await keep_house(database, NOW, 2)
    told = {line["partition"]: line["rows"] for line in logs if line["event"].startswith("rows dropped")}
    assert [told[name_of("ticks", TODAY - n * ONE_DAY)] for n in (9, 8)] == [2, 1]
    assert counted() - before == 3
    assert (await store.newest_dropped("ticks", 0, "1-a") or ("", 0))[1] == 3
    assert await store.newest_dropped("enriched", 0, "1-a") is None


async def test_the_note_of_the_newest_never_goes_back(store: Store, database: asyncpg.Connection) -> None:
    await put(store, NOW - 8 * ONE_DAY, NOW - 9 * ONE_DAY)  # seq 2 was received before seq 1: a clock that was set back
    await keep_house(database, NOW, 0)
    await keep_house(database, NOW, 2)
    assert (await store.newest_dropped("ticks", 0, "1-a") or ("", 0))[1] == 2


@pytest.mark.parametrize("mode", ["ACCESS SHARE", "ROW EXCLUSIVE"])
async def test_a_day_that_somebody_reads_or_writes_is_dropped_later_and_copy_waits_for_nobody(
    store: Store, database: asyncpg.Connection, other: asyncpg.Connection, mode: str
) -> None:
    await keep_house(database, NOW - 9 * ONE_DAY, 0)
    await put(store, NOW - 9 * ONE_DAY)
    async with other.transaction():
        await other.execute(f"LOCK TABLE ticks IN {mode} MODE")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await keep_house(database, NOW, 2)
        await put(store, NOW - 9 * ONE_DAY)
    assert (await days_of(database))[name_of("ticks", TODAY - 9 * ONE_DAY)] == 2
    assert await database.fetchval("SELECT count(*) FROM dropped") == 0
    await keep_house(database, NOW, 2)
    assert await database.fetchval("SELECT count(*) FROM ticks") == 0


async def test_rows_are_stored_into_days_that_there_are_while_others_are_made(store: Store, database: asyncpg.Connection) -> None:
    """The long part of making a day, as long as a test wants it: no COPY waits for it."""
    await keep_house(database, NOW, 0)
    async with database.transaction():
        await database.execute(housekeeping._query("make", "ticks", TODAY + 9 * ONE_DAY))
        await database.execute(housekeeping._query("move", "ticks", TODAY + 9 * ONE_DAY))
        await put(store, NOW + 9 * ONE_DAY)
        await database.execute(housekeeping._query("close_default", "ticks"))
        await put(store, NOW)
        await database.execute(housekeeping._query("move", "ticks", TODAY + 9 * ONE_DAY))
        await database.execute(housekeeping._query("attach", "ticks", TODAY + 9 * ONE_DAY))
        await put(store, NOW)
    found = await days_of(database)
    assert (found[name_of("ticks", TODAY)], found[name_of("ticks", TODAY + 9 * ONE_DAY)], found["ticks_default"]) == (2, 1, 0)


async def test_a_move_cancelled_anywhere_leaves_every_row_where_it_can_be_read_once(
    store: Store, database: asyncpg.Connection, database_url: str
) -> None:
    await put(store, *[NOW] * 50, *[NOW - 9 * ONE_DAY] * 50)
    for turn in range(0, 120, 6):
        connection = await asyncpg.connect(database_url)
        working = asyncio.create_task(keep_house(connection, NOW, 0))
        for _ in range(turn):
            await asyncio.sleep(0)
        working.cancel()
        await asyncio.wait({working})
        connection.terminate()
        assert await database.fetchval("SELECT count(*) FROM ticks") == 100
    while not await keep_house(database, NOW, 0):
        await asyncio.sleep(0.01)  # the server has yet to see that the last one is gone
    assert (await days_of(database))["ticks_default"] == 0
    assert await database.fetchval("SELECT count(*) FROM ticks") == 100


async def test_the_newest_row_of_an_incarnation_is_found_in_any_day(store: Store, database: asyncpg.Connection) -> None:
    await put(store, NOW, NOW + ONE_DAY, NOW + 2 * ONE_DAY)
    await keep_house(database, NOW, 0)
    assert [(await store.newest("ticks", 0, "1-a", most) or ("", 0))[1] for most in (1, 2, 10)] == [1, 2, 3]


async def test_a_check_that_an_operator_added_holds_in_every_day(store: Store, database: asyncpg.Connection) -> None:
    await put(store, NOW)
    await database.execute("ALTER TABLE ticks ADD CHECK (price <> 8)")
    await keep_house(database, NOW, 0)
    with pytest.raises(asyncpg.CheckViolationError):
        await database.execute(f"UPDATE {name_of('ticks', TODAY)} SET price = 8")  # a name of ours


async def test_while_postgresql_is_away_housekeeping_tries_again_and_goes_on(postgres_server: EmbeddedPostgres) -> None:
    await migrate_postgres(postgres_server.url, 4)
    database = await asyncpg.connect(postgres_server.url)
    old = name_of("ticks", date(2001, 2, 3))
    await database.execute(f"CREATE TABLE {old} PARTITION OF ticks FOR VALUES FROM ('2001-02-03 00:00+0') TO ('2001-02-04 00:00+0')")
    await database.close()
    stop = asyncio.Event()
    async with connect_store(postgres_server.url) as store:
        postgres_server.stop()
        with structlog.testing.capture_logs() as logs:
            working = asyncio.create_task(keep_house_hourly(store, 1, stop, again_seconds=0.05))
            await until_told(logs, "housekeeping failed")
            postgres_server.start()
            await until_told(logs, "rows dropped")
        stop.set()
        await working
    database = await asyncpg.connect(postgres_server.url)
    assert await database.fetchval("SELECT to_regclass($1)", old) is None
    await database.close()


async def until_told(logs: list[structlog.typing.EventDict], beginning: str) -> None:
    """Wait for a line of the log."""
    deadline = time.monotonic() + 20
    while not any(line["event"].startswith(beginning) for line in logs):
        assert time.monotonic() < deadline, logs
        await asyncio.sleep(0.02)
