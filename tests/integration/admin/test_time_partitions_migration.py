"""The migration to days: rows of the first layout stay, each in the day of its receipt, with what was granted on them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from services.admin import migrate as migrating
from services.admin.migrate import migrate_postgres
from services.persister.rows import received

YEARS_OLD = datetime(2019, 2, 28, 23, 59, 59, 999000, tzinfo=UTC)
IDS = ["1700000000123-0", "1700000000123-1", "1700006399999-0", "1700006400000-0", "1700006400000-7", "18446744073709551615-3"]


@pytest.fixture
async def old(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncpg.Connection]:
    """A database as the version before left it, with a row per id in both tables, all of a replay of years ago."""
    every = list(migrating.migrations())
    with monkeypatch.context() as patched:
        patched.setattr(migrating, "migrations", lambda: iter(every[:1]))
        patched.setattr(migrating, "keep_house", nothing)
        await migrate_postgres(empty_database_url, 4)
    connection = await asyncpg.connect(empty_database_url)
    rows = [(seq, entry_id, YEARS_OLD) for seq, entry_id in enumerate(IDS, 1)]
    await connection.executemany("INSERT INTO ticks VALUES ('1-a', 0, $1, $2, 'KO', 7.25, $3, 'replay', 5, NULL)", rows)
    await connection.executemany("INSERT INTO enriched VALUES ('1-a', 0, $1, $2, '6-0', 'KO', 7, 6.5, 'bullish', $3, 'replay')", rows)
    yield connection
    await connection.close()


async def nothing(*_: object) -> bool:
    """The version before had no days."""
    return True


@pytest.mark.parametrize("table", ["ticks", "enriched"])
async def test_rows_keep_every_value_and_get_the_time_of_their_receipt(
    old: asyncpg.Connection, empty_database_url: str, table: str
) -> None:
    before = [dict(row) for row in await old.fetch(f"SELECT * FROM {table} ORDER BY seq")]  # of the list above
    assert await migrate_postgres(empty_database_url, 4) == ["0002_time_partitions", "0003_gaps"]
    after = [dict(row) for row in await old.fetch(f"SELECT * FROM {table} ORDER BY seq")]
    moments = [row.pop("received") for row in after]
    assert after == before
    assert moments == [datetime.fromisoformat(received(entry_id)) for entry_id in IDS]


async def test_each_row_lies_in_the_day_of_its_receipt_and_one_of_no_calendar_in_the_default(
    old: asyncpg.Connection, empty_database_url: str
) -> None:
    await migrate_postgres(empty_database_url, 4)
    found = await old.fetch("SELECT tableoid::regclass::text AS name, count(*) AS rows FROM ticks GROUP BY name ORDER BY name")
    assert [tuple(row) for row in found] == [("ticks_20231114", 3), ("ticks_20231115", 2), ("ticks_default", 1)]


async def test_a_doubled_row_is_refused_after_the_migration(old: asyncpg.Connection, empty_database_url: str) -> None:
    await migrate_postgres(empty_database_url, 4)
    for table in ("ticks", "enriched"):
        with pytest.raises(asyncpg.UniqueViolationError):
            await old.execute(f"INSERT INTO {table} SELECT * FROM {table} WHERE seq = 6")


async def test_the_view_shows_what_it_showed(old: asyncpg.Connection, empty_database_url: str) -> None:
    shown = "SELECT id, ticker, direction, price, sma, ts, incarnation, partition, seq FROM alerts ORDER BY seq"
    before = await old.fetch(shown)
    await migrate_postgres(empty_database_url, 4)
    assert await old.fetch(shown) == before
    assert len(before) == len(IDS)


async def test_what_was_granted_is_granted_again_on_tables_view_and_days(old: asyncpg.Connection, empty_database_url: str) -> None:
    granted = "SELECT has_table_privilege('public', $1::regclass, $2)"
    await old.execute("GRANT SELECT ON ticks, enriched, alerts TO PUBLIC; GRANT INSERT ON ticks TO PUBLIC")
    await migrate_postgres(empty_database_url, 4)
    days = await old.fetch("SELECT relid::text AS name FROM pg_partition_tree('ticks') WHERE relid::text >= 'ticks_2024' AND isleaf")
    made_by_housekeeping = [row["name"] for row in days if row["name"] != "ticks_default"]
    assert made_by_housekeeping
    for table in ("ticks", "enriched", "alerts", *made_by_housekeeping):
        assert await old.fetchval(granted, table, "SELECT")
    assert await old.fetchval(granted, "ticks", "INSERT")
    assert not await old.fetchval(granted, "enriched", "INSERT")


async def test_a_migration_that_is_cut_off_leaves_the_old_layout_and_runs_again(old: asyncpg.Connection, empty_database_url: str) -> None:
    async with old.transaction():
        await old.execute("LOCK TABLE enriched IN ACCESS SHARE MODE")
        cut = asyncio.create_task(migrate_postgres(empty_database_url, 4))
        waiting = "SELECT pid FROM pg_locks JOIN pg_database AS d ON d.oid = database WHERE NOT granted AND datname = current_database()"
        async with asyncio.timeout(20):
            while (pid := await old.fetchval(waiting)) is None:
                await asyncio.sleep(0.01)
        await old.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await cut
    assert await old.fetchval("SELECT relkind FROM pg_class WHERE oid = 'ticks'::regclass") == b"r"
    assert await old.fetchval("SELECT count(*) FROM ticks") == len(IDS)
    assert await migrate_postgres(empty_database_url, 4) == ["0002_time_partitions", "0003_gaps"]
    assert await old.fetchval("SELECT count(*) FROM ticks WHERE received >= ts - $1::interval", timedelta(seconds=5)) == len(IDS)


async def test_a_row_years_old_is_received_now(empty_database_url: str) -> None:
    await migrate_postgres(empty_database_url, 4)
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute("INSERT INTO ticks VALUES ('1-a', 0, 1, '1-0', 'KO', 7, $1, 'replay', 5, NULL, now())", YEARS_OLD)
    name = await connection.fetchval("SELECT tableoid::regclass::text FROM ticks")
    assert name == await connection.fetchval("SELECT 'ticks_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')")
    await connection.close()
