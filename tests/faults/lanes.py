"""Partitions that suffer faults side by side, each with real ticks, the real worker, and the oracle.

A fault costs a back-off; many partitions wait for theirs at the same time, so that thousands of faults take seconds.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from pydantic import SecretStr
from redis.asyncio import Redis

from services.admin.migrate import load_library
from services.analyzer.service import analyze
from services.analyzer.settings import AnalyzerSettings
from services.analyzer.state_machine import latest_json
from shared import streams
from shared.events import Enriched, TickValues
from shared.redis import log
from shared.redis.client import connect
from shared.redis.deployment import join
from shared.redis.lease import Lease
from shared.testing.oracle import Judged, expect
from tests.faults.proxy import FaultProxy

LANES = 40
PERIOD = 3
CAP = 100_000
LEASE_SECONDS = 5.0
TICKERS = ("AAPL", "BRK.B", "KO")
PRICES = ("9.5", "10", "10", "10.5")
"""So few that a price rests on its average again and again."""
PATIENCE_SECONDS = 30
WATCH_MS = 5000
Fields = dict[str, str]
T = TypeVar("T")
C = TypeVar("C")


def lease_keys(service: str, partition: int) -> list[str]:
    """The keys that `acquire` and `release` take."""
    names = (streams.log, streams.ticks, streams.enriched, streams.events, streams.producers)
    return [*(name(partition) for name in names), streams.lease(service, partition)]


def key_tag(partition: int) -> bytes:
    """What stands in every request about a partition."""
    return streams.ticks(partition).encode()


class PartitionLane:
    """One partition: what was given to it, and whether Redis holds what that must become."""

    def __init__(self, redis: Redis, watcher: Redis, partition: int) -> None:
        """Both clients meet no fault; `watcher` is one for blocking reads."""
        self.redis: Any = redis
        self._watcher = watcher
        self._newest_event = "0-0"
        self.partition = partition
        self.given: list[tuple[str, str]] = []
        """(ticker, price) of every tick, in order."""
        self.strangers = 0
        """Entries that are no ticks."""
        self.bad_rows: list[str] = []
        """Payloads of rows that are no ticks, as a replay finds them."""
        self.chance = Random(partition)
        self.lease = Lease("analyzer", partition, f"analyzer-{partition}")
        self.fetcher = Lease("fetcher", partition, f"fetcher-{partition}")

    async def take(self) -> None:
        """Take both leases."""
        for lease in (self.lease, self.fetcher):
            keys = lease_keys(lease.service, self.partition)
            await log.call(self.redis, "acquire", keys, lease.service, "me", lease.token, "", "")

    def next_ticks(self, count: int) -> list[TickValues]:
        """The next ticks, as `freeze` takes them; from now on they count as given."""
        ticks = [(self.chance.choice(TICKERS), self.chance.choice(PRICES)) for _ in range(count)]
        self.given += ticks
        now = str(time.time_ns() // 1_000_000)
        return [(ticker, price, now, "replay", "", "", "") for ticker, price in ticks]

    async def append(self, count: int) -> None:
        """Append ticks and a stranger's entry, so that one read finds all of them."""
        first = len(self.given) + 1
        batch = log.freeze(first, self.next_ticks(count))
        p = self.partition
        names = (streams.log, streams.ticks, streams.enriched, streams.events, streams.producers, streams.last, streams.deadletters)
        keys = [*(name(p) for name in names), streams.lease("fetcher", p)]
        token = self.fetcher.token
        async with self.redis.pipeline(transaction=True) as together:
            together.fcall("append_1", len(keys), *keys, token, token, batch.first, batch.count, CAP, "0", batch.body)
            together.xadd(streams.ticks(p), {"stranger": self.strangers})
            (answer, *_), _ = await together.execute()
        assert answer == "OK"
        self.strangers += 1

    async def until_committed(self) -> None:
        """Wait until the last tick has its event."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            seq = 0
            while seq < len(self.given):
                found = await log.read(self._watcher, "enriched", self.partition, self._newest_event, count=1000, block_ms=WATCH_MS)
                if found.entries:
                    self._newest_event, seq = found.entries[-1][0], found.seq

    async def check_appended(self) -> None:
        """Every tick that was given is in the stream, and every bad row in the dead letters, once and in order."""
        p = self.partition
        async with self.redis.pipeline(transaction=True) as asked:
            asked.xrange(streams.ticks(p)).xrange(streams.deadletters(p)).hget(streams.log(p), "seq")
            entries, deadletters, seq = await asked.execute()
        ticks = [fields for _, fields in entries if "seq" in fields]
        assert [(fields["ticker"], fields["price"]) for fields in ticks] == self.given
        assert [fields["seq"] for fields in ticks] == [str(number) for number in range(1, len(ticks) + 1)]
        assert seq == str(len(ticks))
        assert [fields["payload"] for _, fields in deadletters if not fields["entry_id"]] == self.bad_rows

    async def check(self) -> None:
        """Ticks, enriched events, lists, sides, latest values, cursor, group and dead letters are as the oracle has them."""
        await self.check_appended()
        p, expected = self.partition, expect(self.given, PERIOD)
        async with self.redis.pipeline(transaction=True) as asked:
            asked.xrange(streams.ticks(p)).xrange(streams.enriched(p)).xrange(streams.deadletters(p))
            asked.hgetall(streams.sides(p)).hgetall(streams.latest(p)).xinfo_groups(streams.ticks(p))
            asked.hmget(streams.log(p), ["cursor", "cursor_seq", "passed", "enriched_seq"])
            for ticker in expected.windows:
                asked.lrange(streams.prices(p, ticker), 0, -1)
            entries, enriched, deadletters, sides, latest, groups, head, *lists = await asked.execute()
        ticks = [(entry_id, fields) for entry_id, fields in entries if "seq" in fields]
        events = [wanted_event(*tick, judged) for tick, judged in zip(ticks, expected.judged, strict=True)]
        assert [tuple(fields.values()) for _, fields in enriched] == events
        assert lists == list(expected.windows.values())
        assert sides == {ticker: str(side) for ticker, side in expected.sides.items()}
        assert latest == {event[1]: latest_json(Enriched(*event)) for event in events}
        buried = [fields["entry_id"] for _, fields in deadletters if fields["entry_id"]]
        assert buried == [entry_id for entry_id, fields in entries if "seq" not in fields]
        last = entries[-1][0]
        assert head == [last, str(len(ticks)), str(len(entries)), str(len(ticks))]
        (group,) = [found for found in groups if found["name"] == "analyzer"]
        assert (group["last-delivered-id"], group["entries-read"], group["lag"]) == (last, len(entries), 0)


def wanted_event(entry_id: str, tick: Fields, judged: Judged) -> tuple[str, ...]:
    """The values of the enriched event of a tick."""
    return tick["seq"], judged.ticker, judged.price, tick["ts"], tick["source"], entry_id, judged.sma, judged.alert


@dataclass
class Stage:
    """Lanes, the proxy that faults are planned at, and clients behind it."""

    lanes: Sequence[PartitionLane]
    proxy: FaultProxy
    redis: Redis
    reader: Redis

    @asynccontextmanager
    async def analyzing(self) -> AsyncIterator[None]:
        """A real worker on each lane; at the end each is told to end, and must."""
        settings = AnalyzerSettings(redis_url=SecretStr(self.proxy.url), sma_period=PERIOD, stream_cap=CAP)
        works = [asyncio.create_task(analyze(self.redis, self.reader, lane.lease, settings, block_ms=WATCH_MS)) for lane in self.lanes]
        try:
            yield
        finally:
            for lane in self.lanes:
                lane.lease.ended.set()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.gather(*works)

    async def suffer(self, cases: Sequence[C], one: Callable[[PartitionLane, C], Awaitable[T]]) -> list[T]:
        """Have the lanes suffer side by side, each its share of the cases in turn."""

        async def share(lane: PartitionLane, mine: Sequence[C]) -> list[T]:
            return [await one(lane, case) for case in mine]

        count = len(self.lanes)
        async with asyncio.TaskGroup() as group:
            shares = [group.create_task(share(lane, cases[place::count])) for place, lane in enumerate(self.lanes)]
        return [result for task in shares for result in task.result()]


@asynccontextmanager
async def set_stage(redis: Redis, redis_url: str, lanes: int = LANES) -> AsyncIterator[Stage]:
    """A fresh deployment of so many partitions, both leases of each taken; Redis is empty."""
    await load_library(redis)
    await join(redis, lanes, PERIOD)
    async with connect(redis_url, service="watcher", block_seconds=WATCH_MS / 1000) as watcher:
        found = [PartitionLane(redis, watcher, partition) for partition in range(lanes)]
        for lane in found:
            await lane.take()
        with FaultProxy(redis_url).in_thread() as proxy:
            faulty = connect(proxy.url, service="faulty")
            async with faulty, connect(proxy.url, service="faulty", block_seconds=WATCH_MS / 1000) as reader:
                yield Stage(found, proxy, faulty, reader)
