"""What a client gives its user of a gateway that stays: prices, alerts, the market, and what was subscribed since."""

from redis.asyncio import Redis

from shared import events
from shared.redis.market import announce
from tests.clients.scripted import AT, Visit, alert, scripted, stock
from tests.clients.subscriber import Stock, Subscribe, until
from tests.integration.gateway.market import Market

OPEN, CLOSED = (events.Market("XNYS", status, "", "1771252200000", "1771275600000") for status in ("open", "closed"))
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


async def test_only_what_was_subscribed_comes_and_what_is_added_comes_too(subscribe: Subscribe, market: Market, port: int) -> None:
    for ticker in ("AAPL", "TSLA", "KO"):
        await market.trade(ticker, *FALL)
    async with subscribe(f"ws://127.0.0.1:{port}/ws/stocks", ["AAPL", "KO"]) as subscriber:
        await until(subscriber, lambda seen: set(seen.stocks) == {"AAPL", "KO"}, "what was subscribed")
        await subscriber.add("TSLA")
        await until(subscriber, lambda seen: "TSLA" in seen.stocks, "what was added")
        assert not subscriber.seen.updates[-1].is_replaced
        await subscriber.remove("KO")
        await market.trade("KO", *RISE)
        await market.trade("TSLA", *RISE)
        await until(subscriber, lambda seen: seen.alerts, "the alert of what was added")
    assert {alert.ticker for alert in subscriber.seen.alerts} == {"TSLA"}
    assert set(subscriber.seen.stocks) == {"AAPL", "KO", "TSLA"}
    assert subscriber.seen.stocks["KO"].price == "9"


async def test_what_was_added_and_removed_stays_so_after_a_reconnect(subscribe: Subscribe) -> None:
    async def attend(visit: Visit) -> None:
        await visit.first()
        if visit.number == 1:
            for _ in range(2):
                await visit.receive()
            await visit.close(1012, "restart; reconnect in 0.1 s")
        await visit.stay()

    async with scripted(attend) as gateway, subscribe(gateway.url, ["AAPL", "KO"]) as subscriber:
        await until(subscriber, lambda seen: seen.connections == 1, "the first connection")
        await subscriber.add("BRK.B", "X:Y-1")
        await subscriber.remove("KO")
        await until(subscriber, lambda seen: seen.connections == 2, "a second connection")
    assert [visit.tickers for visit in gateway.visits] == [{"AAPL", "KO"}, {"AAPL", "BRK.B", "X:Y-1"}]


async def test_market_is_told_after_the_snapshot_and_on_change(subscribe: Subscribe, market: Market, port: int, redis: Redis) -> None:
    await announce(redis, OPEN)
    async with subscribe(f"ws://127.0.0.1:{port}") as subscriber:
        await until(subscriber, lambda seen: seen.markets == ["open"], "the market")
        await announce(redis, CLOSED)
        await until(subscriber, lambda seen: seen.markets == ["open", "closed"], "the change")


async def test_redis_that_is_away_is_told_and_forgotten_with_the_connection(subscribe: Subscribe) -> None:
    async def attend(visit: Visit) -> None:
        await visit.first()
        await visit.send(type="status", stale=True, since=AT)
        if visit.number == 1:
            await visit.close(1012, "restart; reconnect in 0.1 s")
        await visit.send(type="status", stale=False, since=AT)
        await visit.stay()

    async with scripted(attend) as gateway, subscribe(gateway.url) as subscriber:
        await until(subscriber, lambda seen: len(seen.stale) == 4, "two times away")
    assert subscriber.seen.stale == [True, False, True, False]


async def test_fields_and_messages_of_tomorrow_are_passed_over(subscribe: Subscribe) -> None:
    async def attend(visit: Visit) -> None:
        await visit.send(type="weather", rain=[1, {"in": "Paris"}])
        await visit.first(stocks=[stock("AAPL", 1) | {"volume": 7}], mood="good")
        await visit.update(alerts=[alert("a1") | {"strength": {"is": "great"}}])
        await visit.stay()

    async with scripted(attend) as gateway, subscribe(gateway.url) as subscriber:
        await until(subscriber, lambda seen: seen.alerts, "the alert")
    assert subscriber.seen.stocks == {"AAPL": Stock("AAPL", "1.5", 1)}
    assert subscriber.seen.connections == 1
