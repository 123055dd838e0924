"""What the persister counts: rows, refused ones, events, and transactions by how they ended."""

import asyncpg
import pytest
from redis.asyncio import Redis

from services.persister.measures import Measures
from services.persister.rows import StreamEvent
from services.persister.store import Store
from shared import streams
from tests.integration.partition import PartitionUnderTest
from tests.integration.persister.test_following import persisting
from tests.observed import Gain, total


def gain(name: str, **labels: str) -> Gain:
    return Gain("persister", f"tickstream_persister_{name}", **labels)


async def test_rows_of_both_streams_are_counted(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection
) -> None:
    rows = {stream: gain("rows_stored_total", stream=stream) for stream in ("ticks", "enriched")}
    entries, failed = gain("batch_entries_sum", stream="ticks"), gain("transactions_total", outcome="failed")
    hops = [Gain("persister", "tickstream_hop_seconds_count", hop=hop) for hop in ("fetcher_to_persister", "analyzer_to_persister")]
    await partition.append("1", "2", "3", "2")
    await partition.analyze()
    async with persisting(redis_url, store):
        for gained in rows.values():
            await gained.reaches(4)
        assert entries.value == 4
        assert all(hop.value >= 1 for hop in hops)
        assert failed.value == 0
        for stream in ("ticks", "enriched"):
            assert total("persister", "tickstream_persister_lag_entries", stream=stream, partition="0") == 0


async def test_entry_that_is_no_tick_is_counted_as_rejected_and_not_as_a_row(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection
) -> None:
    rows, rejected = gain("rows_stored_total", stream="ticks"), gain("rows_rejected_total", stream="ticks")
    events = gain("stream_events_total", kind="rejected")
    await partition.append("1")
    await partition.redis.xadd(streams.ticks(0), {"no": "tick"})
    async with persisting(redis_url, store):
        await rejected.reaches(1)
        await rows.reaches(1)
        assert events.value == 1


async def test_row_that_postgresql_refuses_is_counted_as_rejected_and_not_as_a_row(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection
) -> None:
    await database.execute("ALTER TABLE ticks ADD CHECK (price <> 13)")
    rows, rejected = gain("rows_stored_total", stream="ticks"), gain("rows_rejected_total", stream="ticks")
    await partition.append("1", "13", "2")
    async with persisting(redis_url, store):
        await rejected.reaches(1)
        await rows.reaches(2)


async def test_lost_ticks_are_counted_as_a_gap(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection
) -> None:
    gaps = gain("stream_events_total", kind="gap")
    await partition.append("1", "2", "3")
    first, *_ = await partition.redis.xrange(streams.ticks(0))
    await partition.redis.xdel(streams.ticks(0), first[0])
    async with persisting(redis_url, store):
        await gaps.reaches(1)


async def test_transaction_that_fails_is_counted(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection
) -> None:
    failed, rows = gain("transactions_total", outcome="failed"), gain("rows_stored_total", stream="ticks")
    await database.execute("ALTER TABLE ticks RENAME TO hidden")
    await partition.append("1")
    async with persisting(redis_url, store):
        await failed.begins()
        await database.execute("ALTER TABLE hidden RENAME TO ticks")
        await rows.reaches(1)


async def test_batch_that_another_persister_stored_is_counted_as_such(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection, redis: Redis
) -> None:
    elsewhere, rows = gain("transactions_total", outcome="elsewhere"), gain("rows_stored_total", stream="ticks")
    async with persisting(redis_url, store):
        await partition.append("1")
        await rows.reaches(1)
        await database.execute("UPDATE cursors SET position = '1-1' WHERE stream = 'ticks'")
        await partition.append("2")
        await elsewhere.begins()
        await database.execute("DELETE FROM ticks; UPDATE cursors SET position = '0-0', incarnation = '', seq = 0, passed = 0")
        await rows.reaches(3)


@pytest.mark.parametrize(("kind", "counted"), [("overrun", "overrun"), ("a stranger's", "other")])
def test_only_kinds_of_the_contract_become_labels(kind: str, counted: str) -> None:
    events = gain("stream_events_total", kind=counted)
    Measures("events", 0).note_events([StreamEvent("ticks", kind, "i", None, None, {})])
    assert events.value == 1
