"""A stream that somebody deleted: its groups come back, its ids go on, and counts stay true."""

import asyncio

import pytest

from shared import streams
from shared.redis import log
from shared.redis.log import Answer
from shared.retained import is_after
from tests.integration.partition import PartitionUnderTest


async def group(partition: PartitionUnderTest, name: str) -> tuple[str, int, int]:
    for row in await partition.redis.xinfo_groups(streams.ticks(0)):
        if row["name"] == name:
            return row["last-delivered-id"], row["entries-read"] or 0, row["lag"]
    raise AssertionError(f"there is no group {name}")


async def test_unread_ticks_that_were_deleted_are_a_gap_once_and_everything_goes_on(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2")
    await partition.analyze()
    await partition.append("3", "4")
    cursor = (await log.load(partition.redis, 0)).cursor
    await partition.redis.delete(streams.ticks(0))
    assert (await partition.append("5", "6")).seq == 6
    assert await group(partition, "analyzer") == ("0-0", 0, 2)
    (first, _), *_ = await partition.redis.xrange(streams.ticks(0))
    assert is_after(first, cursor)
    state, digest = await partition.digest()
    assert (digest.missing, digest.passed) == (((3, 4),), 6)
    assert (await partition.commit(state, digest)).answer is Answer.OK
    assert (await group(partition, "analyzer"))[1:] == (6, 0)
    assert await partition.redis.hget(streams.log(0), "gap_seq") == "4"
    ((_, told),) = await partition.redis.xrange(streams.events(0))
    assert [told[name] for name in ("kind", "stream", "first_seq", "last_seq")] == ["gap", "enriched", "3", "4"]
    assert (await log.load(partition.redis, 0)).prices == {"AAPL": ["2", "5", "6"]}
    await partition.append("7")
    assert (await partition.digest())[1].missing == ()


async def test_an_analyzer_of_before_that_names_no_holes_still_commits(
    partition: PartitionUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two versions of a service run side by side during an upgrade."""
    fcall = partition.redis.fcall
    await partition.append("1", "2")
    await partition.redis.delete(streams.ticks(0))
    await partition.append("3")
    state, digest = await partition.digest()
    monkeypatch.setattr(partition.redis, "fcall", lambda *words: fcall(*words[:-2]))
    assert (await partition.commit(state, digest)).answer is Answer.OK
    assert await partition.redis.hget(streams.log(0), "gap_seq") == "2"
    assert await partition.redis.xlen(streams.events(0)) == 0


async def test_a_batch_whose_ticks_were_deleted_before_its_commit_is_refused(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2")
    state, digest = await partition.digest()
    await partition.redis.delete(streams.ticks(0))
    before = await partition.snapshot_of_keys()
    assert (await partition.commit(state, digest)).answer is Answer.CONFLICT
    assert await partition.snapshot_of_keys() == before


async def test_a_stream_deleted_behind_an_id_of_the_far_future_numbers_on_behind_the_cursor(partition: PartitionUnderTest) -> None:
    await partition.append("1")
    await partition.redis.xadd(streams.ticks(0), {"a": "stranger's"}, id="99999999999999-5")
    await partition.analyze()
    await partition.redis.delete(streams.ticks(0))
    await partition.append("2")
    assert (await partition.analyze()).cursor == "99999999999999-6"
    assert (await log.load(partition.redis, 0)).prices == {"AAPL": ["1", "2"]}


@pytest.mark.parametrize("stream", ["ticks", "enriched"])
async def test_a_stream_deleted_in_the_same_millisecond_gives_no_id_that_a_reader_has_passed(
    partition: PartitionUnderTest, stream: str
) -> None:
    asyncio.get_running_loop().set_debug(False)  # which takes longer than a millisecond
    key, before = streams.stream(stream, 0), "0-0"
    for number in range(30):
        await partition.append(str(number + 1))
        await partition.analyze()
        ((entry_id, _),) = await partition.redis.xrange(key)
        assert is_after(entry_id, before)
        before = entry_id
        await partition.redis.delete(key)


@pytest.mark.parametrize("stream", ["ticks", "enriched"])
async def test_a_stream_deleted_after_the_clock_was_set_back_numbers_on_behind_what_was_given(
    partition: PartitionUnderTest, stream: str
) -> None:
    await partition.append("1")
    await partition.analyze()
    await partition.redis.xadd(streams.stream(stream, 0), {"by": "a clock that ran ahead"}, id="99999999999998-0")
    await partition.append("2")
    await partition.append("3")
    if stream == "enriched":
        await partition.analyze()
    given = (await partition.redis.xinfo_stream(streams.stream(stream, 0)))["last-generated-id"]
    await partition.redis.delete(streams.stream(stream, 0))
    await partition.append("4")
    await partition.analyze()
    entries = await partition.redis.xrange(streams.stream(stream, 0))
    assert entries
    assert is_after(entries[0][0], given)


async def test_a_mirror_into_a_stream_that_is_gone_makes_it_again_behind_its_ids(partition: PartitionUnderTest) -> None:
    await partition.append("1")
    await partition.analyze()
    ((entry_id, _),) = await partition.redis.xrange(streams.enriched(0))
    await partition.redis.delete(streams.enriched(0))
    incarnation = (await log.head(partition.redis, 0)).incarnation
    await log.mirror(partition.redis, 0, stream="enriched", group="persister", incarnation=incarnation, entry_id=entry_id, passed=1)
    await partition.append("2")
    await partition.analyze()
    ((after, _),) = await partition.redis.xrange(streams.enriched(0))
    assert is_after(after, entry_id)
    (row,) = await partition.redis.xinfo_groups(streams.enriched(0))
    assert (row["entries-read"], row["lag"]) == (1, 1)
