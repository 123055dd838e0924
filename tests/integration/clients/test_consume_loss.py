"""Redis goes away, loses entries or everything, or says no: the loop goes on and tells, or ends and tells what to do."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from tickstream_client.streams import CannotConsume, Consumption, Gap, Tick, consume

from services.admin.embedded import EmbeddedRedis
from services.admin.migrate import load_library
from shared import streams
from shared.redis import log
from shared.redis.client import connect
from tests.integration.clients.feed import LEASE_SECONDS, SECONDS, Feed, founded, take, until
from tests.integration.partition import set_up

USER, PASSWORD = "somebody", "geheim-4711"


@pytest.fixture
async def feed(redis: Redis) -> Feed:
    """One partition, empty."""
    return await founded(redis, 1)


@pytest.fixture
def gaps() -> list[Gap]:
    """What was told."""
    return []


@pytest.fixture
def ticks(redis_url: str, gaps: list[Gap]) -> Consumption[Tick]:
    """The group `risk` on the ticks."""
    return consume("ticks", group="risk", redis_url=redis_url, lease_seconds=LEASE_SECONDS, on_gap=gaps.append)


class Loop:
    """A loop as a task, and what its body has seen."""

    def __init__(self, ticks: Consumption[Tick]) -> None:
        self.seen: list[Tick] = []
        self._ticks = ticks

    async def __aenter__(self) -> "Loop":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        async with self._ticks as ticks:
            async for tick in ticks:
                self.seen.append(tick)

    @property
    def seqs(self) -> list[int]:
        """Of what it has seen."""
        return [tick.seq for tick in self.seen]

    async def until(self, seqs: list[int]) -> None:
        """Wait until it has seen exactly these."""

        async def has_them() -> bool:
            assert not self._task.done(), self._task.exception()
            return self.seqs == seqs

        try:
            await until(has_them)
        except TimeoutError:
            raise AssertionError(f"{self.seqs} instead of {seqs}") from None


async def test_a_flushed_redis_is_told_and_read_from_its_new_beginning(feed: Feed, ticks: Consumption[Tick], gaps: list[Gap]) -> None:
    await feed.append(3)
    before = await feed.redis.hget(streams.log(0), "incarnation")
    async with Loop(ticks) as loop:
        await loop.until([1, 2, 3])
        await feed.redis.flushdb()
        await feed.found()
        await feed.append(2)
        await loop.until([1, 2, 3, 1, 2])
    assert gaps == [Gap("reset", 0, before)]
    assert loop.seen[3].incarnation != before


async def test_a_deleted_group_is_made_again_where_the_reader_stood_and_that_is_told(
    feed: Feed, ticks: Consumption[Tick], gaps: list[Gap]
) -> None:
    await feed.append(3)
    async with Loop(ticks) as loop:
        await loop.until([1, 2, 3])
        await until(lambda: nothing_pending(feed))
        await feed.redis.xgroup_destroy(streams.ticks(0), "risk")
        await feed.append(2)
        await loop.until([1, 2, 3, 4, 5])
    assert [(gap.reason, gap.first_seq) for gap in gaps] == [("group", 4)]


async def nothing_pending(feed: Feed) -> bool:
    group = await feed.group("risk")
    return bool(group) and (group["lag"], group["pending"]) == (0, 0)


async def test_a_group_that_was_passed_by_trimming_is_told_how_many_it_lost(redis: Redis, redis_url: str, gaps: list[Gap]) -> None:
    partition = await set_up(redis)
    await partition.append("1", "2", "3")
    async with consume("ticks", group="risk", redis_url=redis_url, on_gap=gaps.append) as ticks:
        await take(ticks.batches(), 1)  # makes the group; the three are left
    async with consume("ticks", group="risk", redis_url=redis_url, on_gap=gaps.append) as ticks:
        assert [tick.seq for tick in await take(ticks, 3)] == [1, 2, 3]
    await partition.append(*map(str, range(4, 41)))
    await partition.analyze()
    await partition.redis.xgroup_setid(streams.ticks(0), "persister", "$")
    trimmed = await log.trim(redis, 0, cap=20, window_ms=0)
    assert [overrun.group for overrun in trimmed.overruns] == ["risk"]
    kept = [int(fields["seq"]) for _, fields in await partition.redis.xrange(streams.ticks(0))]
    async with consume("ticks", group="risk", redis_url=redis_url, on_gap=gaps.append) as ticks:
        assert [tick.seq for tick in await take(ticks, len(kept))] == kept
        assert [(gap.reason, gap.entries) for gap in gaps] == [("overrun", 1), ("overrun", kept[0] - 4)]
    info = next(row for row in await partition.redis.xinfo_groups(streams.ticks(0)) if row["name"] == "risk")
    assert (info["entries-read"], info["lag"]) == (40, 0), "what was lost counts as passed"


async def test_a_reader_that_is_passed_in_mid_run_tells_it_once_with_the_seqs(
    feed: Feed, ticks: Consumption[Tick], gaps: list[Gap]
) -> None:
    await feed.append(3)
    async with ticks, asyncio.timeout(SECONDS):
        seqs = []
        async for tick in ticks:
            seqs.append(tick.seq)
            if tick.seq == 3:
                await feed.append(10)
                await feed.redis.xtrim(streams.ticks(0), maxlen=4, approximate=False)
            if tick.seq == 13:
                await feed.append(10)
                await feed.redis.xtrim(streams.ticks(0), maxlen=9, approximate=False)
            if tick.seq == 23:
                break
    assert seqs == [1, 2, 3, 10, 11, 12, 13, *range(15, 24)]
    assert [(gap.reason, gap.first_seq, gap.last_seq, gap.entries) for gap in gaps] == [("overrun", 4, 9, 6), ("overrun", 14, 14, 1)]


async def test_what_everybody_has_read_may_go_without_a_word(feed: Feed, ticks: Consumption[Tick], gaps: list[Gap]) -> None:
    async with Loop(ticks) as loop:
        for each in range(3):
            await feed.append(4)
            await loop.until(list(range(1, 4 * each + 5)))
            await until(lambda: nothing_pending(feed))  # seen is not finished: what is taken again, and gone, is told
            await feed.redis.xtrim(streams.ticks(0), maxlen=each, approximate=False)
    assert gaps == []


async def test_entries_that_redis_lost_after_they_were_seen_are_told(feed: Feed, ticks: Consumption[Tick], gaps: list[Gap]) -> None:
    """As after a fail-over to a replica that lagged: the newest entries are gone, the group with them."""
    await feed.append(3)
    async with Loop(ticks) as loop:
        await loop.until([1, 2, 3])
        await until(lambda: nothing_pending(feed))
        keys = [streams.log(0), streams.ticks(0), streams.producers(0)]
        backup = {key: await feed.redis.execute_command("DUMP", key, NEVER_DECODE=True) for key in keys}
        first = await feed.redis.hget(streams.log(0), "incarnation")
        await feed.append(2)
        await loop.until([1, 2, 3, 4, 5])
        async with feed.redis.pipeline(transaction=True) as restoring:
            for key, dump in backup.items():
                restoring.restore(key, 0, dump, replace=True)
            restoring.hset(streams.log(0), "run_id", "0" * 40)
            await restoring.execute()
        feed.set_back(2)
        await feed.append(4)
        await loop.until([1, 2, 3, 4, 5, 4, 5, 6, 7])
    assert gaps == [Gap("rewind", 0, first, 4, 5)]
    assert [tick.incarnation == first for tick in loop.seen] == [True] * 5 + [False] * 4


async def test_an_entry_keeps_the_name_of_the_life_in_which_it_was_written(feed: Feed, ticks: Consumption[Tick]) -> None:
    await feed.append(2)
    first = await feed.redis.hget(streams.log(0), "incarnation")
    await feed.redis.hset(streams.log(0), "run_id", "0" * 40)  # as the functions see a restart
    await feed.append(2)
    second = await feed.redis.hget(streams.log(0), "incarnation")
    async with ticks:
        batches = await take(ticks.batches(), 2)
    assert [(batch.incarnation, [tick.seq for tick in batch.events]) for batch in batches] == [(first, [1, 2]), (second, [3, 4])]
    assert {tick.incarnation for tick in batches[1].events} == {second} != {first}


@pytest.fixture
async def own(redis_server: EmbeddedRedis) -> AsyncIterator[Feed]:
    """A deployment on a Redis that may be killed."""
    async with connect(redis_server.url, service="tests") as client:
        yield await founded(client, 1)


async def test_a_redis_that_is_away_for_a_while_is_waited_for(own: Feed, redis_server: EmbeddedRedis, gaps: list[Gap]) -> None:
    await own.append(3)
    ticks = consume("ticks", group="risk", redis_url=redis_server.url, lease_seconds=LEASE_SECONDS, on_gap=gaps.append)
    async with Loop(ticks) as loop:
        await loop.until([1, 2, 3])
        await until(lambda: nothing_pending(own))
        await asyncio.to_thread(redis_server.stop)
        await asyncio.to_thread(redis_server.start)
        await load_library(own.redis)
        await own.append(2)
        await loop.until([1, 2, 3, 4, 5])
    assert gaps == []


async def test_a_wrong_password_ends_the_loop_and_is_not_shown(feed: Feed, redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    ticks = consume("ticks", group="risk", redis_url=redis_url.replace("://", f"://{USER}:{PASSWORD}@"))
    with pytest.raises(CannotConsume, match="user or the password") as raised:
        await take(ticks, 1)
    assert PASSWORD not in f"{raised.getrepr(chain=True, showlocals=False)} {ticks!r} {caplog.text}"


async def test_a_user_that_lacks_a_right_is_told_which(feed: Feed, redis_url: str) -> None:
    await feed.append(1)
    await feed.redis.acl_setuser(USER, enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], categories=["+@all"], commands=["-xreadgroup"])
    try:
        with pytest.raises(CannotConsume, match="xreadgroup"):
            await take(consume("ticks", group="risk", redis_url=redis_url.replace("://", f"://{USER}:{PASSWORD}@")), 1)
    finally:
        await feed.redis.acl_deluser(USER)


@pytest.mark.parametrize("url", ["http://x", "localhost:6379", f"redis://u:{PASSWORD}/x@host:1", "redis://"])
def test_a_bad_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match="redis_url must be") as raised:
        consume("ticks", group="risk", redis_url=url)
    assert PASSWORD not in str(raised.value)


async def test_a_single_redis_is_no_cluster(feed: Feed, redis_url: str) -> None:
    with pytest.raises(CannotConsume, match="redis_cluster"):
        await take(consume("ticks", group="risk", redis_url=redis_url, redis_cluster=True), 1)


async def test_before_anything_is_set_up_it_waits(redis: Any, redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    ticks = consume("ticks", group="risk", redis_url=redis_url, lease_seconds=LEASE_SECONDS)
    async with Loop(ticks) as loop:

        async def has_said_so() -> bool:
            return "no pipeline was set up" in caplog.text

        await until(has_said_so)
        feed = await founded(redis, 1)
        await feed.append(2)
        await loop.until([1, 2])


async def test_the_rights_that_the_page_names_are_enough(redis: Redis, redis_url: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "streams.md").read_text(encoding="utf-8")
    rights = re.findall(r"^    (ACL SETUSER .+(?:\n        .+)*)", page, re.MULTILINE)[0].replace("PASSWORD", PASSWORD).split()
    partition = await set_up(redis)
    await partition.append("1", "2", "3")
    await partition.analyze()
    await redis.execute_command("ACL", "LOG", "RESET")
    await redis.execute_command(*rights)
    try:
        async with consume("enriched", group="risk", redis_url=redis_url.replace("://", f"://risk:{PASSWORD}@")) as enriched:
            await take(enriched, 2)
        async with consume("enriched", group="risk", redis_url=redis_url.replace("://", f"://risk:{PASSWORD}@")) as enriched:
            assert [event.seq for event in await take(enriched, 2)] == [2, 3]
        refused = [entry["reason"] for entry in await partition.redis.acl_log()]
        assert refused == []
    finally:
        await redis.execute_command("ACL", "DELUSER", "risk")
        await redis.execute_command("ACL", "LOG", "RESET")
