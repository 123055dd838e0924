"""Retrying and dropping dead letters: one call does all of it or nothing, whoever sends it and however often."""

import asyncio
import time
from typing import Any

import pytest
from redis.asyncio import Redis

from shared import streams
from shared.deadletters import FUTURE_REASON, Letter
from shared.errors import TransientError
from shared.events import Tick
from shared.redis import log
from shared.redis.client import REDIS_AWAY, connect
from shared.redis.deadletters import Retried, drop, fallen_off, find, newest_first, newest_id, number_of, oldest_first, retry
from shared.redis.log import Rejected, Unconfigured
from tests.faults.proxy import Cut, FaultProxy
from tests.integration.partition import CAP, PartitionUnderTest

TICK = Tick("1", "AAPL", "12.5", "1771105101950", "replay", "7", "1771105101000", "2")


async def bury(partition: PartitionUnderTest, count: int = 1) -> list[Letter]:
    """Dead letters of rejected rows, oldest first."""
    batch = log.freeze(partition.number + 1, [], [Rejected(place, "bad", f"row {place}") for place in range(count)])
    appended = await log.append(partition.redis, 0, token="f", producer="f", batch=batch, cap=partition.cap)
    partition.number = appended.number
    return [letter async for letter in newest_first(partition.redis, 0)][::-1]


async def ticks(redis: Any) -> list[dict[str, str]]:
    return [fields for _, fields in await redis.xrange(streams.ticks(0))]


async def test_a_retried_letter_is_a_tick_with_the_next_seq_and_its_letter_is_gone(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2")
    (letter,) = await bury(partition)
    assert await retry(partition.redis, letter, TICK, cap=CAP) is Retried.OK
    assert (await ticks(partition.redis))[-1] == TICK._replace(seq="3")._asdict()
    assert await number_of(partition.redis, 0) == 0
    assert (await partition.append("4")).seq == 4


async def test_a_letter_that_is_gone_is_answered_so_and_nothing_is_written(partition: PartitionUnderTest) -> None:
    (letter,) = await bury(partition)
    await retry(partition.redis, letter, TICK, cap=CAP)
    before = await partition.snapshot_of_keys()
    assert await retry(partition.redis, letter, TICK, cap=CAP) is Retried.GONE
    assert await partition.snapshot_of_keys() == before


async def test_a_full_stream_and_a_time_to_come_leave_the_letter_where_it_is(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2")
    (letter,) = await bury(partition)
    before = await partition.snapshot_of_keys()
    assert await retry(partition.redis, letter, TICK, cap=2) is Retried.FULL
    soon = str(time.time_ns() // 1_000_000 + 60_000)
    assert await retry(partition.redis, letter, TICK._replace(ts=soon), cap=CAP) is Retried.FUTURE
    assert await partition.snapshot_of_keys() == before


async def test_a_lost_answer_leaves_one_tick(partition: PartitionUnderTest, redis_url: str) -> None:
    (letter,) = await bury(partition)
    async with FaultProxy(redis_url).running() as proxy, connect(proxy.url, service="tests") as client:
        proxy.plan(Cut((b"retry_1",), reply_bytes=0))
        with pytest.raises(REDIS_AWAY):
            await retry(client, letter, TICK, cap=CAP)
        assert await retry(client, letter, TICK, cap=CAP) is Retried.GONE
    assert len(await ticks(partition.redis)) == 1


async def test_of_many_retries_at_once_one_appends(partition: PartitionUnderTest, redis_url: str) -> None:
    (letter,) = await bury(partition)
    async with connect(redis_url, service="tests") as other:
        answers = await asyncio.gather(*(retry(client, letter, TICK, cap=CAP) for client in (partition.redis, other) for _ in range(10)))
    assert sorted(answers) == [Retried.GONE] * 19 + [Retried.OK]
    assert len(await ticks(partition.redis)) == 1


async def test_a_retry_after_a_restart_begins_the_new_incarnation_first(partition: PartitionUnderTest) -> None:
    await partition.append("1")
    (letter,) = await bury(partition)
    old = await log.head(partition.redis, 0)
    await partition.restart_server()
    assert await retry(partition.redis, letter, TICK, cap=CAP) is Retried.OK
    (ended,) = (await log.head(partition.redis, 0)).lineage
    assert (ended.incarnation, ended.ticks.seq, ended.ticks.added) == (old.incarnation, 1, 1)


async def test_a_retry_into_a_stream_that_is_not_there_makes_its_groups_first(partition: PartitionUnderTest) -> None:
    (letter,) = await bury(partition)
    await partition.redis.delete(streams.ticks(0))
    await retry(partition.redis, letter, TICK, cap=CAP)
    assert {group["name"] for group in await partition.redis.xinfo_groups(streams.ticks(0))} == {"analyzer", "persister"}


@pytest.mark.parametrize("key", [streams.ticks(0), streams.deadletters(0), streams.events(0), streams.enriched(0)])
async def test_a_key_of_a_wrong_type_is_refused_before_anything_is_written(partition: PartitionUnderTest, key: str) -> None:
    (letter,) = await bury(partition)
    await partition.redis.delete(key)
    await partition.redis.set(key, "text")
    before = await partition.snapshot_of_keys()
    with pytest.raises(TransientError, match="WRONGTYPE"):
        await retry(partition.redis, letter, TICK, cap=CAP)
    assert await partition.snapshot_of_keys() == before


@pytest.mark.parametrize("bad", [{"ts": "soon"}, {"ts": "-1"}, {"ts": ""}])
async def test_a_malformed_retry_is_refused_whole(partition: PartitionUnderTest, bad: dict[str, str]) -> None:
    (letter,) = await bury(partition)
    before = await partition.snapshot_of_keys()
    with pytest.raises(TransientError, match="bad retry"):
        await retry(partition.redis, letter, TICK._replace(**bad), cap=CAP)
    assert await partition.snapshot_of_keys() == before


async def test_without_the_head_of_the_partition_nothing_is_retried(partition: PartitionUnderTest) -> None:
    (letter,) = await bury(partition)
    await partition.redis.delete(streams.log(0))
    with pytest.raises(Unconfigured):
        await retry(partition.redis, letter, TICK, cap=CAP)
    assert await find(partition.redis, 0, letter.entry_id) == letter


async def test_dropped_letters_are_gone_and_dropping_them_again_is_harmless(partition: PartitionUnderTest) -> None:
    letters = await bury(partition, 3)
    ids = [letter.entry_id for letter in letters[:2]]
    assert await drop(partition.redis, 0, ids) == 2
    assert await drop(partition.redis, 0, ids) == 0
    assert [letter async for letter in newest_first(partition.redis, 0)] == letters[2:]
    assert await fallen_off(partition.redis, 0) == 0


@pytest.mark.parametrize("ids", [[], ["0-1", "newest"], ["1-0"] * 1001], ids=["none", "no id", "too many"])
async def test_a_malformed_drop_is_refused_whole(partition: PartitionUnderTest, ids: list[str]) -> None:
    await bury(partition)
    with pytest.raises(TransientError, match="bad drop"):
        await drop(partition.redis, 0, ids)
    assert await number_of(partition.redis, 0) == 1


async def test_pages_hold_every_letter_once_in_both_directions(partition: PartitionUnderTest) -> None:
    await bury(partition, 500)
    letters = await bury(partition, 7)
    assert [letter.payload for letter in letters] == [f"row {n}" for n in range(500)] + [f"row {n}" for n in range(7)]
    found: list[Letter] = []
    end = await newest_id(partition.redis, 0)
    assert end is not None
    while page := await oldest_first(partition.redis, 0, found[-1].entry_id if found else "", end):
        found += page
    assert found == letters


async def test_the_payload_of_a_tick_from_the_future_is_the_whole_tick(partition: PartitionUnderTest) -> None:
    later = str(time.time_ns() // 1_000_000 + 3_600_000)
    batch = log.freeze(1, [("AAPL", "1", later, "finnhub", "7", "1771105101000", "3")])
    await log.append(partition.redis, 0, token="f", producer="f", batch=batch, cap=CAP)
    (letter,) = [letter async for letter in newest_first(partition.redis, 0)]
    assert (letter.reason, letter.payload) == (FUTURE_REASON, f"AAPL,1,{later},finnhub,7,1771105101000,3")


async def test_what_a_stranger_put_there_is_a_letter_too(redis: Redis) -> None:
    await redis.xadd(streams.deadletters(0), {"foo": b"\xff"})
    (letter,) = [letter async for letter in newest_first(redis, 0)]
    assert (letter.stream, letter.reason, letter.payload, letter.is_cut) == ("", "", "", False)
