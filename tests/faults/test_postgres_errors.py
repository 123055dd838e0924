"""Each error of PostgreSQL at each moment of a transaction: waited out and tried again, never taken for a row's own fault."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from services.admin.embedded import find_free_port
from services.persister import store
from tests.e2e.pipeline import until
from tests.faults.postgres import (
    PERSISTER,
    SLEEP,
    WAITING,
    Storage,
    is_waiting,
    observed_outage,
    persisting,
    processes_on,
    raising,
    reasons,
    storage,
)
from tests.observed import Gain, Observed

DISK_FULL, TOO_MANY_CONNECTIONS, ADMIN_SHUTDOWN, QUERY_CANCELED = "53100", "53300", "57P01", "57014"
SERIALIZATION_FAILURE, DEADLOCK, READ_ONLY, LOCK_NOT_AVAILABLE, UNIQUE_VIOLATION = "40001", "40P01", "25006", "55P03", "23505"

STATES = (
    *(DISK_FULL, TOO_MANY_CONNECTIONS, ADMIN_SHUTDOWN, QUERY_CANCELED),
    *(SERIALIZATION_FAILURE, DEADLOCK, READ_ONLY, LOCK_NOT_AVAILABLE, UNIQUE_VIOLATION),
)
SAMPLE = [("copy", DISK_FULL), ("commit", SERIALIZATION_FAILURE)]
REST = [(place, state) for place in ("cursor", "copy", "commit") for state in STATES if (place, state) not in SAMPLE]


@pytest.fixture
async def stored(redis: Redis, redis_url: str, database_url: str) -> AsyncIterator[Storage]:
    """A deployment of one partition."""
    async with storage(redis, redis_url, database_url) as prepared:
        yield prepared


def failed_transactions() -> Gain:
    return Gain("persister", "tickstream_persister_transactions_total", outcome="failed")


@pytest.mark.parametrize(("place", "state"), [*SAMPLE, *(pytest.param(*case, marks=pytest.mark.long) for case in REST)])
async def test_an_error_that_passes_is_tried_again_until_all_rows_are_there(stored: Storage, place: str, state: str) -> None:
    await stored.set_fault(place, raising(state), times=2)
    await stored.write()
    with observed_outage(failed=2) as lines:
        async with persisting(stored.redis_url, stored.url):
            await stored.until_stored()
    await stored.check()
    assert reasons(lines) == ["as ordered"]
    assert [line["tries"] for line in lines if line["event"] == "going on"] == [2]


async def test_a_server_that_turned_read_only_is_left_for_new_connections(stored: Storage) -> None:
    """As after a fail-over: connections that are open stay with the former primary, which never takes a row again."""
    name = await stored.database.fetchval("SELECT current_database()")
    await stored.database.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await stored.write()
    with observed_outage() as lines:
        async with persisting(stored.redis_url, stored.url):
            await until(is_waiting(lines, "read-only"), "an attempt to write")
            await stored.database.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            await stored.until_stored()
    await stored.check()


async def test_a_table_locked_for_longer_than_the_lock_timeout(stored: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(store.SERVER_SETTINGS, "lock_timeout", "100ms")
    failed = failed_transactions()
    await stored.write()
    with observed_outage() as lines:
        async with persisting(stored.redis_url, stored.url):
            async with stored.database.transaction():
                await stored.database.execute("LOCK TABLE ticks IN SHARE MODE")
                await failed.begins()
            await stored.until_stored()
    await stored.check()
    assert "lock timeout" in reasons(lines)[0]


@pytest.mark.long
async def test_too_many_connections(stored: Storage) -> None:
    name = await stored.database.fetchval("SELECT current_database()")
    await stored.database.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
    await stored.write()
    with observed_outage() as lines:
        async with persisting(stored.redis_url, stored.url):
            await until(is_waiting(lines, "too many connections"), "a connection to be refused")
            await stored.database.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
            await stored.until_stored()
    await stored.check()


WHERE_AND_HOW = [(place, how) for place in ("commit", "copy", "cursor") for how in ("pg_terminate_backend", "pg_cancel_backend")]


@pytest.mark.parametrize(("place", "how"), [WHERE_AND_HOW[0], *(pytest.param(*case, marks=pytest.mark.long) for case in WHERE_AND_HOW[1:])])
async def test_a_transaction_that_an_administrator_ends(stored: Storage, place: str, how: str) -> None:
    await stored.set_fault(place, SLEEP)
    await stored.write()
    with observed_outage(failed=1):
        async with persisting(stored.redis_url, stored.url):
            await stored.database.execute(f"SELECT {how}($1)", await stored.until_asleep(place))
            await stored.until_stored()
    await stored.check()


FAULTS = {
    "42P01": ("ALTER TABLE ticks RENAME TO hidden", "ALTER TABLE hidden RENAME TO ticks"),
    "42501": ("REVOKE INSERT ON ticks FROM CURRENT_USER", "GRANT INSERT ON ticks TO CURRENT_USER"),
    "42703": ("ALTER TABLE ticks RENAME volume TO size", "ALTER TABLE ticks RENAME size TO volume"),
}


@pytest.mark.parametrize("state", ["42P01", *(pytest.param(state, marks=pytest.mark.long) for state in ("42501", "42703"))])
async def test_what_only_an_operator_can_mend_is_tried_again_after_longer_and_longer_waits(stored: Storage, state: str) -> None:
    breaking, mending = FAULTS[state]
    failed = failed_transactions()
    await stored.database.execute(breaking)
    await stored.write()
    with observed_outage() as lines:
        async with persisting(stored.redis_url, stored.url):
            await failed.reaches(3)
            await stored.database.execute(mending)
            await stored.until_stored()
    await stored.check()
    # Counted through, not begun anew with each try: so the waits grew.
    assert [line["tries"] for line in lines if line["event"] == "going on"] == [failed.value]


async def test_a_row_that_fits_in_no_partition_waits_for_one_although_that_violates_a_check(stored: Storage) -> None:
    """So it is, too, while the row's day is just being attached: its statement does not know the day yet."""
    for (name,) in await stored.database.fetch("SELECT relid::text FROM pg_partition_tree('ticks') WHERE isleaf"):
        await stored.database.execute(f"DROP TABLE {name}")
    await stored.write("7")
    with observed_outage() as lines:
        async with persisting(stored.redis_url, stored.url):
            await until(is_waiting(lines, "no partition"), "the row to be refused")
            await stored.database.execute("CREATE TABLE ticks_default PARTITION OF ticks DEFAULT")
            await stored.until_stored()
    await stored.check()


@pytest.mark.long
async def test_connections_that_are_cut_again_and_again(stored: Storage) -> None:
    cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1 AND datname = current_database()"
    async with persisting(stored.redis_url, stored.url):
        for _ in range(20):
            await stored.write()
            await stored.database.fetchval(cut, PERSISTER)
        await stored.until_stored()
    await stored.check()


@pytest.mark.long
async def test_a_process_that_may_not_write_runs_on_says_why_it_is_not_ready_and_is_ready_once_it_may(
    stored: Storage, tmp_path: Path
) -> None:
    breaking, mending = FAULTS["42501"]
    await stored.database.execute(breaking)
    await stored.write()
    observed = Observed(find_free_port())
    async with processes_on(stored, tmp_path) as pipeline:
        persister = pipeline.start("persister", METRICS_PORT=str(observed.port))

        async def is_told() -> bool:
            if not persister.said("lease taken"):
                return False
            return "permission denied for table ticks" in str((await observed.checks())["storing"])

        await pipeline.until(is_told, "the reason in /readyz")
        await stored.database.execute(mending)
        await pipeline.until(stored.is_stored, "all rows")
        await pipeline.until(observed.is_ready, "the persister to be ready")
        await pipeline.stop()
        persister.check_log()
        assert len(persister.said(WAITING)) == 1
    await stored.check()


@asynccontextmanager
async def stopped_in_mid_copy(url: str) -> AsyncIterator[int]:
    """A persister that began a COPY and sends nothing of it; yield its backend's process id."""

    async def silence() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async def begin_to_store(connection: asyncpg.Connection) -> None:
        await connection.execute(store.queries()["begin"], "ticks", 0)
        async with connection.transaction():
            await connection.execute("UPDATE cursors SET seq = seq WHERE stream = 'ticks' AND partition = 0")
            await connection.copy_to_table("ticks", source=silence(), columns=store.COLUMNS["ticks"], format="text")

    connection = await asyncpg.connect(url, server_settings=store.SERVER_SETTINGS)
    storing = asyncio.create_task(begin_to_store(connection))
    try:
        yield connection.get_server_pid()
    finally:
        connection.terminate()
        storing.cancel()
        # asyncpg fails in its own way when a COPY is cancelled after the server has gone.
        await asyncio.gather(storing, return_exceptions=True)


def is_copying(database: asyncpg.Connection, pid: int) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        query = "SELECT query LIKE 'COPY %' AND wait_event = 'ClientRead' FROM pg_stat_activity WHERE pid = $1"
        return bool(await database.fetchval(query, pid))

    return ask


async def test_a_persister_that_stands_still_in_mid_copy_is_disconnected_by_who_waits_for_it(
    stored: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(store.SERVER_SETTINGS, "lock_timeout", "100ms")
    monkeypatch.setattr(store, "STALLED_SECONDS", 0.2)
    await stored.write()
    async with stopped_in_mid_copy(stored.url) as pid:
        await until(is_copying(stored.database, pid), "the COPY to begin")
        with observed_outage():
            async with persisting(stored.redis_url, stored.url):
                await stored.until_stored()
        assert await stored.database.fetchval("SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid) == 0
    await stored.check()


async def test_a_persister_whose_copy_has_just_begun_is_waited_for(stored: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(store.SERVER_SETTINGS, "lock_timeout", "100ms")
    await stored.write()
    async with stopped_in_mid_copy(stored.url) as pid:
        copies = is_copying(stored.database, pid)
        await until(copies, "the COPY to begin")
        with observed_outage() as lines:
            async with persisting(stored.redis_url, stored.url):
                await until(is_waiting(lines, "lock timeout"), "the lock to be waited for in vain")
                assert await copies()
