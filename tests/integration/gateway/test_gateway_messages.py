"""What a client that knows only the contract sees."""

import asyncio
import json
from decimal import Decimal

import pytest
from redis.asyncio import Redis

from services.gateway.outbox import Limits
from shared import streams
from shared.events import Enriched
from tests.integration.gateway.client import Client
from tests.integration.gateway.conftest import running_gateway
from tests.integration.gateway.market import Market


async def test_first_message_is_a_snapshot_of_all_that_is_known(market: Market, port: int) -> None:
    await market.trade("AAPL", "255.78")
    async with Client(port) as client:
        await client.until_seen("AAPL", 1)
    async with Client(port) as client:
        message = await client.receive()
        assert (message["type"], message["snapshot"], message["alerts"]) == ("stock_update", True, [])
        assert message["stocks"] == [
            {
                "ticker": "AAPL",
                "price": Decimal("255.78"),
                "sma": None,
                "alert": None,
                "ts": "2026-02-14T21:38:21.950+00:00",
                "seq": 1,
            }
        ]
        assert set(message) == {"type", "timestamp", "cursor", "snapshot", "stocks", "alerts"}


async def test_path_without_the_trailing_slash_is_the_same(port: int) -> None:
    async with Client(port, path="/ws/stocks") as client:
        assert (await client.receive())["snapshot"] is True


async def test_prices_are_the_characters_of_the_stream_in_snapshot_and_update(market: Market, port: int) -> None:
    async with Client(port, "?tickers=AAPL") as client:
        await client.receive()
        await market.trade("AAPL", "999999999999.99999999")
        assert '"price":999999999999.99999999,' in str(await client.websocket.recv())
    async with Client(port, "?tickers=AAPL") as client:
        assert '"price":999999999999.99999999,' in str(await client.websocket.recv())


async def test_every_alert_arrives_once_with_the_id_that_it_has_everywhere(market: Market, port: int) -> None:
    async with Client(port) as client:
        await client.receive()
        await market.trade("TSLA", "10", "11", "9", "12", "12", "8")
        await client.until_seen("TSLA", 6)
        incarnation = await market.incarnation(1)
        assert client.alert_ids == [f"{incarnation}.1.{seq}" for seq in (3, 4, 6)]


async def test_changes_within_one_window_are_one_message_with_all_alerts(market: Market, redis_url: str) -> None:
    async with running_gateway(redis_url, flush_seconds=0.5) as port, Client(port) as client:
        await client.receive()
        await market.trade("TSLA", "10", "11", "9")
        await market.trade("TSLA", "12")
        await market.trade("AAPL", "5")
        message = await client.receive()
        assert {stock["ticker"]: stock["price"] for stock in message["stocks"]} == {"TSLA": 12, "AAPL": 5}
        assert [alert["direction"] for alert in message["alerts"]] == ["bearish", "bullish"]


async def test_tickers_in_the_query_restrict_values_and_alerts(market: Market, port: int) -> None:
    async with Client(port, "?tickers=AAPL,KO") as client:
        await client.receive()
        await market.trade("TSLA", "10", "11", "9", "12")
        await market.trade("MSFT", "1")
        await market.trade("KO", "1")
        message = await client.receive()
        assert ([stock["ticker"] for stock in message["stocks"]], message["alerts"]) == (["KO"], [])


async def test_malformed_ticker_in_the_query_is_told_after_the_snapshot_and_the_rest_applies(market: Market, port: int) -> None:
    async with Client(port, "?tickers=AAPL,aapl") as client:
        assert (await client.receive())["snapshot"] is True
        error = await client.receive()
        assert (error["type"], error["code"]) == ("error", "bad_ticker")
        assert "'aapl'" in error["message"]
        await market.trade("AAPL", "1")
        assert (await client.receive())["stocks"][0]["ticker"] == "AAPL"


async def test_subscribing_and_unsubscribing_while_the_market_moves(market: Market, port: int) -> None:
    await market.trade("MSFT", "7")
    async with Client(port, "?tickers=AAPL") as client:
        await client.receive()
        await client.send(action="subscribe", tickers=["MSFT", "msft"])
        assert (await client.receive())["code"] == "bad_ticker"
        assert await client.receive() == {"type": "subscribed", "tickers": ["AAPL", "MSFT"]}
        snapshot = await client.receive()
        assert (snapshot["snapshot"], [stock["ticker"] for stock in snapshot["stocks"]]) == (True, ["MSFT"])
        await client.send(action="unsubscribe", tickers=["AAPL"])
        assert await client.receive() == {"type": "subscribed", "tickers": ["MSFT"]}
        await market.trade("AAPL", "1")
        await market.trade("MSFT", "8")
        message = await client.receive()
        assert {stock["ticker"]: stock["price"] for stock in message["stocks"]} == {"MSFT": 8}


async def test_star_is_all_and_single_names_cannot_be_taken_out_of_it(port: int) -> None:
    async with Client(port, "?tickers=AAPL") as client:
        await client.receive()
        await client.send(action="subscribe", tickers=["*"])
        assert (await client.receive())["tickers"] == ["*"]
        assert (await client.receive())["snapshot"] is True
        await client.send(action="unsubscribe", tickers=["AAPL"])
        assert (await client.receive())["code"] == "not_supported"
        await client.send(action="unsubscribe", tickers=["*"])
        assert (await client.receive())["tickers"] == []


async def test_ping_is_answered_with_the_cursor_of_what_was_sent(market: Market, port: int) -> None:
    async with Client(port) as client:
        await client.receive()
        await market.trade("AAPL", "1")
        message = await client.receive()
        await client.send(action="ping")
        assert await client.receive() == {"type": "pong", "cursor": message["cursor"]}


async def test_client_that_was_sent_nothing_gets_an_empty_update(market: Market, redis_url: str) -> None:
    async with running_gateway(redis_url, limits=Limits(idle_seconds=0.1)) as port, Client(port, "?tickers=KO") as client:
        first = await client.receive()
        await market.trade("AAPL", "1")
        while (message := await client.receive())["cursor"] == first["cursor"]:
            pass
        assert (message["type"], message["snapshot"], message["stocks"], message["alerts"]) == ("stock_update", False, [], [])


async def test_thousand_tickers_are_one_message_and_more_come_in_parts(redis: Redis, redis_url: str) -> None:
    market = Market(redis, partitions=1)
    await market.open()
    ticks = [(f"T{n}", "1", "1771105101950") for n in range(1300)]
    await market.append(ticks[:1000])
    await market.append(ticks[1000:])
    await market.analyze(0)
    await market.analyze(0)
    async with running_gateway(redis_url, partitions=1) as port, Client(port) as client:
        first, last = await client.receive(), await client.receive()
        assert (len(first["stocks"]), first["snapshot"], first["more"], "cursor" in first) == (1000, True, True, False)
        assert (len(last["stocks"]), last["snapshot"], "more" in last, "cursor" in last) == (300, True, False, True)


async def test_entry_that_is_no_event_is_passed_over(market: Market, port: int, redis: Redis) -> None:
    async with Client(port) as client:
        await client.receive()
        await redis.xadd(streams.enriched(0), {"hello": "world"})
        await redis.xadd(streams.enriched(0), dict(zip(Enriched._fields, ("999", "AAPL", "1", "1", "x", "1-0", "", ""), strict=True)))
        await market.trade("AAPL", "5")
        message = await client.receive()
        assert [(stock["seq"], stock["price"]) for stock in message["stocks"]] == [(1, 5)]


async def test_latest_value_that_is_none_is_passed_over(market: Market, redis: Redis, redis_url: str) -> None:
    await market.trade("AAPL", "5")
    await redis.hset(streams.latest(0), mapping={"KO": "{}", "V": "nonsense", "X": '{"ticker":"Y"}'})
    async with running_gateway(redis_url) as port, Client(port) as client:
        assert [stock["ticker"] for stock in (await client.receive())["stocks"]] == ["AAPL"]


@pytest.mark.parametrize(
    ("text", "code"),
    [("{", "bad_json"), ('{"action":"fly"}', "bad_action"), ('{"action":"auth","token":"x"}', "not_supported")],
)
async def test_refused_command_gets_an_error_and_the_connection_stays(port: int, text: str, code: str) -> None:
    async with Client(port) as client:
        await client.receive()
        await client.websocket.send(text)
        error = await client.receive()
        assert (error["type"], error["code"], set(error)) == ("error", code, {"type", "code", "message"})
        await client.send(action="ping")
        assert (await client.receive())["type"] == "pong"


async def test_many_clients_see_the_same(market: Market, port: int) -> None:
    clients = [Client(port) for _ in range(20)]
    await asyncio.gather(*(client.__aenter__() for client in clients))
    await market.trade("TSLA", "10", "11", "9", "12")
    await market.trade("AAPL", "1")
    for client in clients:
        await client.until_seen("AAPL", 1)
        await client.until_seen("TSLA", 4)
    assert len({json.dumps(client.prices, default=str, sort_keys=True) for client in clients}) == 1
    await asyncio.gather(*(client.__aexit__() for client in clients))
