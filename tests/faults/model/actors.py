"""The actors: each runs a service's own loop on gated clients, for ever, until it is crashed."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, cast

from pydantic import SecretStr

from services.analyzer.service import _Worker
from services.analyzer.settings import AnalyzerSettings
from services.fetcher.lane import Lane
from services.fetcher.producer import Appender, LiveProducer
from services.fetcher.providers.replay import BadRow, Row
from services.gateway.feed import Feed, Outage
from services.persister.service import _Follower
from services.persister.store import Store
from shared import streams
from shared.errors import Fenced
from shared.events import TickValues
from shared.lease_rules import Standstill, vacant_seconds
from shared.redis import log
from shared.redis.client import TRY_AGAIN
from shared.redis.deployment import Deployment, prepare
from shared.redis.lease import Lease
from shared.redis.log import Unconfigured
from tests.faults.model.gates import current_actor, gate
from tests.faults.model.oracle import Audience

LEASE_STEPS = 60
"""LEASE_SECONDS on the scheduler's clock: a holder that is paused for longer loses its lease."""

REPLAY_ID = "recording"
Deliver = Callable[[LiveProducer, Sequence[TickValues], "Prices"], Awaitable[Sequence[TickValues]]]


class Prices:
    """Walks of a few tickers that rest for long stretches, longer than a window, and then leave to either side."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._cents = dict.fromkeys(("AAPL", "MSFT", "T"), 1000)
        self._rests = dict.fromkeys(self._cents, 0)

    def tick(self, source: str, number: int) -> TickValues:
        """The next tick; its volume tells it from every other one of its source."""
        rng = self._rng
        ticker = rng.choice(list(self._cents))
        if self._rests[ticker]:
            self._rests[ticker] -= 1
        else:
            self._cents[ticker] += rng.choice((-2, -1, 1, 2))
            self._rests[ticker] = rng.choice((0, 2, 6, 6))
        cents = self._cents[ticker]
        price = f"{cents // 100}.{cents % 100:02}".rstrip("0").rstrip(".")
        return ticker, price, str(1_700_000_000_000 + number), source, str(number), "", ""


class Stage(Protocol):
    """Where the actors act."""

    rng: random.Random
    now: int
    redis: Any
    """The gated client."""
    partition: int
    deployment: Deployment
    settings: AnalyzerSettings
    deliver: Deliver
    recording: list[Row | BadRow]
    is_calm: bool
    """No more faults, and no more ticks of live sources."""

    def chance(self, probability: float) -> bool:
        """Whether a thing of that probability happens now; never once it is calm."""

    def new_audience(self) -> Audience:
        """The clients of a gateway that has just started."""

    def was_accepted(self, source: str, number: str) -> None:
        """A producer takes a tick for accepted."""


def settings_of(period: int, cap: int) -> AnalyzerSettings:
    """Of an analyzer, whatever the environment says."""
    return AnalyzerSettings(redis_url=SecretStr("redis://model"), sma_period=period, stream_cap=cap, replay_window_seconds=0)


async def hold(stage: Stage, service: str, work: Callable[[Lease], Awaitable[None]]) -> None:
    """Take the lease, work under it with heartbeats, lose it or give it back, again and again."""
    watch: Standstill[int] = Standstill(LEASE_STEPS)
    while True:
        lease = await take(stage, service, watch)
        worker = asyncio.ensure_future(work(lease))
        try:
            await keep(stage, lease, worker)
        finally:
            worker.cancel()
            await asyncio.wait({worker})
        if not worker.cancelled() and not isinstance(worker.exception(), Fenced):
            worker.result()


async def take(stage: Stage, service: str, watch: Standstill[int]) -> Lease:
    """Take the lease once it is free or its counter has stood still."""
    p, owner, wanted = stage.partition, current_actor.get().name, f"{stage.rng.getrandbits(64):016x}"
    while True:
        await gate("look")
        try:
            token, beats = (text or "" for text in await log.read_hash(stage.redis, streams.lease(service, p), ["token", "beats"]))
            if vacant_seconds(token, watch.look(p, (token, beats), stage.now), LEASE_STEPS) is None and token != wanted:
                continue
            taken, *_ = await log.call(stage.redis, "acquire", lease_keys(service, p), service, owner, wanted, token, beats)
            if taken:
                return Lease(service, p, wanted)
        except Unconfigured:
            with suppress(*TRY_AGAIN):
                await prepare(stage.redis, stage.deployment, p)
        except TRY_AGAIN:
            watch.forget()


async def keep(stage: Stage, lease: Lease, worker: "asyncio.Future[None]") -> None:
    """Say that the worker works, until it has ended or somebody else has its lease; now and then give the lease back."""
    key = streams.lease(lease.service, lease.partition)
    while not worker.done():
        await gate("beat")
        with suppress(*TRY_AGAIN):
            if lease.take_progress() and (await log.call(stage.redis, "heartbeat", [key], lease.token))[0] < 0:
                return
            if stage.chance(0.02):
                lease.ended.set()
                await asyncio.wait({worker})
                keys, owner = lease_keys(lease.service, lease.partition), current_actor.get().name
                await log.call(stage.redis, "release", keys, lease.service, owner, lease.token)
                return


def lease_keys(service: str, p: int) -> list[str]:
    """The keys of `acquire` and `release`."""
    names = (streams.log, streams.ticks, streams.enriched, streams.events, streams.producers)
    return [*(name(p) for name in names), streams.lease(service, p)]


async def analyzer(stage: Stage) -> None:
    """Analyzers under a lease."""
    await hold(stage, "analyzer", lambda lease: analyze(stage, lease))


async def analyzer_twin(stage: Stage) -> None:
    """A second holder: a copy of the process that holds the lease, with its token."""
    while True:
        await gate("copy the holder")
        with suppress(*TRY_AGAIN):
            token = (await log.read_hash(stage.redis, streams.lease("analyzer", stage.partition), ["token"]))[0]
            with suppress(Fenced):
                await analyze(stage, Lease("analyzer", stage.partition, token or "none"))


async def analyze(stage: Stage, lease: Lease) -> None:
    """The analyzer's own loop."""
    await _Worker(stage.redis, stage.redis, lease, stage.settings, 0).run()


async def fetcher(stage: Stage, life: Callable[[], str], prices: Prices) -> None:
    """A fetcher that holds the lease brings ticks of a live source, and rows of the recording."""
    await hold(stage, "fetcher", lambda lease: fetch(stage, lease, life(), prices))


async def fetch(stage: Stage, lease: Lease, source: str, prices: Prices) -> None:
    """Bring batches until the lease ends."""
    cap = stage.settings.stream_cap
    producer = LiveProducer(stage.redis, lease, cap=cap, lease_seconds=5)
    lane = Lane(lease, Appender(stage.redis, lease, REPLAY_ID, cap=cap, lease_seconds=5))
    number = 0
    try:
        while not lease.ended.is_set():
            await gate("bring")
            if stage.is_calm or stage.chance(0.4):
                await play(stage, lane)
            else:
                ticks = [prices.tick(source, number + place) for place in range(1, stage.rng.randint(2, 6))]
                for tick in await stage.deliver(producer, ticks, prices):
                    number = int(tick[4])
                    if not lease.ended.is_set():
                        stage.was_accepted(source, tick[4])
            if not lane.is_open and not lease.ended.is_set():
                raise Fenced(lease.service, lease.partition)
    finally:
        lane.close()


async def play(stage: Stage, lane: Lane) -> None:
    """Part of a pass over the recording: the rows that Redis has not."""
    with suppress(*TRY_AGAIN):
        stored = int((await log.read_hash(stage.redis, streams.producers(stage.partition), [REPLAY_ID]))[0] or 0)
        lane.start_after(stored)
        for row in stage.recording[stored : stored + stage.rng.randint(1, 12)]:
            lane.add(row)
            if stage.chance(0.2):
                await lane.flush()
        await lane.flush()
        await lane.settle()


async def deliver(producer: LiveProducer, ticks: Sequence[TickValues], _prices: Prices) -> Sequence[TickValues]:
    """Append as a live source does; return what it takes for accepted."""
    await producer.append(ticks)
    return ticks


async def persister(stage: Stage, stream: str, pool: Any) -> None:
    """The persister's own loop on one stream. None holds a lease: two of them are on the stream all the time."""
    await _Follower(stage.redis, stage.redis, Store(pool), Lease("persister", stage.partition, "p"), stream, 0).run()


async def trimmer(stage: Stage, window_ms: int) -> None:
    """Trims."""
    while True:
        await gate("trim")
        with suppress(*TRY_AGAIN):
            await log.trim(stage.redis, stage.partition, cap=stage.settings.stream_cap, window_ms=window_ms)


async def viewer(stage: Stage) -> None:
    """The gateway's own feed."""

    async def set_up() -> None:
        await prepare(stage.redis, stage.deployment, stage.partition)

    feed = Feed(stage.redis, stage.partition, cast(Any, stage.new_audience()), Outage(), set_up)
    while True:
        with suppress(*TRY_AGAIN):
            await feed._step()
