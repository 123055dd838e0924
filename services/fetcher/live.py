"""A live source, put together: the provider, its quota, the cycles, the hours of the exchange."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import stamina.instrumentation
import structlog
from redis.asyncio import Redis

from services.fetcher.announcing import announcing
from services.fetcher.clock import Clock
from services.fetcher.finnhub_rest import LOOPBACK, open_finnhub
from services.fetcher.market_clock import AlwaysOpen, MarketHours
from services.fetcher.polling import Line, Polling
from services.fetcher.providers.finnhub import PER_MINUTE, PER_SECOND
from services.fetcher.quota import Quota
from services.fetcher.schedule import Schedule, cycle_seconds
from services.fetcher.settings import FetcherSettings
from services.fetcher.trading_calendar import TradingCalendar
from shared import metrics
from shared.redis.lease import Lease, Work

LONGEST_CALL_SECONDS = 10.0
SHORTEST_CALL_SECONDS = 2.0
"""Bounds of the time that one call may take: half a cycle, so that there is time for another try."""

log = structlog.get_logger(__name__)


@asynccontextmanager
async def live_source(redis: Redis, settings: FetcherSettings, clock: Clock) -> AsyncIterator[Work]:
    """The work on a held partition: poll its tickers, and say on `market` whether the exchange trades.

    Raise `ConfigurationError` if the exchange is not known.
    """
    async with market_hours(settings, clock) as hours, polling(redis, settings, hours, clock) as polled:

        async def work(lease: Lease) -> None:
            async with announcing(redis, lease, hours, clock):
                await polled.work(lease)
                await lease.idle()

        yield work


@asynccontextmanager
async def market_hours(settings: FetcherSettings, clock: Clock) -> AsyncIterator[MarketHours]:
    """When the source may be asked."""
    if settings.market_hours == "always":
        yield AlwaysOpen(settings.exchange, "MARKET_HOURS=always")
        return
    async with TradingCalendar.kept_current(settings.exchange, clock) as calendar:
        yield calendar


@asynccontextmanager
async def polling(redis: Redis, settings: FetcherSettings, hours: MarketHours, clock: Clock) -> AsyncIterator[Polling]:
    """A live source, asked in cycles that its quota allows."""
    # Its own log lines repeat the arguments of what is tried again, ours tell the change once.
    stamina.instrumentation.set_on_retry_hooks([])
    tickers, interval = settings.live_tickers, settings.interval_seconds
    seconds = cycle_seconds(interval, len(tickers), PER_MINUTE)
    metrics.FETCHER_CYCLE_SECONDS.set(seconds)
    if seconds > interval:
        log.warning(
            "cycle stretched, the quota does not allow more", cycle_seconds=seconds, FETCH_INTERVAL_SECONDS=interval,
            tickers=len(tickers), calls_per_minute=PER_MINUTE,
        )  # fmt: skip
    if settings.finnhub_base_url.startswith("http://") and urlsplit(settings.finnhub_base_url).hostname not in LOOPBACK:
        log.warning("the key goes over the network unencrypted", FINNHUB_BASE_URL=settings.finnhub_base_url)
    key = settings.finnhub_api_key
    assert key is not None, "settings refuse the source without a key"
    call_seconds = min(LONGEST_CALL_SECONDS, max(SHORTEST_CALL_SECONDS, seconds / 2))
    async with open_finnhub(settings.finnhub_base_url, key, call_seconds=call_seconds, now=clock.now) as provider:
        yield Polling(redis, settings, Line(provider, Quota(PER_MINUTE, PER_SECOND), clock), Schedule(seconds, hours), clock)
