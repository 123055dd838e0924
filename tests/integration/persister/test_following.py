"""The persister's loop on real servers: what it does when Redis began anew, lost entries, or was written to by strangers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from services.persister import service
from services.persister.rows import Lines, Position, encode
from services.persister.service import persist
from services.persister.store import Store
from shared import streams
from shared.commits import Entries
from shared.incarnations import Head
from shared.postgres.housekeeping import keep_house
from shared.redis import log
from shared.redis.client import connect
from shared.redis.lease import Lease
from tests.integration.partition import PartitionUnderTest, set_up


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The few entries of a test are several full batches, so that one is read while another is stored."""
    monkeypatch.setattr(service, "ENTRIES", 3)


@asynccontextmanager
async def persisting(redis_url: str, store: Store) -> AsyncIterator[None]:
    """A persister at work on partition 0."""
    lease = Lease("persister", 0, "p")
    async with connect(redis_url, service="persister") as redis, connect(redis_url, service="persister", block_seconds=2) as reader:
        task = asyncio.create_task(persist(redis, reader, store, lease, block_ms=200))
        try:
            yield
        finally:
            lease.ended.set()
            await task


async def until(database: asyncpg.Connection, query: str, wanted: object) -> None:
    """Wait until a query answers what is wanted."""
    found = None
    try:
        async with asyncio.timeout(10):
            while (found := await database.fetchval(query)) != wanted:
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{query} is {found!r}, not {wanted!r}") from None


COUNT_TICKS, COUNT_ENRICHED = "SELECT count(*) FROM ticks", "SELECT count(*) FROM enriched"


async def test_both_streams_are_stored_and_the_groups_show_it(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection
) -> None:
    await partition.append("1", "2", "3", "2")
    await partition.analyze()
    async with persisting(redis_url, store):
        await until(database, COUNT_TICKS, 4)
        await until(database, COUNT_ENRICHED, 4)
        for key in (streams.ticks(0), streams.enriched(0)):
            async with asyncio.timeout(5):
                while (await groups_of(partition.redis, key))["persister"]["lag"] != 0:
                    await asyncio.sleep(0.02)
    assert await database.fetchval("SELECT array_agg(sma::text ORDER BY seq) FROM enriched") == [None, None, "2", "2.333333"]


async def groups_of(redis: Redis, key: str) -> dict[str, dict[str, object]]:
    return {str(group["name"]): group for group in await redis.xinfo_groups(key)}


async def test_more_is_waited_for_only_after_a_batch_that_was_not_full(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PAUSE_SECONDS", 60)
    async with persisting(redis_url, store):
        for stored in (3, 6):
            await partition.append("1", "2", "3")
            await until(database, COUNT_TICKS, stored)
        await partition.append("4")
        await until(database, COUNT_TICKS, 7)
        await partition.append("5")
        await asyncio.sleep(0.5)
        assert await database.fetchval(COUNT_TICKS) == 7
    async with persisting(redis_url, store):
        await until(database, COUNT_TICKS, 8)


async def test_a_plain_restart_of_redis_loses_nothing_and_goes_on_under_a_new_label(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection
) -> None:
    async with persisting(redis_url, store):
        await partition.append("1", "2")
        await until(database, COUNT_TICKS, 2)
        await partition.restart_server()
        await partition.append("3")
        await until(database, COUNT_TICKS, 3)
    assert await database.fetchval("SELECT array_agg(seq ORDER BY seq) FROM ticks") == [1, 2, 3]
    assert await database.fetchval("SELECT count(DISTINCT incarnation) FROM ticks") == 2
    assert await database.fetchval("SELECT count(*) FROM stream_events") == 0


async def test_a_mirror_refused_because_redis_began_anew_is_made_up_for_although_nothing_new_comes(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection
) -> None:
    async with persisting(redis_url, store):
        await partition.append("1", "2")
        await until_nothing_lags(partition)
        await partition.redis.xgroup_setid(streams.ticks(0), "persister", "0", entries_read=0)
        await partition.restart_server()
        await log.load(partition.redis, 0)
        await until_nothing_lags(partition)


async def until_nothing_lags(partition: PartitionUnderTest) -> None:
    """Wait until the persister's group of the ticks shows everything as stored."""
    async with asyncio.timeout(10):
        while (await groups_of(partition.redis, streams.ticks(0)))["persister"]["lag"] != 0:
            await asyncio.sleep(0.02)


async def test_entries_that_redis_lost_after_they_were_stored_are_noted_as_a_rewind_and_keep_their_rows(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection
) -> None:
    async with persisting(redis_url, store):
        await partition.append("1", "2")
        await until(database, COUNT_TICKS, 2)
        dump = await dump_partition(partition.redis)
        await partition.append("3", "4")
        await until(database, COUNT_TICKS, 4)
        await restore_partition(partition, dump)
        await partition.append("5", first=3)
        await until(database, "SELECT array_agg(price::int ORDER BY incarnation, seq) FROM ticks", [1, 2, 3, 4, 5])
    (row,) = await database.fetch("SELECT kind, stream, first_seq, last_seq FROM stream_events")
    assert tuple(row) == ("rewind", "ticks", 3, 4)
    assert await database.fetchval("SELECT array_agg(seq ORDER BY incarnation, seq) FROM ticks") == [1, 2, 3, 4, 3]


async def test_a_copy_from_before_the_last_incarnation_began_is_followed_on_behind_the_rows_that_it_still_has(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection
) -> None:
    await partition.append("1", "2")
    async with persisting(redis_url, store):
        await until(database, COUNT_TICKS, 2)
    copy = await partition.snapshot_of_keys()
    await partition.restart_server()
    await partition.append("3")
    async with persisting(redis_url, store):
        await until(database, COUNT_TICKS, 3)
    await partition.redis.flushdb()
    for key, value in copy.items():
        await partition.redis.restore(key, 0, value)
    # No function has run on the copy: its head still names the first incarnation, which it does not know to have ended.
    await partition.restart_server()
    async with persisting(redis_url, store):
        await until(database, "SELECT count(*) FROM stream_events", 1)
        partition.number = 2
        await partition.append("4")
        await until(database, COUNT_TICKS, 4)
    row = await database.fetchrow("SELECT kind, stream, first_seq, last_seq FROM stream_events")
    assert row is not None
    assert tuple(row) == ("rewind", "ticks", 3, 3)
    assert [row["seq"] for row in await database.fetch("SELECT seq FROM ticks ORDER BY seq")] == [1, 2, 3, 3]


@pytest.mark.parametrize("lost", [0, 2])
async def test_a_persister_that_has_to_go_back_to_rows_that_were_dropped_still_doubles_and_misses_nothing(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection, lost: int
) -> None:
    """Dropped with `lost` rows that Redis lost later, or before those were stored."""
    async with persisting(redis_url, store):
        await partition.append("1", "2")
        await until(database, COUNT_TICKS, 2)
        dump = await dump_partition(partition.redis)
        if lost:
            await partition.append("3", "4")
            await until(database, COUNT_TICKS, 4)
        await keep_house(database, datetime.now(UTC) + timedelta(days=3), 1)
        assert await database.fetchval(COUNT_TICKS) == 0
        if not lost:
            await partition.append("3", "4")
            await until(database, COUNT_TICKS, 2)
            await database.execute("DELETE FROM ticks")
        await restore_partition(partition, dump)
        await partition.append("5", first=3)
        await until(database, "SELECT array_agg(price::int ORDER BY seq) FROM ticks", [5])
    (row,) = await database.fetch("SELECT kind, stream, first_seq, last_seq FROM stream_events")
    assert tuple(row) == ("rewind", "ticks", 3, 4)


async def dump_partition(redis: Any) -> dict[str, bytes]:
    keys = [str(key) async for key in redis.scan_iter("*{0}*")]
    return {key: await redis.execute_command("DUMP", key, NEVER_DECODE=True) for key in keys}


async def restore_partition(partition: PartitionUnderTest, dump: dict[str, bytes]) -> None:
    """As a fail-over to a lagging replica: an older state, under another run_id."""
    pipeline = partition.redis.pipeline(transaction=True)
    for key, value in dump.items():
        pipeline.delete(key)
        pipeline.restore(key, 0, value, replace=True)
    pipeline.hset(streams.log(0), "run_id", "0" * 40)
    await pipeline.execute()


async def test_flushall_while_running_is_noted_as_a_reset_and_the_pipeline_starts_again(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection
) -> None:
    async with persisting(redis_url, store):
        await partition.append("1", "2")
        await until(database, COUNT_TICKS, 2)
        await partition.redis.flushall()
        anew = await set_up(partition.redis)
        await anew.append("7")
        await until(database, COUNT_TICKS, 3)
    assert await database.fetchval("SELECT array_agg(kind ORDER BY stream) FROM stream_events WHERE stream = 'ticks'") == ["reset"]
    assert await database.fetchval("SELECT array_agg(seq ORDER BY incarnation, seq) FROM ticks") == [1, 2, 1]


async def test_ticks_that_a_stranger_trimmed_before_they_were_stored_are_noted_as_a_gap_with_its_range(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection
) -> None:
    await partition.append("1", "2", "3", "4")
    await partition.redis.xtrim(streams.ticks(0), maxlen=1, approximate=False)
    async with persisting(redis_url, store):
        await until(database, COUNT_TICKS, 1)
        await until(database, "SELECT count(*) FROM stream_events", 1)
    (row,) = await database.fetch("SELECT kind, stream, first_seq, last_seq FROM stream_events")
    assert tuple(row) == ("gap", "ticks", 1, 3)
    assert (await groups_of(partition.redis, streams.ticks(0)))["persister"]["lag"] == 0


async def test_a_strangers_entry_is_noted_and_the_rest_is_stored(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection
) -> None:
    await partition.append("1")
    await partition.redis.execute_command("XADD", streams.ticks(0), "*", "x", b"\x00\xff\t\\")
    await partition.append("2")
    async with persisting(redis_url, store):
        await until(database, COUNT_TICKS, 2)
    (row,) = await database.fetch("SELECT kind, stream, detail->>'reason' AS reason FROM stream_events")
    assert tuple(row) == ("rejected", "ticks", "field seq is missing")


async def test_what_only_a_function_saw_becomes_a_row_exactly_once(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection
) -> None:
    await partition.append("1")
    await partition.analyze()
    keys = [
        streams.log(0),
        streams.ticks(0),
        streams.enriched(0),
        streams.events(0),
        streams.sides(0),
        streams.latest(0),
        streams.prices(0, "AAPL"),
    ]
    assert await log.call(partition.redis, "change_period", keys, 7) == "OK"
    for _ in range(2):
        async with persisting(redis_url, store):
            await until(database, "SELECT count(*) FROM stream_events", 1)
            await until(database, COUNT_TICKS, 1)
    (row,) = await database.fetch("SELECT kind, first_seq, detail::text FROM stream_events")
    assert tuple(row) == ("period", 2, '{"to": 7, "from": 3}')


async def test_two_persisters_on_one_partition_store_every_row_once(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "ENTRIES", 20)  # the two stop each other at every batch
    async with persisting(redis_url, store), persisting(redis_url, store):
        for start in range(1, 500, 20):
            await partition.append(*(str(n) for n in range(start, start + 20)))
            await partition.analyze()
        await until(database, COUNT_TICKS, 500)
        await until(database, COUNT_ENRICHED, 500)
    assert await database.fetchval("SELECT count(*) FROM stream_events") == 0


async def test_a_connection_that_postgresql_cuts_in_the_middle_costs_nothing(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection
) -> None:
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tickstream-persister'"
    async with persisting(redis_url, store):
        for start in range(1, 300, 10):
            await partition.append(*(str(n) for n in range(start, start + 10)))
            await partition.analyze()
            await database.execute(cut)
        await until(database, COUNT_TICKS, 300)
        await until(database, COUNT_ENRICHED, 300)
    assert await database.fetchval("SELECT array_agg(price::int ORDER BY seq) FROM ticks") == list(range(1, 301))


@asynccontextmanager
async def held_up(database: asyncpg.Connection) -> AsyncIterator[None]:
    """Within the block every COPY into `ticks` has its rows and waits in a trigger."""
    await database.execute("""
        CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NEW; END $$;
        CREATE TRIGGER wait BEFORE INSERT ON ticks FOR EACH ROW EXECUTE FUNCTION wait();
        SELECT pg_advisory_lock(7)
    """)
    try:
        yield
    finally:
        await database.execute("SELECT pg_advisory_unlock(7)")


async def until_encoded(batches: list[int], wanted: list[int]) -> None:
    async with asyncio.timeout(10):
        while batches != wanted:
            await asyncio.sleep(0.01)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seq before each batch of ticks that is encoded."""
    seqs: list[int] = []

    def noting(stream: str, partition: int, entries: Entries, before: Position, head: Head) -> Lines:
        if stream == "ticks":
            seqs.append(before.seq)
        return encode(stream, partition, entries, before, head)

    monkeypatch.setattr(service, "encode", noting)
    return seqs


async def test_the_next_batch_alone_is_read_and_encoded_while_postgresql_stores_one(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection, encoded: list[int]
) -> None:
    await partition.append(*(str(n) for n in range(1, 11)))
    async with persisting(redis_url, store):
        async with held_up(database):
            await until_encoded(encoded, [0, 3])
            await asyncio.sleep(0.1)
            assert encoded == [0, 3], "not two ahead"
            assert await database.fetchval("SELECT seq FROM cursors WHERE stream = 'ticks'") == 0
        await until(database, COUNT_TICKS, 10)
    assert encoded == [0, 3, 6, 9], "and none was encoded twice"


async def test_what_was_read_while_a_batch_was_stored_goes_with_it_when_that_fails(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection, encoded: list[int]
) -> None:
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tickstream-persister'"
    await partition.append(*(str(n) for n in range(1, 11)))
    async with persisting(redis_url, store):
        async with held_up(database):
            await until_encoded(encoded, [0, 3])
            await database.execute(cut)
            await until_encoded(encoded, [0, 3, 0, 3])
        await until(database, COUNT_TICKS, 10)
    assert await database.fetchval("SELECT array_agg(price::int ORDER BY seq) FROM ticks") == list(range(1, 11))


async def test_a_batch_read_while_another_was_stored_is_judged_anew_where_redis_was_emptied_meanwhile(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection, encoded: list[int]
) -> None:
    await partition.append(*(str(n) for n in range(1, 8)))
    async with persisting(redis_url, store):
        async with held_up(database):
            await until_encoded(encoded, [0, 3])
            await partition.redis.flushall()
            await set_up(partition.redis)
            await PartitionUnderTest(partition.redis).append("21", "22")
        await until(database, "SELECT count(*) FROM stream_events WHERE kind = 'reset'", 1)
        await until(database, "SELECT count(*) FROM ticks WHERE price > 20", 2)
    kept = await database.fetchval("SELECT array_agg(price::int ORDER BY seq) FROM ticks WHERE price < 20")
    assert kept == list(range(1, 7)), "what was read is stored, under the label of the life that it was read in"
    assert await database.fetchval("SELECT count(DISTINCT incarnation) FROM ticks") == 2


async def test_an_average_that_rounds_up_to_a_million_million_is_stored(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection
) -> None:
    await partition.append(*["999999999999.99999999"] * 3)
    await partition.analyze()
    async with persisting(redis_url, store):
        await until(database, "SELECT sma::text FROM enriched WHERE seq = 3", "1000000000000")
