"""Every answer of `append`, and that only OK leaves a trace."""

import re
import time
from typing import Any

import pytest

from shared import streams
from shared.errors import NotReady, TransientError
from shared.redis import log
from shared.redis.log import Answer, Rejected, Unconfigured
from tests.integration.partition import CAP, PartitionUnderTest

NOW_MS = time.time_ns() // 1_000_000


async def prices_in(partition: PartitionUnderTest) -> list[str]:
    return [fields["price"] for _, fields in await partition.redis.xrange(streams.ticks(0))]


async def test_ok_appends_the_ticks_with_dense_seqs_and_all_fields_in_order(partition: PartitionUnderTest) -> None:
    first, second = await partition.append("1", "2"), await partition.append("3")
    assert (first.answer, first.number, first.seq, first.length) == (Answer.OK, 2, 2, 2)
    assert (second.number, second.seq, second.length) == (3, 3, 3)
    entries = await partition.redis.xrange(streams.ticks(0))
    assert [fields["seq"] for _, fields in entries] == ["1", "2", "3"]
    assert list(entries[0][1]) == ["seq", "ticker", "price", "ts", "source", "volume", "quote_ts", "shed"]


async def test_ok_creates_the_required_groups_at_the_beginning_of_the_stream(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2")
    groups = {group["name"]: group for group in await partition.redis.xinfo_groups(streams.ticks(0))}
    assert set(groups) == {"analyzer", "persister"}
    assert groups["persister"]["lag"] == 2


async def test_a_batch_sent_again_is_skipped_and_answered_ok(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2")
    before = await partition.snapshot_of_keys()
    again = await partition.append("1", "2", first=1)
    assert (again.answer, again.number, again.seq) == (Answer.OK, 2, 2)
    assert await partition.snapshot_of_keys() == before


async def test_of_a_batch_that_is_there_in_part_only_the_new_ticks_are_appended(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2")
    assert (await partition.append("1", "2", "3", first=1)).seq == 3
    assert await prices_in(partition) == ["1", "2", "3"]


async def test_a_producer_without_the_lease_is_fenced(partition: PartitionUnderTest) -> None:
    before = await partition.snapshot_of_keys()
    assert (await partition.append("1", token="somebody", producer="somebody")).answer is Answer.FENCED
    assert await partition.snapshot_of_keys() == before


async def test_after_a_release_an_empty_token_is_fenced_too(partition: PartitionUnderTest) -> None:
    await partition.redis.hset(streams.lease("fetcher", 0), "token", "")
    assert (await partition.append("1", token="")).answer is Answer.FENCED


async def test_a_first_number_that_leaves_a_hole_is_answered_ahead_with_the_stored_number(partition: PartitionUnderTest) -> None:
    await partition.append("1")
    before = await partition.snapshot_of_keys()
    ahead = await partition.append("5", first=5)
    assert (ahead.answer, ahead.number) == (Answer.AHEAD, 1)
    assert await partition.snapshot_of_keys() == before


async def test_a_stream_at_the_cap_is_full_but_a_duplicate_is_still_ok(partition: PartitionUnderTest) -> None:
    partition.cap = 2
    await partition.append("1", "2", "3")
    before = await partition.snapshot_of_keys()
    assert (await partition.append("4")).answer is Answer.FULL
    assert (await partition.append("1", "2", "3", first=1)).answer is Answer.OK
    assert await partition.snapshot_of_keys() == before


async def test_fenced_comes_before_duplicate_and_duplicate_before_ahead_and_ahead_before_full(partition: PartitionUnderTest) -> None:
    partition.cap = 1
    await partition.append("1", producer="replay")
    assert (await partition.append("1", first=1, token="x", producer="replay")).answer is Answer.FENCED
    assert (await partition.append("1", first=1, producer="replay")).answer is Answer.OK
    assert (await partition.append("1", first=9, producer="replay")).answer is Answer.AHEAD


async def test_a_tick_more_than_five_seconds_ahead_of_redis_is_refused_counted_and_dead_lettered(partition: PartitionUnderTest) -> None:
    soon, later = str(NOW_MS + 2_000), str(NOW_MS + 3_600_000)
    batch = log.freeze(1, [("AAPL", "1", soon, "s", "", "", ""), ("AAPL", "2", later, "s", "", "", ""), ("KO", "3", soon, "s", "", "", "")])
    appended = await log.append(partition.redis, 0, token="f", producer="f", batch=batch, cap=10)
    assert (appended.answer, appended.refused, appended.seq, appended.number) == (Answer.OK, 1, 2, 3)
    assert await prices_in(partition) == ["1", "3"]
    ((_, dead),) = await partition.redis.xrange(streams.deadletters(0))
    assert dead["reason"] == "ts is more than 5 s in the future"
    assert dead["payload"] == f"AAPL,2,{later},s,,,"


async def test_a_rejected_row_takes_a_number_and_is_dead_lettered_exactly_once(partition: PartitionUnderTest) -> None:
    tick = ("AAPL", "1", str(NOW_MS), "replay", "", "", "")
    batch = log.freeze(1, [tick, tick], [Rejected(1, "price is not a number", "AAPL,x,1")])
    for _ in range(2):
        appended = await log.append(partition.redis, 0, token="f", producer="r", batch=batch, cap=10)
    assert (appended.number, appended.seq) == (3, 2)
    ((_, dead),) = await partition.redis.xrange(streams.deadletters(0))
    assert (dead["reason"], dead["payload"]) == ("price is not a number", "AAPL,x,1")


async def test_a_polled_tick_that_is_not_newer_than_its_tickers_last_is_skipped(partition: PartitionUnderTest) -> None:
    async def poll(first: int, *times: int) -> None:
        ticks = [("AAPL", str(ts), str(ts), "finnhub", "", "", "") for ts in times]
        await log.append(partition.redis, 0, token="f", producer="f", batch=log.freeze(first, ticks), cap=10, polled=True)

    await poll(1, 1000, 1000)
    await poll(3, 1000, 2000)
    assert await prices_in(partition) == ["1000", "2000"]


async def test_a_changed_run_id_begins_a_new_incarnation_and_seq_goes_on(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2")
    old = await log.head(partition.redis, 0)
    await partition.restart_server()
    assert (await partition.append("3")).seq == 3
    new = await log.head(partition.redis, 0)
    assert new.incarnation != old.incarnation
    (ended,) = new.lineage
    entries = await partition.redis.xrange(streams.ticks(0))
    assert ended.incarnation == old.incarnation
    assert (ended.ticks.seq, ended.ticks.id, ended.ticks.added) == (2, entries[1][0], 2)


@pytest.mark.parametrize("polled", [True, False])
@pytest.mark.parametrize(
    "key",
    [
        streams.log(0),
        streams.ticks(0),
        streams.enriched(0),
        streams.events(0),
        streams.producers(0),
        streams.last(0),
        streams.deadletters(0),
        streams.lease("fetcher", 0),
    ],
)
async def test_a_key_of_a_wrong_type_is_named_and_refused_before_anything_is_written(
    partition: PartitionUnderTest, key: str, polled: bool
) -> None:
    await partition.redis.delete(key)
    await partition.redis.set(key, "text")
    before = await partition.snapshot_of_keys()
    batch = log.freeze(1, [("AAPL", "1", "1", "s", "", "", "")])
    if key == streams.last(0) and not polled:  # which is not written then
        assert (await log.append(partition.redis, 0, token="f", producer="f", batch=batch, cap=CAP)).answer is Answer.OK
        return
    with pytest.raises(TransientError, match=f"WRONGTYPE {re.escape(key)} is a string"):
        await log.append(partition.redis, 0, token="f", producer="f", batch=batch, cap=CAP, polled=polled)
    assert await partition.snapshot_of_keys() == before


@pytest.mark.parametrize(
    "tick", [("AAPL", "1", "yesterday", "s", "", "", ""), ("AAPL", True, "1", "s", "", "", ""), ("AAPL", "1", "1", "s", [], "", "")]
)
async def test_a_malformed_batch_is_refused_whole(partition: PartitionUnderTest, tick: tuple[Any, ...]) -> None:
    good = ("AAPL", "1", "1", "s", "", "", "")
    before = await partition.snapshot_of_keys()
    with pytest.raises(TransientError, match="bad batch"):
        await log.append(partition.redis, 0, token="f", producer="f", batch=log.freeze(1, [good, tick]), cap=10)
    assert await partition.snapshot_of_keys() == before


async def test_a_partition_whose_head_is_gone_says_so(partition: PartitionUnderTest) -> None:
    await partition.redis.delete(streams.log(0))
    with pytest.raises(Unconfigured, match=r"log:\{0\} is missing"):
        await partition.append("1")


async def test_a_missing_function_library_says_what_to_do(partition: PartitionUnderTest) -> None:
    await partition.redis.function_delete(log.LIBRARY)
    with pytest.raises(NotReady, match="tickstream migrate"):
        await partition.append("1")


async def test_the_newest_hundred_thousand_dead_letters_are_kept_and_the_others_counted(partition: PartitionUnderTest) -> None:
    fill = "for _ = 1, 100000 do redis.call('XADD', KEYS[1], '*', 'stream', '') end"
    await partition.redis.eval(fill, 1, streams.deadletters(0))
    batch = log.freeze(1, [], [Rejected(0, "bad", "row"), Rejected(1, "bad", "row")])
    await log.append(partition.redis, 0, token="f", producer="r", batch=batch, cap=10)
    assert await partition.redis.xlen(streams.deadletters(0)) == 100_000
    assert await partition.redis.hget(streams.log(0), "deadletters_dropped") == "2"
