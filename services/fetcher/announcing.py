"""Says on the stream `market` whether the exchange trades; the holder of partition 0 does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import structlog
from redis.asyncio import Redis

from services.fetcher.clock import Clock
from services.fetcher.market_clock import MarketHours
from services.fetcher.measures import note_market
from shared.events import Market, iso
from shared.redis.client import TRY_AGAIN
from shared.redis.lease import Lease
from shared.redis.market import announce

PARTITION = 0
"""Its holder announces: one process, and another one as soon as that is gone."""
LOOK_SECONDS = 1.0
REPEAT_SECONDS = 15.0
"""Said again so often, which changes nothing unless Redis lost it."""

log = structlog.get_logger(__name__)


@asynccontextmanager
async def announcing(redis: Redis, lease: Lease, hours: MarketHours, clock: Clock) -> AsyncIterator[None]:
    """Announce for the time of the block, if the lease is that of partition 0."""
    task = asyncio.create_task(_announce(redis, lease, hours, clock), name="market") if lease.partition == PARTITION else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            note_market(None)


async def _announce(redis: Redis, lease: Lease, hours: MarketHours, clock: Clock) -> None:
    said: Market | None = None
    said_at = float("-inf")
    while not lease.ended.is_set():
        market = hours.status_at(clock.now())
        note_market(market)
        if market != said or clock.steady() - said_at >= REPEAT_SECONDS:
            try:
                is_new = await announce(redis, market)
            except TRY_AGAIN as error:
                log.debug("market not announced", reason=str(error) or type(error).__name__)
            else:
                said, said_at = market, clock.steady()
                if is_new:
                    _log(market)
        await clock.wait(LOOK_SECONDS, lease.ended)


def _log(market: Market) -> None:
    times = {"next_open": market.next_open, "next_close": market.next_close}
    known = {name: iso(ms) for name, ms in times.items() if ms}
    log.info("market status", exchange=market.exchange, status=market.status, because=market.reason, **known)
