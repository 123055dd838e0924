"""Entries deleted before the persister read them: noted once with their range, on both streams, and it goes on."""

import asyncio

import asyncpg
import pytest

from services.persister.store import Store
from shared import streams
from tests.integration.partition import PartitionUnderTest
from tests.integration.persister.test_following import COUNT_ENRICHED, COUNT_TICKS, groups_of, persisting, until

COUNTS = {"ticks": COUNT_TICKS, "enriched": COUNT_ENRICHED}
SEQS = {"ticks": "SELECT array_agg(seq) FROM ticks", "enriched": "SELECT array_agg(seq) FROM enriched"}


async def events(database: asyncpg.Connection) -> list[tuple[object, ...]]:
    rows = await database.fetch("SELECT kind, stream, first_seq, last_seq FROM stream_events ORDER BY at, stream")
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("kept", [1, 2])
async def test_enriched_events_that_a_stranger_trimmed_are_a_gap(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection, kept: int
) -> None:
    await partition.append("1", "2", "3", "4")
    await partition.analyze()
    await partition.redis.xtrim(streams.enriched(0), maxlen=kept, approximate=False)
    async with persisting(redis_url, store):
        await until(database, COUNT_ENRICHED, kept)
        await until(database, COUNT_TICKS, 4)
    assert await events(database) == [("gap", "enriched", 1, 4 - kept)]


async def test_ticks_that_were_stored_but_deleted_before_they_were_analyzed_are_a_gap_of_the_events_that_never_came(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection
) -> None:
    async with persisting(redis_url, store):
        await partition.append("1", "2", "3")
        await until(database, COUNT_TICKS, 3)
        await partition.redis.delete(streams.ticks(0))
        await partition.append("4")
        await partition.analyze()
        await until(database, COUNT_ENRICHED, 1)
        await until(database, "SELECT count(*) FROM stream_events", 1)
    assert await events(database) == [("gap", "enriched", 1, 3)]


async def test_a_hole_among_the_events_that_no_deletion_made_is_no_gap(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection
) -> None:
    """A dead-lettered tick leaves none; here the digest is committed without naming it as lost."""
    async with persisting(redis_url, store):
        for number, price in enumerate("123", start=1):
            await partition.redis.hincrby(streams.log(0), "seq", 1)
            await partition.append(price)
            state, digest = await partition.digest()
            await partition.commit(state, digest._replace(missing=()))
            await until(database, COUNT_ENRICHED, number)
            await until(database, COUNT_TICKS, number)
    assert [event[:2] for event in await events(database)] == [("gap", "ticks")] * 3


@pytest.mark.parametrize("stream", ["ticks", "enriched"])
async def test_a_stream_that_was_deleted_unread_is_a_gap_although_nothing_comes(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection, stream: str
) -> None:
    await partition.append("1", "2", "3")
    await partition.analyze()
    await partition.redis.delete(streams.stream(stream, 0))
    async with persisting(redis_url, store):
        await until(database, "SELECT count(*) FROM stream_events", 1)
        await partition.append("4")
        await partition.analyze()
        await until(database, SEQS[stream], [4])
        await until(database, "SELECT count(*) FROM stream_events", 1)
        async with asyncio.timeout(10):
            while (await groups_of(partition.redis, streams.stream(stream, 0)))["persister"]["lag"] != 0:
                await asyncio.sleep(0.02)
    assert await events(database) == [("gap", stream, 1, 3)]


@pytest.mark.parametrize("stream", ["ticks", "enriched"])
async def test_a_stream_deleted_again_and_again_when_all_is_stored_loses_nothing(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection, stream: str
) -> None:
    async with persisting(redis_url, store):
        for number in range(1, 12):
            await partition.append(str(number))
            await partition.analyze()
            await until(database, COUNTS[stream], number)
            await partition.redis.delete(streams.stream(stream, 0))
    assert await events(database) == []


async def test_a_stream_deleted_behind_an_id_of_the_far_future_is_read_on(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection
) -> None:
    await partition.append("1")
    await partition.analyze()
    await partition.redis.xadd(streams.enriched(0), {"a": "stranger's"}, id="99999999999999-0")
    async with persisting(redis_url, store):
        await until(database, "SELECT kind FROM stream_events WHERE stream = 'enriched'", "rejected")
        await partition.redis.delete(streams.enriched(0))
        await partition.append("2", "3")
        await partition.analyze()
        await until(database, "SELECT array_agg(seq ORDER BY seq) FROM enriched", [1, 2, 3])
        await until(database, COUNT_TICKS, 3)
    assert [event[0] for event in await events(database)] == ["rejected"]


@pytest.mark.parametrize("stream", ["ticks", "enriched"])
async def test_a_gap_at_the_end_of_a_stream_is_no_loss_of_the_rows_before_it_to_the_next_persister(
    partition: PartitionUnderTest, redis_url: str, store: Store, database: asyncpg.Connection, stream: str
) -> None:
    """What is lost was written after Redis began anew: not under the label of the last row."""
    await partition.append("1", "2")
    await partition.analyze()
    async with persisting(redis_url, store):
        await until(database, COUNTS[stream], 2)
    await partition.restart_server()
    await partition.append("3", "4")
    await partition.analyze()
    await partition.redis.delete(streams.stream(stream, 0))
    async with persisting(redis_url, store):
        await until(database, "SELECT count(*) FROM stream_events", 1)
    async with persisting(redis_url, store):
        await partition.append("5")
        await partition.analyze()
        await until(database, SEQS[stream], [1, 2, 5])
    assert await events(database) == [("gap", stream, 3, 4)]
