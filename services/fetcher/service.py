"""The fetcher's loop: ask for, make or read ticks, and append them.

What is appended has a number, and the number is kept in the same call as the ticks: nothing is ever appended twice.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from functools import partial

import structlog
from redis.asyncio import Redis

from services.fetcher.announcing import announcing
from services.fetcher.clock import SystemClock
from services.fetcher.market_clock import AlwaysOpen
from services.fetcher.playback import Playback, Recording, open_recording
from services.fetcher.producer import MOST_TICKS, LiveProducer
from services.fetcher.providers.simulated import Simulation, schedule
from services.fetcher.settings import FetcherSettings
from shared import streams
from shared.partitions import partition_of
from shared.redis.cluster import connect_to
from shared.redis.deployment import Deployment, join
from shared.redis.lease import Lease, hold
from shared.redis.log import read_hash
from shared.runtime import until_ready, wait_or_stop

log = structlog.get_logger(__name__)


async def serve(settings: FetcherSettings, stop: asyncio.Event) -> None:
    """Fetch until `stop`, or until a replay is complete; raise `ConfigurationError` if file or deployment do not fit."""
    source, reason = settings.chosen_source
    log.info("source chosen", source=source, because=reason)
    if settings.replay_file is not None and source != "replay":
        log.warning("REPLAY_FILE is not used", because=f"the source is {source}; SOURCE=replay plays it")
    recording = await open_recording(settings, stop) if source == "replay" else None
    async with connect_to(settings, service="fetcher") as redis:
        deployment = await until_ready(partial(join, redis, settings.partitions, settings.sma_period), what="redis", stop=stop)
        if deployment is None or stop.is_set():
            return
        if recording is not None:
            await replay(redis, deployment, settings, recording, stop)
        elif source == "simulated":
            await hold(redis, deployment, "fetcher", settings.lease_seconds, partial(simulate, redis, settings), stop)
        else:
            # Not needed by the others: an HTTP client, and for market hours 75 MB of calendars.
            from services.fetcher.live import live_source

            async with live_source(redis, settings, SystemClock()) as work:
                await hold(redis, deployment, "fetcher", settings.lease_seconds, work, stop)


async def simulate(redis: Redis, settings: FetcherSettings, lease: Lease) -> None:
    """Make the ticks of a held partition when they are due, until the lease ends; at a full stream, wait."""
    own = [ticker for ticker in settings.live_tickers if partition_of(ticker, settings.partitions) == lease.partition]
    async with announcing(redis, lease, AlwaysOpen(settings.exchange, "simulated"), SystemClock()):
        if own:
            await _simulate(redis, settings, lease, own)
        await lease.idle()


async def _simulate(redis: Redis, settings: FetcherSettings, lease: Lease, own: Sequence[str]) -> None:
    last_prices = await until_ready(partial(read_last_prices, redis, lease.partition, own), what="last prices", stop=lease.ended)
    simulation = Simulation(own, settings.simulated_seed, last_prices or {})
    timetable = schedule(settings.simulated_rate, settings.interval_seconds, len(own), len(settings.live_tickers))
    producer = LiveProducer(redis, lease, cap=settings.stream_cap, lease_seconds=settings.lease_seconds)
    while not lease.ended.is_set():
        due = timetable.due(time.time())
        while due > 0 and not lease.ended.is_set():
            count = min(due, MOST_TICKS)
            await producer.append(simulation.ticks(count, now_ms=time.time_ns() // 1_000_000))
            due -= count
        lease.progress()
        await wait_or_stop(lease.ended, min(timetable.wait_seconds(time.time()), settings.lease_seconds / 3))


async def read_last_prices(redis: Redis, partition: int, tickers: Sequence[str]) -> dict[str, float]:
    """The latest price per ticker that the pipeline has seen, so that a second start goes on where the first ended."""
    values = await read_hash(redis, streams.latest(partition), list(tickers))
    prices = {}
    for ticker, value in zip(tickers, values, strict=True):
        try:
            prices[ticker] = float(json.loads(value or "")["price"])
        except (ValueError, TypeError, KeyError):
            continue  # none yet, or a stranger's: the path starts at the base price
    return prices


async def replay(redis: Redis, deployment: Deployment, settings: FetcherSettings, recording: Recording, stop: asyncio.Event) -> None:
    """Play the file into every partition that this process holds, until all partitions have all of it or `stop`."""
    playback = Playback(redis, settings, recording)
    settled, over = asyncio.Event(), asyncio.Event()

    async def work(lease: Lease) -> None:
        async with announcing(redis, lease, AlwaysOpen(settings.exchange, "replay"), SystemClock()):
            await playback.work(lease)

    async def play_once_settled() -> None:
        await settled.wait()
        await playback.play()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(hold(redis, deployment, "fetcher", settings.lease_seconds, work, over, settled))
        playing = tasks.create_task(play_once_settled())
        stopping = tasks.create_task(stop.wait())
        await asyncio.wait({playing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        # Reading may be cut off anywhere; what is on its way is finished by the workers, which `over` ends.
        playing.cancel()
        stopping.cancel()
        over.set()
