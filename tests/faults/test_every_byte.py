"""TCP resets at every byte of what is said to Redis and of what it answers: nothing is lost, nothing is doubled.

How long a request and its reply are is recorded first, from a real one.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from redis.asyncio import Redis

from services.admin.migrate import load_library
from services.analyzer import service
from services.fetcher.lane import Lane
from services.fetcher.producer import Appender, LiveProducer
from services.fetcher.providers.replay import BadRow, Row
from shared import streams
from shared.redis.client import connect
from tests.faults.lanes import CAP, LEASE_SECONDS, PartitionLane, Stage, key_tag, set_stage
from tests.faults.proxy import Cut, FaultProxy
from tests.integration.shared.holders import Workers, running

SAMPLE = 20
"""Bytes at which a quick run cuts a request, and as many of its reply."""


AT_ONCE = 4
"""Partitions handed over at once: each cut ends a round of looking at all of them."""

ALONE = 0.1
"""LEASE_SECONDS where no two holders are there at the same time: however short, none takes from the other."""


class Place(NamedTuple):
    """Where to cut; with neither the exchange is only counted."""

    request_bytes: int | None = None
    reply_bytes: int | None = None

    def cut(self, *words: bytes) -> Cut:
        """The fault that cuts there."""
        return Cut(words, request_bytes=self.request_bytes, reply_bytes=self.reply_bytes)


NOWHERE = Place()

quick_and_whole = pytest.mark.parametrize("step", [0, pytest.param(1, marks=pytest.mark.long)], ids=["sample", "every byte"])


@pytest.fixture
async def stage(redis: Redis, redis_url: str) -> AsyncIterator[Stage]:
    """Many partitions, and a proxy before Redis."""
    async with set_stage(redis, redis_url) as found:
        yield found


def places(recorded: Cut, step: int) -> list[Place]:
    """Every `step`th byte of a request and its reply (0: a sample), first and last included."""
    requests, replies = (bytes_to_cut_at(length, step) for length in (recorded.request_seen, recorded.reply_seen))
    return [Place(request_bytes=count) for count in requests] + [Place(reply_bytes=count) for count in replies]


def bytes_to_cut_at(length: int, step: int) -> list[int]:
    """Every `step`th number from 0 to `length` (0: a sample), first and last two included."""
    assert length > 0
    return sorted({*range(0, length, step or max(1, length // SAMPLE)), length - 1, length})


def check_cuts(faults: list[Cut]) -> None:
    """Nearly every planned cut came about: a request may be a few bytes shorter than the recorded one."""
    assert sum(fault.cuts for fault in faults) >= 0.9 * len(faults)
    executed = [fault for fault in faults if fault.reply_bytes == 0]
    assert executed
    assert all(fault.cuts for fault in executed)


async def commit_once(stage: Stage, lane: PartitionLane, place: Place, ticks: int) -> Cut:
    """Append, and have the commit of it cut at a place; return when it is in, and all is as it must be."""
    fault = stage.proxy.plan(place.cut(b"commit_1", key_tag(lane.partition)))
    await lane.append(ticks)
    await lane.until_committed()
    await lane.check()
    stage.proxy.withdraw(fault)
    return fault


@pytest.mark.parametrize(("ticks", "batch_entries"), [(4, 1000), (9, 4)], ids=["one batch", "batches overlap"])
@quick_and_whole
async def test_a_reset_at_any_byte_of_a_commit_and_its_reply(
    stage: Stage, ticks: int, batch_entries: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "BATCH_ENTRIES", batch_entries)
    async with stage.analyzing():
        await commit_once(stage, stage.lanes[0], NOWHERE, ticks)  # lists and sides are there from now on
        recorded = await commit_once(stage, stage.lanes[0], NOWHERE, ticks)
        # Where batches overlap every third byte: the request is the same, what is new is what stands behind it.
        where = places(recorded, step if batch_entries == 1000 else 3 * step)
        faults = await stage.suffer(where, lambda lane, place: commit_once(stage, lane, place, ticks))
    check_cuts(faults)


class Live:
    """A live source, which numbers its ticks itself."""

    def __init__(self, stage: Stage, lane: PartitionLane) -> None:
        self._lane = lane
        self._producer = LiveProducer(stage.redis, lane.fetcher, cap=CAP, lease_seconds=LEASE_SECONDS)

    async def append(self) -> None:
        """Append three ticks."""
        await self._producer.append(self._lane.next_ticks(3))


class Replay:
    """A replay: every third row is none."""

    def __init__(self, stage: Stage, lane: PartitionLane) -> None:
        self._lane = lane
        self._appends = Lane(lane.fetcher, Appender(stage.redis, lane.fetcher, "replay", cap=CAP, lease_seconds=LEASE_SECONDS))

    async def append(self) -> None:
        """Append two rows and a bad one, and wait until they are in."""
        one, other = self._lane.next_ticks(2)
        line = len(self._lane.bad_rows) + 1
        for row in (Row(0, line, one), BadRow(0, line, "bad", f"row {line}"), Row(0, line, other)):
            self._appends.add(row)
        self._lane.bad_rows.append(f"row {line}")
        await self._appends.flush()
        await self._appends.settle()


@pytest.mark.parametrize("source", [Live, Replay])
@quick_and_whole
async def test_a_reset_at_any_byte_of_an_append_and_its_reply(stage: Stage, source: type[Live | Replay], step: int) -> None:
    sources = {lane.partition: source(stage, lane) for lane in stage.lanes}

    async def append_once(lane: PartitionLane, place: Place) -> Cut:
        fault = stage.proxy.plan(place.cut(b"append_1", key_tag(lane.partition)))
        await sources[lane.partition].append()
        await lane.check_appended()
        stage.proxy.withdraw(fault)
        return fault

    await append_once(stage.lanes[0], NOWHERE)
    where = places(await append_once(stage.lanes[0], NOWHERE), step)
    check_cuts(await stage.suffer(where, append_once))


@quick_and_whole
@pytest.mark.parametrize("call", ["acquire_1", "release_1"])
async def test_a_reset_at_any_byte_of_taking_a_lease_and_of_giving_it_back(redis: Redis, redis_url: str, call: str, step: int) -> None:
    """Each partition suffers at another byte. Whoever comes next gets all of them, one holder each."""
    await load_library(redis)
    async with FaultProxy(redis_url).running() as proxy, connect(proxy.url, service="tests") as client:
        recorded = proxy.plan(Cut((call.encode(),)))
        await hand_over(redis, client, 1)
        proxy.withdraw(recorded)
        where = places(recorded, step)
        cut: list[Cut] = []
        for first in range(0, len(where), AT_ONCE):
            await redis.flushdb()
            part = where[first : first + AT_ONCE]
            faults = [proxy.plan(place.cut(call.encode(), key_tag(p))) for p, place in enumerate(part)]
            await hand_over(redis, client, len(part))
            cut += faults
            for fault in faults:
                proxy.withdraw(fault)
    check_cuts(cut)


async def hand_over(redis: Redis, client: Redis, partitions: int) -> None:
    """A holder on a faulty client takes all partitions and stops; another takes them all."""
    async with running(redis, partitions) as holders:
        for faulty in (client, redis):
            workers = Workers()
            stop = await holders.start(workers.work, lease_seconds=ALONE, redis=faulty)
            leases = {(lease := await workers.next()).partition: lease.token for _ in range(partitions)}
            assert leases == {p: await holders.token(p) for p in range(partitions)}
            assert workers.begun.empty()
            for p in range(partitions):
                consumers = await redis.xinfo_consumers(streams.ticks(p), "analyzer")
                assert [found["name"] for found in consumers] == [await redis.hget(streams.lease("analyzer", p), "owner")]
            await stop()
    assert await redis.hget(streams.lease("analyzer", 0), "token") == ""
