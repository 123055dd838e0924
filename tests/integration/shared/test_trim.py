"""Trimming: what nobody needs goes, what a required group has not read never does, and a stranger cannot freeze the feed."""

import json
import random
import time
from typing import Any

import pytest
from redis.asyncio import Redis

from services.admin.migrate import load_library, migrate_redis
from shared import streams
from shared.errors import TransientError
from shared.redis import log
from shared.redis.log import Answer, Unconfigured
from tests.integration.partition import PERIOD, PartitionUnderTest, set_up

BOTH = pytest.mark.parametrize("stream", ["ticks", "enriched"])
HOUR_MS = 3_600_000


class Streams:
    """The streams of partition 0, filled through the real functions, and their readers."""

    def __init__(self, partition: PartitionUnderTest) -> None:
        self.partition = partition
        self.redis: Any = partition.redis

    async def fill(self, count: int) -> list[str]:
        """Append and commit so many ticks, in batches of at most 1 000; return the prices of all."""
        self.partition.cap = 10**6
        before = await self.redis.xlen(streams.ticks(0))
        prices = [str(price) for price in range(before + 1, before + count + 1)]
        for start in range(0, count, 1000):
            await self.partition.append(*prices[start : start + 1000])
            await self.partition.analyze()
        return prices

    async def ids(self, stream: str) -> list[str]:
        return [entry_id for entry_id, _ in await self.redis.xrange(streams.stream(stream, 0))]

    async def seqs(self, stream: str) -> list[int]:
        return [int(fields["seq"]) for _, fields in await self.redis.xrange(streams.stream(stream, 0))]

    async def persist(self, seq: int, *names: str) -> None:
        """Move the persister's group of both streams (or of those named) to the entry of that seq."""
        for stream in names or ("ticks", "enriched"):
            ((entry_id, _),) = (await self.redis.xrange(streams.stream(stream, 0), count=seq))[-1:]
            incarnation = (await log.head(self.redis, 0)).incarnation
            await log.mirror(self.redis, 0, stream=stream, group="persister", incarnation=incarnation, entry_id=entry_id, passed=seq)

    async def stand_by(self, stream: str, group: str, *, read: int, acknowledge: int = 0) -> None:
        """A foreign group that read so many entries and acknowledged the first of them."""
        key = streams.stream(stream, 0)
        await self.redis.xgroup_create(key, group, id="0", mkstream=True)
        if read:
            ((_, (entries,)),) = (await self.redis.xreadgroup(group, "me", {key: ">"}, count=read)).items()
            for entry_id, _ in entries[:acknowledge]:
                await self.redis.xack(key, group, entry_id)

    async def trim(self, cap: int = 10**6, window_ms: int = 0) -> tuple[int, int, bool]:
        return (await log.trim(self.redis, 0, cap=cap, window_ms=window_ms))[:3]

    async def events(self) -> list[dict[str, str]]:
        return [fields for _, fields in await self.redis.xrange(streams.events(0))]


@pytest.fixture
def full(partition: PartitionUnderTest) -> Streams:
    """The streams of a deployment with a persister."""
    return Streams(partition)


async def test_empty_streams_are_trimmed_of_nothing(full: Streams) -> None:
    assert await full.trim() == (0, 0, False)
    assert await full.redis.exists(streams.events(0)) == 0


async def test_what_every_group_has_read_goes_but_the_last_entry_read(full: Streams) -> None:
    """The commit asks whether its last entry is there: the one at the cursor stays."""
    await full.fill(6)
    await full.persist(6)
    assert await full.trim() == (5, 5, False)
    assert (await full.seqs("ticks"), await full.seqs("enriched")) == ([6], [6])


async def test_what_the_analyzer_has_not_read_stays_at_any_length(full: Streams) -> None:
    await full.fill(3)
    await full.partition.append("4", "5", "6", "7")
    await full.redis.xgroup_setid(streams.ticks(0), "persister", "$")
    await full.trim(cap=5)
    assert await full.seqs("ticks") == [3, 4, 5, 6, 7]


async def test_the_cursor_is_not_passed_even_if_somebody_moved_the_analyzers_group(full: Streams) -> None:
    await full.fill(3)
    await full.partition.append("4", "5")
    for group in ("analyzer", "persister"):
        await full.redis.xgroup_setid(streams.ticks(0), group, "$")
    await full.trim(cap=4)
    assert await full.seqs("ticks") == [3, 4, 5]


@BOTH
async def test_what_the_persister_has_not_read_stays_at_any_length(full: Streams, stream: str) -> None:
    await full.fill(20)
    await full.persist(20)
    await full.redis.xgroup_setid(streams.stream(stream, 0), "persister", (await full.ids(stream))[4])
    await full.trim(cap=10)
    assert await full.seqs(stream) == list(range(5, 21))
    assert await full.events() == []


@BOTH
async def test_what_is_pending_in_a_required_group_stays_at_any_length(full: Streams, stream: str) -> None:
    """Nobody should read with the persister's group; if somebody did, what he has not acknowledged was not stored."""
    await full.fill(20)
    key = streams.stream(stream, 0)
    await full.redis.xreadgroup("persister", "somebody", {key: ">"}, count=10)
    await full.redis.xack(key, "persister", *(await full.ids(stream))[:3])
    await full.trim(cap=10)
    assert await full.seqs(stream) == list(range(4, 21))


@BOTH
async def test_what_is_pending_in_a_foreign_group_stays(full: Streams, stream: str) -> None:
    await full.fill(10)
    await full.persist(10)
    await full.stand_by(stream, "mine", read=8, acknowledge=3)
    await full.trim()
    assert await full.seqs(stream) == list(range(4, 11))


@BOTH
async def test_what_a_foreign_group_has_not_read_stays(full: Streams, stream: str) -> None:
    await full.fill(10)
    await full.persist(10)
    await full.stand_by(stream, "mine", read=4, acknowledge=4)
    await full.stand_by(stream, "quick", read=9, acknowledge=9)
    await full.trim()
    assert await full.seqs(stream) == list(range(4, 11))


async def test_the_replay_window_is_kept_although_all_have_read_it(full: Streams) -> None:
    key, now_ms = streams.enriched(0), time.time_ns() // 1_000_000
    for age_ms in (2 * HOUR_MS, HOUR_MS + 60_000, HOUR_MS - 60_000, 1000):
        await full.redis.xadd(key, {"seq": age_ms}, id=f"{now_ms - age_ms}-0")
    await full.redis.xgroup_create(key, "persister", id="$")
    assert await full.trim(window_ms=HOUR_MS) == (0, 2, False)
    assert await full.seqs("enriched") == [HOUR_MS - 60_000, 1000]


@BOTH
async def test_from_eighty_percent_of_the_cap_on_the_window_gives_way_down_to_fifty(full: Streams, stream: str) -> None:
    await full.fill(15)
    await full.persist(15)
    assert await full.trim(cap=20, window_ms=HOUR_MS) == (0, 0, False)
    await full.fill(1)
    await full.persist(16)
    await full.trim(cap=20, window_ms=HOUR_MS)
    assert await full.seqs(stream) == list(range(7, 17))


@BOTH
async def test_the_window_gives_way_only_as_far_as_groups_allow(full: Streams, stream: str) -> None:
    await full.fill(16)
    await full.persist(16)
    await full.stand_by(stream, "mine", read=4, acknowledge=4)
    await full.trim(cap=20, window_ms=HOUR_MS)
    assert await full.seqs(stream) == list(range(4, 17))


@pytest.mark.parametrize(("stream", "group"), [("ticks", "analyzer"), ("ticks", "persister"), ("enriched", "persister")])
async def test_a_missing_required_group_is_created_at_the_beginning_and_nothing_is_trimmed(full: Streams, stream: str, group: str) -> None:
    await full.fill(20)
    await full.persist(20)
    await full.redis.xgroup_destroy(streams.stream(stream, 0), group)
    for _ in range(2):
        await full.trim(cap=10)
        found = {row["name"]: row for row in await full.redis.xinfo_groups(streams.stream(stream, 0))}
        assert (found[group]["last-delivered-id"], found[group]["lag"]) == ("0-0", 20)
        assert len(await full.ids(stream)) == 20


@BOTH
async def test_a_foreign_group_is_not_passed_below_ninety_five_percent(full: Streams, stream: str) -> None:
    await full.fill(37)
    await full.persist(37)
    await full.stand_by(stream, "forgotten", read=1, acknowledge=1)
    await full.trim(cap=40)
    assert await full.seqs(stream) == list(range(1, 38))
    assert await full.events() == []


@BOTH
async def test_a_foreign_group_is_passed_at_ninety_five_percent_down_to_ninety_with_an_event_that_names_it(
    full: Streams, stream: str
) -> None:
    await full.fill(39)
    await full.persist(39)
    await full.stand_by(stream, "slow", read=2, acknowledge=1)
    await full.stand_by(stream, "forgotten", read=1, acknowledge=1)
    ids = await full.ids(stream)
    await full.trim(cap=40, window_ms=HOUR_MS)
    assert await full.seqs(stream) == list(range(4, 40))
    (event,) = await full.events()
    assert (event["kind"], event["stream"], event["seq"]) == ("overrun", stream, "1")
    assert event["incarnation"] == (await log.head(full.redis, 0)).incarnation
    assert json.loads(event["detail"]) == {"group": "forgotten", "group_at": ids[0], "first_kept": ids[3], "entries": 3}
    assert abs(int(event["ts"]) - time.time_ns() // 1_000_000) < 60_000


@BOTH
async def test_a_foreign_group_is_passed_only_as_far_as_the_required_ones_allow(full: Streams, stream: str) -> None:
    await full.fill(40)
    await full.persist(2)
    await full.stand_by(stream, "forgotten", read=0)
    await full.trim(cap=40)
    assert await full.seqs(stream) == list(range(2, 41))
    (event,) = await full.events()
    assert json.loads(event["detail"])["group"] == "forgotten"


@BOTH
async def test_a_group_that_is_passed_with_entries_pending_does_not_freeze_the_stream_either(full: Streams, stream: str) -> None:
    await full.fill(40)
    await full.persist(40)
    await full.stand_by(stream, "forgotten", read=40, acknowledge=0)
    for _ in range(3):
        await full.trim(cap=40)
        await full.fill(4)
        await full.persist(len(await full.ids(stream)), stream)
    assert len(await full.ids(stream)) == 40


async def test_a_stream_that_only_the_persister_holds_back_stays_full_and_reports_nothing(full: Streams) -> None:
    await full.fill(40)
    await full.trim(cap=20)
    assert len(await full.ids("ticks")) == len(await full.ids("enriched")) == 40
    assert await full.events() == []


async def test_long_streams_are_trimmed_in_steps_until_there_is_no_more_to_do(full: Streams) -> None:
    await full.fill(4000)
    await full.persist(4000)
    steps = [await full.trim(cap=4000, window_ms=HOUR_MS)]
    while steps[-1][2]:
        steps.append(await full.trim(cap=4000, window_ms=HOUR_MS))
    assert max(max(step[:2]) for step in steps) <= 1000
    assert len(steps) <= 4
    assert await full.seqs("ticks") == await full.seqs("enriched") == list(range(2001, 4001))


@BOTH
async def test_a_group_in_the_midst_of_a_node_keeps_what_it_has_not_read_of_it(full: Streams, stream: str) -> None:
    await full.fill(1000)
    await full.persist(1000)
    await full.stand_by(stream, "mine", read=455, acknowledge=455)
    while (await full.trim(cap=1000, window_ms=HOUR_MS))[2]:
        pass
    assert await full.seqs(stream) == list(range(455, 1001))


async def test_an_overrun_of_a_long_stream_is_done_in_steps_too(full: Streams) -> None:
    await full.fill(12_000)
    for stream in ("ticks", "enriched"):
        await full.redis.xgroup_setid(streams.stream(stream, 0), "persister", "$")
    await full.stand_by("ticks", "forgotten", read=0)
    steps = [await full.trim(cap=12_000, window_ms=HOUR_MS)]
    while steps[-1][2]:
        steps.append(await full.trim(cap=12_000, window_ms=HOUR_MS))
    assert max(step[0] for step in steps) <= 1000
    assert await full.redis.xlen(streams.ticks(0)) == 10_800
    assert sum(json.loads(event["detail"])["entries"] for event in await full.events()) == 1200


async def test_a_deployment_without_a_persister_never_gets_stuck(redis: Redis) -> None:
    await load_library(redis)
    await migrate_redis(redis, 1, PERIOD, with_persister=False)
    partition = await set_up(redis)
    partition.cap = 10
    for price in range(1, 41):
        assert (await partition.append(str(price))).answer is Answer.OK
        assert (await partition.analyze()).answer is Answer.OK
        await log.trim(redis, 0, cap=10, window_ms=HOUR_MS)
    assert 5 <= await redis.xlen(streams.ticks(0)) < 10
    assert 5 <= await redis.xlen(streams.enriched(0)) < 10


async def test_a_group_that_a_persister_left_behind_is_a_foreign_one_in_a_deployment_without(full: Streams) -> None:
    await full.fill(40)
    await migrate_redis(full.redis, 1, PERIOD, with_persister=False)
    await full.trim(cap=40, window_ms=HOUR_MS)
    assert (await full.redis.xlen(streams.ticks(0)), await full.redis.xlen(streams.enriched(0))) == (36, 36)
    assert [json.loads(event["detail"])["group"] for event in await full.events()] == ["persister", "persister"]


@pytest.mark.parametrize("cap", [2, 3])
async def test_the_smallest_caps_do_not_wedge_a_partition(full: Streams, cap: int) -> None:
    full.partition.cap = cap
    for price in range(1, 12):
        assert (await full.partition.append(str(price))).answer is Answer.OK
        assert (await full.partition.analyze()).answer is Answer.OK
        await full.persist(await full.redis.xlen(streams.ticks(0)), "ticks")
        await full.persist(await full.redis.xlen(streams.enriched(0)), "enriched")
        await full.trim(cap=cap, window_ms=HOUR_MS)


async def test_after_trimming_the_analyzer_goes_on_where_it_was(full: Streams) -> None:
    await full.fill(5)
    await full.persist(5)
    await full.trim()
    full.partition.cap = 100
    await full.partition.append("6", "7")
    assert (await full.partition.analyze()).answer is Answer.OK
    assert (await log.load(full.redis, 0)).prices == {"AAPL": ["5", "6", "7"]}
    (group,) = [row for row in await full.redis.xinfo_groups(streams.ticks(0)) if row["name"] == "analyzer"]
    assert (group["entries-read"], group["lag"]) == (7, 0)


async def test_whatever_groups_there_are_nothing_goes_that_one_of_them_needs(full: Streams) -> None:
    """Below 95 % no group is passed at all, above it only foreign ones; every random case is printed to be repeated."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    key = streams.ticks(0)
    await full.fill(60)
    for _ in range(20):
        ids = await full.ids("ticks")
        cap = chance.choice([60, 62, 70, 76, 200])
        is_over = len(ids) >= 0.95 * cap
        persisted = chance.choice([ids[0], *ids])
        await full.redis.xgroup_setid(key, "persister", persisted)
        await full.redis.execute_command("XGROUP", "DESTROY", key, "foreign")
        await full.stand_by("ticks", "foreign", read=(read := chance.randrange(len(ids) + 1)), acknowledge=chance.randrange(read + 1))
        pending = await full.redis.xpending_range(key, "foreign", "-", "+", 100)
        unread = set(ids[read:]) | {row["message_id"] for row in pending}
        await full.trim(cap=cap, window_ms=chance.choice([0, HOUR_MS]))
        left = await full.ids("ticks")
        assert set(ids[ids.index(persisted) :]) <= set(left)
        assert is_over or unread <= set(left)
        await full.fill(60 - len(left))


async def test_a_wrong_type_or_a_bad_argument_is_refused_whole(full: Streams) -> None:
    await full.fill(10)
    await full.persist(10)
    before = await full.partition.snapshot_of_keys()
    with pytest.raises(TransientError, match="bad trim"):
        await full.trim(cap=-1)
    await full.redis.set(streams.events(0), "text")
    with pytest.raises(TransientError, match="WRONGTYPE"):
        await full.trim(cap=5)
    await full.redis.delete(streams.events(0))
    assert await full.partition.snapshot_of_keys() == before


async def test_a_partition_whose_head_is_gone_is_not_trimmed(full: Streams) -> None:
    await full.fill(10)
    await full.redis.delete(streams.log(0))
    with pytest.raises(Unconfigured):
        await full.trim(cap=5)
    assert len(await full.ids("ticks")) == 10
