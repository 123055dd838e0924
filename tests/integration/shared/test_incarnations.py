"""A Redis that restarts begins a new incarnation, and every reader can tell whether it lost something."""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from services.admin.embedded import EmbeddedRedis
from shared import streams
from shared.errors import TransientError
from shared.incarnations import Head, Resolution, label, resolve
from shared.redis import log
from shared.redis.client import connect
from shared.redis.log import Answer, Unconfigured
from shared.testing.entries import mapping
from shared.testing.oracle import expect
from tests.integration.partition import PartitionUnderTest, set_up

Act = Callable[[PartitionUnderTest], Awaitable[object]]


async def append(partition: PartitionUnderTest) -> None:
    await partition.append("9")


async def append_again(partition: PartitionUnderTest) -> None:
    await partition.append("1", first=1)


async def load(partition: PartitionUnderTest) -> None:
    await log.load(partition.redis, 0)


async def trim(partition: PartitionUnderTest) -> None:
    await log.trim(partition.redis, 0, cap=1000, window_ms=10**9)


async def take(partition: PartitionUnderTest) -> None:
    await partition.take("persister", "p")


async def mirror(partition: PartitionUnderTest) -> None:
    await log.mirror(partition.redis, 0, stream="ticks", group="persister", incarnation="1-old", entry_id="1-1", passed=1)


@pytest.mark.parametrize("act", [append, append_again, load, trim, take, mirror])
async def test_the_first_call_after_a_restart_records_what_survived_of_each_stream(partition: PartitionUnderTest, act: Act) -> None:
    await partition.append("1", "2", "3")
    await partition.analyze()
    await partition.append("4")
    old = await log.head(partition.redis, 0)
    ticks, enriched = [await partition.redis.xinfo_stream(key) for key in (streams.ticks(0), streams.enriched(0))]
    await partition.restart_server()
    await act(partition)
    new = await log.head(partition.redis, 0)
    (ended,) = new.lineage
    assert (ended.incarnation, new.incarnation != old.incarnation) == (old.incarnation, True)
    assert (ended.ticks.seq, ended.ticks.id, ended.ticks.added) == (4, ticks["last-generated-id"], 4)
    assert (ended.enriched.seq, ended.enriched.id, ended.enriched.added) == (3, enriched["last-generated-id"], 3)
    assert (ended.events.seq, ended.events.id, ended.events.added) == (0, "0-0", 0)


async def test_a_commit_of_before_the_restart_is_answered_reset_and_begins_the_new_one(partition: PartitionUnderTest) -> None:
    await partition.append("1")
    found = await partition.digest()
    await partition.restart_server()
    assert (await partition.commit(*found)).answer is Answer.RESET
    assert len((await log.head(partition.redis, 0)).lineage) == 1


async def test_an_incarnation_is_the_time_in_microseconds_and_the_first_of_the_run_id(partition: PartitionUnderTest) -> None:
    incarnation = (await log.head(partition.redis, 0)).incarnation
    microseconds, _, run = incarnation.partition("-")
    seconds, rest = await partition.redis.time()
    assert 0 <= seconds * 1_000_000 + rest - int(microseconds) < 60_000_000
    assert (await partition.redis.info("server"))["run_id"].startswith(run)
    assert len(run) == 8


async def test_without_a_restart_it_stays_the_same(partition: PartitionUnderTest) -> None:
    before = await log.head(partition.redis, 0)
    await partition.append("1")
    await partition.analyze()
    after = await log.head(partition.redis, 0)
    assert (after.incarnation, after.lineage) == (before.incarnation, ())


async def test_the_last_sixty_four_are_listed(partition: PartitionUnderTest) -> None:
    names = []
    for number in range(70):
        names.append((await log.head(partition.redis, 0)).incarnation)
        await partition.restart_server()
        await partition.append(str(number + 1))
    head = await log.head(partition.redis, 0)
    assert [ended.incarnation for ended in head.lineage] == names[-64:]
    assert [ended.ticks.seq for ended in head.lineage] == list(range(6, 70))


async def test_until_something_is_written_readers_see_the_old_one(partition: PartitionUnderTest) -> None:
    """Reading has no side effect; that is safe, since without a write there is nothing new to confuse with the old."""
    await partition.append("1")
    old = (await log.head(partition.redis, 0)).incarnation
    await partition.restart_server()
    assert (await log.snapshot(partition.redis, 0)).incarnation == old
    assert (await log.read(partition.redis, "ticks", 0, "0-0", count=10, block_ms=0)).incarnation == old
    await partition.append("2")
    assert (await log.snapshot(partition.redis, 0)).incarnation != old
    assert (await log.read(partition.redis, "ticks", 0, "0-0", count=10, block_ms=0)).incarnation != old


class Crashing:
    """A partition on a Redis that may be killed, restored, and started again."""

    def __init__(self, server: EmbeddedRedis, redis: Redis, partition: PartitionUnderTest) -> None:
        self.server = server
        self.redis = redis
        self.partition = partition
        (self.directory,) = server.data_dir.glob("*/appendonlydir")

    async def restart(self, change: Callable[[Path], object] = lambda directory: None) -> None:
        """Kill -9, change the append-only file meanwhile, start."""
        await asyncio.to_thread(self.server.kill)
        change(self.directory)
        await asyncio.to_thread(self.server.start)

    def save(self, backup: Path) -> Path:
        """A backup, as a lagging replica has one."""
        shutil.copytree(self.directory, backup)
        return backup

    async def labels(self, stream: str) -> dict[str, tuple[str, int]]:
        """Entry id to (label, seq) of every entry, as a reader names them now."""
        head = await log.head(self.redis, 0)
        found = await log.read(self.redis, stream, 0, "0-0", count=10_000, block_ms=0)
        return {entry_id: (label(stream, seq, head), seq) for entry_id, entry in found.entries if (seq := int(mapping(entry)["seq"]))}

    async def position(self, stream: str) -> tuple[str, int]:
        """Where a reader stands that has read everything."""
        return list((await self.labels(stream)).values())[-1]

    async def resolve(self, stream: str, position: tuple[str, int]) -> Resolution:
        return resolve(stream, *position, await log.head(self.redis, 0))


@pytest.fixture
async def crashing(redis_server: EmbeddedRedis) -> AsyncIterator[Crashing]:
    """Partition 0 of a fresh deployment, on a server of its own."""
    async with connect(redis_server.url, service="tests") as redis:
        yield Crashing(redis_server, redis, await set_up(redis))


async def test_after_a_kill_of_redis_nothing_is_lost_and_every_entry_keeps_its_name(crashing: Crashing) -> None:
    partition = crashing.partition
    await partition.append("1", "2", "3")
    await partition.analyze()
    before = {stream: await crashing.labels(stream) for stream in ("ticks", "enriched")}
    old = await log.head(crashing.redis, 0)
    await crashing.restart()
    assert (await partition.append("4")).seq == 4
    await partition.analyze()
    new = await log.head(crashing.redis, 0)
    assert [ended.incarnation for ended in new.lineage] == [old.incarnation]
    for stream, labels in before.items():
        after = await crashing.labels(stream)
        assert labels.items() <= after.items()
        assert list(after.values())[-1] == (new.incarnation, 4)
        assert await crashing.resolve(stream, list(labels.values())[-1]) is Resolution.CONTINUE
    assert (await log.load(crashing.redis, 0)).prices == {"AAPL": ["2", "3", "4"]}


async def test_a_lease_survives_a_kill_of_redis(crashing: Crashing) -> None:
    await crashing.restart()
    assert (await crashing.partition.append("1", token="f")).answer is Answer.OK
    assert (await crashing.partition.append("1", token="x", producer="x")).answer is Answer.FENCED


async def test_after_falling_back_to_a_lagging_copy_readers_beyond_it_rewind_and_no_name_is_given_twice(
    crashing: Crashing, tmp_path: Path
) -> None:
    partition = crashing.partition
    await partition.append("1", "2", "3")
    await partition.analyze()
    early = {stream: await crashing.position(stream) for stream in ("ticks", "enriched")}
    backup = crashing.save(tmp_path / "backup")
    await partition.append("4", "5")
    await partition.analyze()
    late = {stream: await crashing.position(stream) for stream in ("ticks", "enriched")}
    lost = {stream: await crashing.labels(stream) for stream in ("ticks", "enriched")}

    def fall_back(directory: Path) -> None:
        shutil.rmtree(directory)
        shutil.copytree(backup, directory)

    await crashing.restart(fall_back)
    partition.number = 3
    assert (await partition.append("40", "50")).seq == 5
    await partition.analyze()
    for stream in ("ticks", "enriched"):
        assert await crashing.resolve(stream, early[stream]) is Resolution.CONTINUE
        assert await crashing.resolve(stream, late[stream]) is Resolution.REWIND
        names = await crashing.labels(stream)
        assert [seq for _, seq in names.values()] == [1, 2, 3, 4, 5]
        assert list(names.values())[:3] == list(lost[stream].values())[:3]
        assert not set(list(names.values())[3:]) & set(lost[stream].values())


async def test_a_life_that_is_wholly_lost_is_not_known_any_more(crashing: Crashing, tmp_path: Path) -> None:
    await crashing.partition.append("1")
    backup = crashing.save(tmp_path / "backup")
    await crashing.restart()
    await crashing.partition.append("2")
    position = await crashing.position("ticks")

    def fall_back(directory: Path) -> None:
        shutil.rmtree(directory)
        shutil.copytree(backup, directory)

    await crashing.restart(fall_back)
    crashing.partition.number = 1
    await crashing.partition.append("3")
    assert await crashing.resolve("ticks", position) is Resolution.RESET


async def test_when_the_end_of_the_append_only_file_is_cut_a_consistent_prefix_is_left(crashing: Crashing) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    partition = crashing.partition
    for _ in range(3):
        for _ in range(4):
            await partition.append(*(str(chance.randrange(1, 9)) for _ in range(3)))
            await partition.analyze()
        position = await crashing.position("enriched")
        await crashing.restart(lambda directory: cut(directory, chance.randrange(1, 3000)))
        await take(partition)
        head = await log.head(crashing.redis, 0)
        kept = head.lineage[-1].enriched.seq
        assert await crashing.resolve("enriched", position) is (Resolution.CONTINUE if position[1] <= kept else Resolution.REWIND)
        await assert_enriched_is_of_a_prefix_of_ticks(crashing, head)
        partition.number = (await log.producer_numbers(crashing.redis, 1, "f"))[0]


def cut(directory: Path, count: int) -> None:
    (path,) = directory.glob("*.incr.aof")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - count)


async def assert_enriched_is_of_a_prefix_of_ticks(crashing: Crashing, head: Head) -> None:
    ticks = [mapping(entry) for _, entry in (await log.read(crashing.redis, "ticks", 0, "0-0", count=1000, block_ms=0)).entries]
    enriched = [mapping(entry) for _, entry in (await log.read(crashing.redis, "enriched", 0, "0-0", count=1000, block_ms=0)).entries]
    state = await log.load(crashing.redis, 0)
    assert [int(fields["seq"]) for fields in ticks] == list(range(1, head.last_seq["ticks"] + 1))
    assert len(enriched) == head.last_seq["enriched"] == state.seq == state.passed
    expected = expect([(fields["ticker"], fields["price"]) for fields in ticks[: len(enriched)]], 3)
    assert [(fields["sma"], fields["alert"]) for fields in enriched] == [(judged.sma, judged.alert) for judged in expected.judged]
    assert (state.prices, state.sides) == (expected.windows, expected.sides)


async def test_after_everything_was_flushed_a_partition_must_be_prepared_and_knows_no_old_position(crashing: Crashing) -> None:
    await crashing.partition.append("1", "2")
    position = await crashing.position("ticks")
    await crashing.redis.flushall()
    with pytest.raises(Unconfigured):
        await crashing.partition.append("3")
    with pytest.raises(Unconfigured):
        await log.head(crashing.redis, 0)
    assert (await log.read(crashing.redis, "ticks", 0, "0-0", count=1, block_ms=0)).incarnation is None
    partition = await set_up(crashing.redis)
    assert (await partition.append("3")).seq == 1
    assert await crashing.resolve("ticks", position) is Resolution.RESET
    assert (await log.head(crashing.redis, 0)).lineage == ()


async def test_the_functions_survive_a_kill_and_a_flush(crashing: Crashing) -> None:
    await crashing.restart()
    await crashing.redis.flushall()
    assert len(await crashing.redis.function_list(library=log.LIBRARY)) == 1


async def test_a_head_that_is_no_hash_is_waited_out(partition: PartitionUnderTest) -> None:
    await partition.redis.delete(streams.log(0))
    await partition.redis.set(streams.log(0), "text")
    for ask in (log.head(partition.redis, 0), log.load(partition.redis, 0), log.snapshot(partition.redis, 0)):
        with pytest.raises(TransientError, match="WRONGTYPE"):
            await ask
