"""What only happens to a client in a browser: a page that stands still, is frozen or hidden; a device that sleeps or changes its network.

Where a wait or a silence would take time, the page's clock is the test's: no timer runs but when the test says so.
"""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from services.admin.embedded import find_free_port
from services.gateway.outbox import Limits
from shared import metrics
from tests.clients.browser_client import BrowserSubscriber, Chromium
from tests.clients.subscriber import until
from tests.faults.proxy import FaultProxy
from tests.integration.gateway.conftest import running_gateway
from tests.integration.gateway.market import Market

RISE = ("10", "9", "11")
"""The third price of a new ticker is an alert."""
BUSY_TICKERS = 500
PATIENT = Limits(stall_seconds=600.0)

SEE = "(state) => { Object.defineProperty(document, 'visibilityState', { value: state, configurable: true }); "
SHOW = SEE + "document.dispatchEvent(new Event('visibilitychange')); return user.feed.status.phase; }"
GO_ONLINE = "() => { dispatchEvent(new Event('online')); return user.feed.status.phase; }"


def waiting() -> float:
    """How many messages, prices and alerts the gateway keeps for its slowest client."""
    (metric,) = metrics.GATEWAY_OUTBOX_LARGEST.collect()
    return metric.samples[0].value


async def stored_alerts(redis: Redis) -> list[int]:
    """The seq of every alert of the only partition."""
    return [int(entry["seq"]) for _, entry in await redis.xrange("enriched:0") if entry["alert"]]


async def test_a_page_that_stands_still_gets_the_newest_prices_and_every_alert(chromium: Chromium, redis: Redis, redis_url: str) -> None:
    market = Market(redis, partitions=1)
    await market.open()
    async with running_gateway(redis_url, partitions=1, limits=PATIENT) as port, chromium.subscribe(f"ws://127.0.0.1:{port}") as subscriber:
        seen = subscriber.seen
        await until(subscriber, lambda seen: seen.updates, "the snapshot")
        async with chromium.standing_still(subscriber.page):
            while waiting() <= BUSY_TICKERS:
                await market.append([(f"T{n}", str(random.randrange(1, 10**9)), "1771105101950") for n in range(BUSY_TICKERS)])
                await market.analyze(0)
        await market.trade("AAPL", *RISE)
        await until(subscriber, lambda seen: "AAPL" in seen.stocks, "the last price")
        assert sum(update.skipped for update in seen.updates) > 0
        assert [alert.seq for alert in seen.alerts] == await stored_alerts(redis)
        assert (seen.states, seen.gaps) == ([True], [])


async def frozen(subscriber: BrowserSubscriber, state: str) -> None:
    """Have the browser freeze the page, or wake it up."""

    async def tell() -> None:
        session = await subscriber.page.context.new_cdp_session(subscriber.page)
        await session.send("Page.setWebLifecycleState", {"state": state})

    await subscriber.chromium.do(tell())


async def test_a_page_that_was_frozen_while_its_gateway_went_away_resumes(chromium: Chromium, market: Market, redis_url: str) -> None:
    listening = find_free_port()
    async with chromium.subscribe(f"ws://127.0.0.1:{listening}") as subscriber:
        async with running_gateway(redis_url, gateway_port=listening):
            await until(subscriber, lambda seen: seen.updates, "the snapshot")
            await frozen(subscriber, "frozen")
            await market.trade("AAPL", *RISE)
        await market.trade("TSLA", *RISE)
        async with running_gateway(redis_url, gateway_port=listening):
            await frozen(subscriber, "active")
            await until(subscriber, lambda seen: len(seen.alerts) == 2, "both alerts")
        assert {alert.ticker for alert in subscriber.seen.alerts} == {"AAPL", "TSLA"}
        assert not subscriber.seen.gaps


@asynccontextmanager
async def half_open(
    chromium: Chromium, redis_url: str, market: Market
) -> AsyncIterator[tuple[BrowserSubscriber, FaultProxy]]:
    """A client whose connection was cut without a word, while an alert came; new connections go through."""
    async with (
        running_gateway(redis_url) as port,
        FaultProxy(f"ws://127.0.0.1:{port}").running() as proxy,
        chromium.subscribe(proxy.url, stops_the_clock=True) as subscriber,
    ):
        await until(subscriber, lambda seen: seen.updates, "the snapshot")
        proxy.swallow()
        await market.trade("AAPL", *RISE)
        await subscriber.run("() => user.feed.add(['*'])")
        yield subscriber, proxy
