"""Every answer of `commit`, and that only OK leaves a trace; what `load` and `snapshot` return."""

import asyncio
import re

import pytest
from redis.asyncio import Redis

from shared import streams
from shared.errors import TransientError
from shared.redis import log
from shared.redis.log import Answer, Unconfigured
from shared.testing.oracle import expect
from tests.integration.partition import PartitionUnderTest, set_up


async def test_ok_writes_lists_sides_events_latest_cursor_and_group_together(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2", "3", "2", "1")
    state, digest = await partition.digest()
    committed = await partition.commit(state, digest)
    assert (committed.answer, committed.cursor, committed.ticks_length, committed.enriched_length) == (Answer.OK, digest.last, 5, 5)
    expected = expect([("AAPL", price) for price in ("1", "2", "3", "2", "1")], 3)
    redis = partition.redis
    assert await redis.lrange(streams.prices(0, "AAPL"), 0, -1) == expected.windows["AAPL"]
    assert await redis.hgetall(streams.sides(0)) == {"AAPL": "-1"}
    events = await redis.xrange(streams.enriched(0))
    assert [(fields["sma"], fields["alert"]) for _, fields in events] == [(judged.sma, judged.alert) for judged in expected.judged]
    assert list(events[0][1]) == ["seq", "ticker", "price", "ts", "source", "tick_id", "sma", "alert"]
    assert '"price":1,"sma":2,"alert":null' in (await redis.hget(streams.latest(0), "AAPL") or "")
    (group,) = [group for group in await redis.xinfo_groups(streams.ticks(0)) if group["name"] == "analyzer"]
    assert (group["last-delivered-id"], group["entries-read"], group["lag"]) == (digest.last, 5, 0)
    assert await redis.hget(streams.lease("analyzer", 0), "beats") == "1"


async def test_a_commit_sent_again_is_dup_and_writes_nothing(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2")
    state, digest = await partition.digest()
    await partition.commit(state, digest)
    before = await partition.snapshot_of_keys()
    again = await partition.commit(state, digest)
    assert (again.answer, again.cursor) == (Answer.DUP, digest.last)
    assert await partition.snapshot_of_keys() == before


async def test_another_token_is_fenced(partition: PartitionUnderTest) -> None:
    await partition.append("1")
    state, digest = await partition.digest()
    before = await partition.snapshot_of_keys()
    assert (await partition.commit(state, digest, token="zombie")).answer is Answer.FENCED
    assert await partition.snapshot_of_keys() == before


async def test_another_period_is_fenced(partition: PartitionUnderTest) -> None:
    await partition.append("1")
    state, digest = await partition.digest()
    assert (await partition.commit(state, digest, period=4)).answer is Answer.FENCED


async def test_another_incarnation_is_answered_reset(partition: PartitionUnderTest) -> None:
    await partition.append("1")
    state, digest = await partition.digest()
    await partition.restart_server()
    assert (await partition.commit(state, digest)).answer is Answer.RESET
    assert await partition.redis.xlen(streams.enriched(0)) == 0
    assert (await partition.analyze()).answer is Answer.OK


async def test_after_a_landed_commit_and_a_restart_of_redis_nothing_is_doubled(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2")
    state, digest = await partition.digest()
    await partition.commit(state, digest)
    await partition.restart_server()
    assert (await partition.commit(state, digest)).answer is Answer.RESET
    assert (await log.load(partition.redis, 0)).cursor == digest.last
    assert await partition.redis.xlen(streams.enriched(0)) == 2


async def test_a_cursor_that_moved_is_a_conflict(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2")
    stale = await partition.digest(count=1)
    await partition.analyze()
    before = await partition.snapshot_of_keys()
    assert (await partition.commit(*stale)).answer is Answer.CONFLICT
    assert await partition.snapshot_of_keys() == before


async def test_a_last_entry_that_is_gone_is_a_conflict(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2")
    state, digest = await partition.digest()
    await partition.redis.xdel(streams.ticks(0), digest.last)
    assert (await partition.commit(state, digest)).answer is Answer.CONFLICT


async def test_an_enriched_stream_at_the_cap_is_full_and_the_same_batch_lands_later(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2")
    await partition.analyze()
    await partition.append("3")
    state, digest = await partition.digest()
    partition.cap = 2
    before = await partition.snapshot_of_keys()
    assert (await partition.commit(state, digest)).answer is Answer.FULL
    assert await partition.snapshot_of_keys() == before
    partition.cap = 3
    assert (await partition.commit(state, digest)).answer is Answer.OK


async def test_the_checks_come_in_the_order_fenced_reset_dup_conflict_full(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2")
    first = await partition.digest(count=1)
    await partition.commit(*first)
    partition.cap = 0
    other = (first[0], first[1]._replace(previous="5-5", last="5-6"))
    assert (await partition.commit(*first)).answer is Answer.DUP
    assert (await partition.commit(*other)).answer is Answer.CONFLICT
    await partition.restart_server()
    assert (await partition.commit(*first)).answer is Answer.RESET
    assert (await partition.commit(*first, token="zombie")).answer is Answer.FENCED


async def test_of_two_workers_that_digested_the_same_batch_one_commits(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2", "3")
    one, two = await partition.digest(), await partition.digest(count=2)
    answers = await asyncio.gather(partition.commit(*one), partition.commit(*two))
    assert sorted(committed.answer for committed in answers) == [Answer.CONFLICT, Answer.OK]


async def test_a_malformed_entry_is_dead_lettered_in_the_commit_that_passes_over_it(partition: PartitionUnderTest) -> None:
    await partition.append("1")
    await partition.redis.execute_command("XADD", streams.ticks(0), "*", "garbage", b"\xff\xfe")
    await partition.append("2")
    assert (await partition.analyze()).answer is Answer.OK
    ((_, dead),) = await partition.redis.xrange(streams.deadletters(0))
    assert (dead["stream"], dead["reason"]) == ("ticks", "field seq is missing")
    assert dead["payload"] == r'{"garbage":"\\xff\\xfe"}'
    assert [fields["seq"] for _, fields in await partition.redis.xrange(streams.enriched(0))] == ["1", "2"]
    (group,) = [group for group in await partition.redis.xinfo_groups(streams.ticks(0)) if group["name"] == "analyzer"]
    assert group["lag"] == 0


async def test_a_batch_of_nothing_but_garbage_moves_the_cursor(partition: PartitionUnderTest) -> None:
    await partition.redis.xadd(streams.ticks(0), {"x": "y"})
    assert (await partition.analyze()).answer is Answer.OK
    assert (await log.load(partition.redis, 0)).passed == 1


async def test_missing_groups_of_the_ticks_are_created_with_the_one_that_is_moved(partition: PartitionUnderTest) -> None:
    await partition.append("1")
    await partition.analyze()
    for group in ("analyzer", "persister"):
        await partition.redis.xgroup_destroy(streams.ticks(0), group)
    await partition.append("2")
    assert (await partition.analyze()).answer is Answer.OK
    groups = {group["name"]: group["lag"] for group in await partition.redis.xinfo_groups(streams.ticks(0))}
    assert groups == {"analyzer": 0, "persister": 2}


async def test_missing_groups_of_an_empty_stream_are_created_before_its_next_event(partition: PartitionUnderTest) -> None:
    await partition.append("1")
    await partition.analyze()
    await partition.redis.xtrim(streams.enriched(0), maxlen=0)
    await partition.redis.xgroup_destroy(streams.enriched(0), "persister")
    await partition.append("2")
    assert (await partition.analyze()).answer is Answer.OK
    assert [group["name"] for group in await partition.redis.xinfo_groups(streams.enriched(0))] == ["persister"]


WRONG = [
    streams.log(0),
    streams.ticks(0),
    streams.events(0),
    streams.lease("analyzer", 0),
    streams.prices(0, "AAPL"),
    streams.prices(0, "KO"),
    streams.sides(0),
    streams.latest(0),
    streams.deadletters(0),
    streams.enriched(0),
]


@pytest.mark.parametrize("key", WRONG)
async def test_a_key_of_a_wrong_type_is_refused_before_anything_is_written(partition: PartitionUnderTest, key: str) -> None:
    await partition.append("1", "2")
    await partition.append("7", ticker="KO")
    state, digest = await partition.digest()
    await partition.redis.set(key, "text")
    before = await partition.snapshot_of_keys()
    with pytest.raises(TransientError, match=f"WRONGTYPE {re.escape(key)} is a string"):
        await partition.commit(state, digest)
    assert await partition.snapshot_of_keys() == before


async def test_a_malformed_outcome_is_refused_whole(partition: PartitionUnderTest) -> None:
    await partition.append("1")
    state, digest = await partition.digest()
    before = await partition.snapshot_of_keys()
    for broken in (
        digest.outcome._replace(events=digest.outcome.events[:-1]),
        digest.outcome._replace(prices={"AAPL": []}),
        digest.outcome._replace(prices={"AAPL": ["1"] * 1001}),
        digest.outcome._replace(latest=["AAPL"]),
        digest.outcome._replace(sides=["AAPL", True]),  # type: ignore[list-item]  # that is the fault
    ):
        with pytest.raises(TransientError, match="bad commit"):
            await partition.commit(state, digest._replace(outcome=broken))
    assert await partition.snapshot_of_keys() == before


@pytest.mark.parametrize("hole", [(3,), ("3", "four"), ("", "4")])
async def test_a_malformed_hole_is_refused_whole(partition: PartitionUnderTest, hole: tuple[int, int]) -> None:
    await partition.append("1")
    state, digest = await partition.digest()
    before = await partition.snapshot_of_keys()
    with pytest.raises(TransientError, match=r"bad commit: .*lost seq"):
        await partition.commit(state, digest._replace(missing=(hole,)))
    assert await partition.snapshot_of_keys() == before


async def test_out_of_memory_refuses_the_commit_whole_and_trimming_still_works(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2")
    await partition.analyze()
    await partition.append("3")
    state, digest = await partition.digest()
    before = await partition.snapshot_of_keys()
    used = (await partition.redis.info("memory"))["used_memory"]
    try:
        await partition.redis.config_set("maxmemory", used // 2)
        with pytest.raises(TransientError):
            await partition.commit(state, digest)
        with pytest.raises(TransientError):
            await partition.append("4")
        await log.trim(partition.redis, 0, cap=1000, window_ms=0)
    finally:
        await partition.redis.config_set("maxmemory", 0)
    assert await partition.snapshot_of_keys() == before
    assert (await partition.commit(state, digest)).answer is Answer.OK


async def test_load_returns_windows_sides_and_cursor_of_one_moment_in_small_steps(
    partition: PartitionUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "VALUES_PER_LOAD", 6)  # two lists a call
    for n in range(5):
        await partition.append("1", "3", "2", "1", ticker=f"T{n}")
    _, digest = await partition.digest()
    await partition.analyze()
    state = await log.load(partition.redis, 0)
    assert state.prices == {f"T{n}": ["3", "2", "1"] for n in range(5)}
    assert state.sides == {f"T{n}": -1 for n in range(5)}
    assert (state.cursor, state.passed, state.seq, state.period) == (digest.last, 20, 20, 3)


async def test_snapshot_returns_the_latest_values_with_the_last_id_they_belong_to(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2")
    await partition.analyze()
    found = await log.snapshot(partition.redis, 0)
    ((last_id, _),) = await partition.redis.xrevrange(streams.enriched(0), count=1)
    assert (found.last_id, found.seq, list(found.latest)) == (last_id, 2, ["AAPL"])
    assert found.incarnation == (await log.head(partition.redis, 0)).incarnation


async def test_snapshot_of_a_partition_that_was_never_prepared_says_so(partition: PartitionUnderTest) -> None:
    with pytest.raises(Unconfigured):
        await log.snapshot(partition.redis, 1)


async def test_a_period_of_five_hundred_and_batches_of_a_thousand_fit(redis: Redis) -> None:
    partition = await set_up(redis, period=500)
    partition.cap = 10_000
    prices = [str(n) for n in range(1, 1001)]
    for _ in range(2):
        await partition.append(*prices)
        assert (await partition.analyze()).answer is Answer.OK
    expected = expect([("AAPL", price) for price in [*prices, *prices]], 500)
    assert (await log.load(redis, 0)).prices == expected.windows
    assert [fields["sma"] for _, fields in await partition.redis.xrange(streams.enriched(0))] == [judged.sma for judged in expected.judged]
