"""A user's loop that is slow is given the newest prices and every alert, by the gateway that feels it: nothing piles up in the client."""

import asyncio
import random
from typing import cast

import pytest
from redis.asyncio import Redis

from shared import streams
from tests.clients.conftest import PYTHON_CLIENTS
from tests.clients.scripted import Visit, alert, scripted, stock
from tests.clients.subscriber import Subscribe, until
from tests.integration.gateway.market import Market
from tests.observed import total

TICKERS = 500
MOST_FLUSHES = 300


@pytest.fixture
async def market(redis: Redis) -> Market:
    """One partition, so that all tickers come in one message."""
    market = Market(redis, partitions=1)
    await market.open()
    return market


async def fill(market: Market, chance: random.Random) -> None:
    """A new price for every ticker, hard to compress; many are alerts."""
    await market.append([(f"T{n}", str(chance.randint(10**10, 10**11) * 10 + 1), "1771105101950") for n in range(TICKERS)])
    await market.analyze(0)


async def alerts_of(market: Market) -> list[int]:
    """The seq of every alert there was."""
    entries = cast(list[tuple[str, dict[str, str]]], await market.redis.xrange(streams.enriched(0)))
    return [int(fields["seq"]) for _, fields in entries if fields["alert"]]


async def test_slow_loop_gets_newest_prices_and_all_alerts(subscribe: Subscribe, market: Market, port: int) -> None:
    chance, flushes = random.Random(1), 0
    async with subscribe(f"ws://127.0.0.1:{port}") as subscriber:
        await until(subscriber, lambda seen: seen.updates, "the snapshot")
        subscriber.pause()
        while total("gateway", "tickstream_gateway_outbox_waiting") < 2 * TICKERS:
            flushes += 1
            assert flushes < MOST_FLUSHES, "the gateway did not feel that nobody reads"
            await fill(market, chance)
        subscriber.go_on()
        last = flushes * TICKERS
        await until(subscriber, lambda seen: any(stock.seq == last for stock in seen.updates[-1].stocks), "the last price")
    seen = subscriber.seen
    assert len(seen.updates) < 1 + flushes, "the snapshot, and each flush by itself"
    assert sum(update.skipped for update in seen.updates) > 0
    assert [alert.seq for alert in seen.alerts] == await alerts_of(market)
    assert (seen.gaps, seen.connections) == ([], 1)


@pytest.mark.parametrize("subscribe", PYTHON_CLIENTS, indirect=True)
async def test_loop_that_was_busy_is_given_what_came_meanwhile_at_once(subscribe: Subscribe) -> None:
    """Messages are small, and would wait for minutes in the buffers: the loop must not have to work off each."""

    async def attend(visit: Visit) -> None:
        await visit.first(stocks=[stock("AAPL", 1)])
        for seq in range(2, 502):
            await visit.update(stocks=[stock("AAPL", seq)], alerts=[alert(f"a{seq}", seq=seq)], cursor=f"c{seq}")
        has_sent.set()
        await visit.stay()

    has_sent = asyncio.Event()
    async with scripted(attend) as gateway, subscribe(gateway.url) as subscriber:
        subscriber.pause()
        await has_sent.wait()
        subscriber.go_on()
        await until(subscriber, lambda seen: subscriber.cursor == "c501", "all")
    seen = subscriber.seen
    assert [alert.seq for alert in seen.alerts] == list(range(2, 502))
    assert len(seen.updates) < 50
    assert sum(update.skipped for update in seen.updates) == 500 - (len(seen.updates) - 1)
