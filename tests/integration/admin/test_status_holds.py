"""`tickstream status` names who keeps a stream from being trimmed, by how much, and since when."""

import io

import pytest
from rich.console import Console

from services.admin.status import Partition, describe, total
from services.admin.status_table import print_status
from shared import streams
from shared.pipeline import Hold
from shared.redis import log
from shared.redis.pipeline import read_partition
from tests.integration.partition import PartitionUnderTest


async def hold_of(partition: PartitionUnderTest, stream: str) -> Hold | None:
    return describe(await read_partition(partition.redis, 0)).held_by[stream]


async def test_nobody_holds_what_all_have_read(partition: PartitionUnderTest) -> None:
    assert await hold_of(partition, "ticks") is None
    await partition.append("1", "2")
    await partition.redis.xgroup_setid(streams.ticks(0), "persister", "$", entries_read=2)
    await partition.analyze()
    assert await hold_of(partition, "ticks") is None


@pytest.mark.parametrize("stream", ["ticks", "enriched"])
async def test_the_group_that_stands_lowest_is_named_with_what_it_has_yet_to_read(partition: PartitionUnderTest, stream: str) -> None:
    await partition.append("1", "2", "3")
    await partition.analyze()
    hold = await hold_of(partition, stream)
    assert hold is not None
    assert (hold.group, hold.entries, hold.is_required) == ("persister", 3, True)
    ((first, _), *_) = await partition.redis.xrange(streams.stream(stream, 0))
    seconds, microseconds = await partition.redis.time()
    waited = seconds + microseconds / 1e6 - int(first.partition("-")[0]) / 1000
    assert 0 <= hold.waiting_seconds <= waited + 0.001


async def test_what_a_foreign_group_has_pending_counts_and_it_is_said_not_to_be_required(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2", "3")
    key = streams.ticks(0)
    await partition.redis.xgroup_setid(key, "persister", "$", entries_read=3)
    await partition.analyze()
    await partition.redis.xgroup_create(key, "mine", id="0")
    await partition.redis.xreadgroup("mine", "me", {key: ">"}, count=2)
    hold = await hold_of(partition, "ticks")
    assert hold is not None
    assert (hold.group, hold.entries, hold.is_required) == ("mine", 3, False)


async def test_trim_and_status_name_the_same_group(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2", "3", "4")
    await partition.analyze()
    await partition.redis.xgroup_create(streams.enriched(0), "a-group", id="0")
    ((second, _),) = (await partition.redis.xrange(streams.enriched(0), count=2))[1:]
    incarnation = (await log.head(partition.redis, 0)).incarnation
    await log.mirror(partition.redis, 0, stream="enriched", group="persister", incarnation=incarnation, entry_id=second, passed=2)
    trimmed = await log.trim(partition.redis, 0, cap=100, window_ms=0)
    assert trimmed.holds["enriched"] == log.Hold(4, 4, "a-group", "0-0")
    assert trimmed.holds["ticks"] == log.Hold(4, 4, "persister", "0-0")
    await partition.redis.xgroup_destroy(streams.enriched(0), "a-group")
    trimmed = await log.trim(partition.redis, 0, cap=100, window_ms=0)
    assert trimmed.holds["enriched"] == log.Hold(3, 2, "persister", second)
    hold = await hold_of(partition, "enriched")
    assert hold is not None
    assert (hold.group, hold.entries) == ("persister", 2)


def state(p: int, held_by: dict[str, Hold | None]) -> Partition:
    holders = dict.fromkeys(("fetcher", "analyzer", "persister"), "a-rather-long-host:123456")
    return Partition(p, 100_000, 100_000, 100_000, 100_000, 100_000, 86_400.5, 100_000, holders, {}, held_by)


def printed(*partitions: Partition) -> str:
    console = Console(file=io.StringIO(), width=80)
    print_status(partitions, total(partitions), console)
    text = console.file
    assert isinstance(text, io.StringIO)
    return text.getvalue()


def test_the_tables_fit_80_columns_and_name_the_group_in_one_line() -> None:
    page = printed(
        state(0, {"ticks": Hold("somebody-elses-group", 99_999, 360_000.5, False), "enriched": Hold("persister", None, 0.2, True)})
    )
    assert max(map(len, page.splitlines())) <= 80
    (foreign,) = [line for line in page.splitlines() if "somebody-elses-group" in line]
    assert foreign.split() == ["0", "ticks", "somebody-elses-group", "(not", "required)", "99999", "360000.5", "s"]
    assert ["0", "enriched", "persister", "?", "0.2", "s"] in [line.split() for line in page.splitlines()]


def test_a_deployment_where_nobody_holds_anything_says_so() -> None:
    assert "every group has read everything" in printed(state(0, {"ticks": None, "enriched": None}))
