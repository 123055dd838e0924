"""What a client gives its user of a gateway that stays: prices, alerts, the market, and what was subscribed since."""

from redis.asyncio import Redis

from tests.clients.subscriber import Stock, Subscribe, until
from tests.integration.gateway.market import Market

FALL, RISE = ("10", "9"), ("401.32",)
"""Prices that make a window of two, and then an alert."""


async def test_prices_and_alerts_come_with_the_characters_of_the_stream(subscribe: Subscribe, market: Market, port: int) -> None:
    await market.trade("AAPL", *FALL)
    await market.trade("TSLA", "0.00000001")
    async with subscribe(f"ws://127.0.0.1:{port}") as subscriber:
        await until(subscriber, lambda seen: seen.updates, "the snapshot")
        first = subscriber.seen.updates[0]
        assert {stock.ticker: stock.price for stock in first.stocks} == {"AAPL": "9", "TSLA": "0.00000001"}
        assert (first.is_snapshot, first.is_replaced, first.alerts) == (True, True, ())
        assert subscriber.cursor == first.cursor != ""
        await market.trade("AAPL", *RISE)
        await until(subscriber, lambda seen: seen.alerts, "the alert")
        second = subscriber.seen.updates[-1]
        assert second.stocks == (Stock("AAPL", "401.32", 3),)
        assert [(alert.ticker, alert.direction, alert.price, alert.seq) for alert in second.alerts] == [("AAPL", "bullish", "401.32", 3)]
        assert (second.is_snapshot, second.is_replaced, second.skipped) == (False, False, 0)
        assert subscriber.seen.states == [True]
        assert not subscriber.seen.gaps
