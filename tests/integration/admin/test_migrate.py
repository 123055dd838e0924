"""`migrate`: twice, at once, over a change of SMA_PERIOD, and what it refuses."""

import asyncio

import asyncpg
import pytest
from redis.asyncio import Redis

from services.admin import migrate as migrating
from services.admin.migrate import Migration, SchemaError, migrate_postgres, migrate_redis
from shared import streams
from shared.errors import ConfigurationError
from shared.redis import log
from shared.redis.log import Answer
from shared.testing.oracle import expect
from tests.integration.partition import set_up

ALL = ["0001_initial", "0002_time_partitions", "0003_gaps"]
TABLES = {"ticks", "enriched", "dropped", "cursors", "stream_events", "deployment", "schema_migrations"}


async def tables_of(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"
    )
    await connection.close()
    return {row["relname"] for row in rows}


async def test_a_second_run_applies_nothing(empty_database_url: str) -> None:
    assert await migrate_postgres(empty_database_url, 4) == ALL
    assert await migrate_postgres(empty_database_url, 4) == []
    assert await tables_of(empty_database_url) == TABLES


async def test_of_four_runs_at_once_one_applies(empty_database_url: str) -> None:
    applied = await asyncio.gather(*(migrate_postgres(empty_database_url, 4) for _ in range(4)))
    assert sorted(applied) == [[], [], [], ALL]


async def test_a_migration_that_fails_leaves_nothing_behind(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [*migrating.migrations(), Migration(4, "broken", "CREATE TABLE half (x int); SELECT 1 / 0")]
    monkeypatch.setattr(migrating, "migrations", lambda: iter(broken))
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate_postgres(empty_database_url, 4)
    assert await tables_of(empty_database_url) == set()


async def test_a_file_that_was_changed_after_it_was_applied_is_refused(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await migrate_postgres(empty_database_url, 4)
    monkeypatch.setattr(migrating, "migrations", lambda: iter([Migration(1, "initial", "SELECT 1")]))
    with pytest.raises(SchemaError, match="0001_initial was changed"):
        await migrate_postgres(empty_database_url, 4)


async def test_a_database_of_a_newer_program_is_refused(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await migrate_postgres(empty_database_url, 4)
    monkeypatch.setattr(migrating, "migrations", lambda: iter([]))
    with pytest.raises(SchemaError, match="0003"):
        await migrate_postgres(empty_database_url, 4)


async def test_other_partitions_are_refused_by_the_database_naming_both(empty_database_url: str) -> None:
    await migrate_postgres(empty_database_url, 4)
    with pytest.raises(ConfigurationError, match=r"PARTITIONS=8: .*PARTITIONS=4"):
        await migrate_postgres(empty_database_url, 8)


async def test_other_partitions_are_refused_by_redis_naming_both(redis: Redis) -> None:
    await migrate_redis(redis, 4, 5)
    with pytest.raises(ConfigurationError, match=r"PARTITIONS=8: .*PARTITIONS=4"):
        await migrate_redis(redis, 8, 5)


async def test_the_library_is_loaded_once_and_replaced_when_it_differs(redis: Redis) -> None:
    await migrating.load_library(redis)
    assert not await migrating.load_library(redis)
    await redis.function_load(log.library_code() + "\n-- another text", replace=True)
    assert await migrating.load_library(redis)


async def test_a_new_period_starts_windows_and_sides_again_with_a_stream_event(redis: Redis) -> None:
    partition = await set_up(redis, period=3)
    before, after = ["1", "2", "3", "2", "1"], ["5", "6", "4", "1"]
    await partition.append(*before)
    await partition.append("9", "9", "9", ticker="KO")
    await partition.analyze()
    await migrate_redis(redis, 1, 2)
    assert await redis.lrange(streams.prices(0, "AAPL"), 0, -1) == []
    partition.period = 2
    await partition.append(*after)
    assert (await partition.analyze()).answer is Answer.OK
    events = [fields for _, fields in await redis.xrange(streams.enriched(0)) or [] if fields]
    judged = expect([("AAPL", price) for price in before], 3).judged + expect([("KO", "9")] * 3, 3).judged
    judged += expect([("AAPL", price) for price in after], 2).judged
    assert [(fields["sma"], fields["alert"]) for fields in events] == [(each.sma, each.alert) for each in judged]
    ((_, event),) = await partition.redis.xrange(streams.events(0))
    assert (event["kind"], event["first_seq"], event["detail"]) == ("period", "9", '{"from":3,"to":2}')


async def test_a_worker_with_the_old_period_is_fenced_after_the_change(redis: Redis) -> None:
    partition = await set_up(redis, period=3)
    await partition.append("1", "2")
    state, digest = await partition.digest()
    await migrate_redis(redis, 1, 7)
    assert (await partition.commit(state, digest)).answer is Answer.FENCED


async def test_without_a_database_no_persister_is_required_so_that_trimming_waits_for_none(redis: Redis) -> None:
    await migrate_redis(redis, 1, 3, with_persister=False)
    partition = await set_up(redis)
    await partition.append("1", "2", "3")
    await partition.analyze()
    await asyncio.sleep(0.002)  # an entry of this very millisecond is within any window
    assert (await log.trim(redis, 0, cap=1000, window_ms=0))[:3] == (2, 2, False)
