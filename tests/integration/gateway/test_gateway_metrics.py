"""What the gateway counts: clients, what they are sent, what they miss, why they are sent away, and what goes wrong before it."""

import asyncio
from collections.abc import Callable

from redis.asyncio import Redis

from services.gateway.outbox import Limits
from shared import streams
from tests.integration.gateway.client import Client
from tests.integration.gateway.conftest import running_gateway
from tests.integration.gateway.market import Market
from tests.integration.gateway.test_gateway_slow_client import PATIENT, fill, stalled_client
from tests.observed import PATIENCE_SECONDS, Gain, total


def gain(name: str, **labels: str) -> Gain:
    return Gain("gateway", f"tickstream_gateway_{name}", **labels)


def now(name: str) -> float:
    return total("gateway", f"tickstream_gateway_{name}")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def test_clients_and_their_subscriptions_are_counted_as_they_come_and_go(port: int) -> None:
    assert now("clients") == 0
    async with Client(port) as first, Client(port, "?tickers=AAPL") as second, Client(port, "?tickers=AAPL") as third:
        for client in (first, second, third):
            await client.receive()
        assert (now("clients"), now("subscriptions")) == (3, 2)
    await until(lambda: now("clients") == 0)
    assert now("subscriptions") == 0


async def test_messages_and_their_bytes_are_counted(market: Market, port: int) -> None:
    messages, sent_bytes, flushes = gain("messages_sent_total"), gain("sent_bytes_total"), gain("flush_seconds_count")
    hop = Gain("gateway", "tickstream_hop_seconds_count", hop="analyzer_to_gateway")
    async with Client(port) as client:
        await client.receive()
        await client.send(action="ping")
        pong = await client.receive()
        await market.trade("AAPL", "1")
        await client.until_seen("AAPL", 1)
        await messages.reaches(3)
    assert sent_bytes.value > 2 * len(str(pong))
    assert flushes.value >= 1
    assert hop.value == 1


async def test_alerts_are_counted_once_for_all_clients(market: Market, port: int) -> None:
    alerts = gain("alerts_total")
    async with Client(port) as first, Client(port) as second:
        for client in (first, second):
            await client.receive()
        await market.trade("AAPL", "2", "1", "3", "1")
        for client in (first, second):
            await client.until_seen("AAPL", 4)
        assert len(first.alert_ids) == len(second.alert_ids) == alerts.value == 2


async def test_closes_are_counted_by_the_code_of_our_side_only(port: int) -> None:
    too_big, normal = gain("closes_total", code="1009"), gain("closes_total", code="1000")
    bad = gain("closes_total", code="4400")
    async with Client(port) as client:
        await client.websocket.send(" " * 4097)
        await too_big.reaches(1)
    async with Client(port) as client:
        await client.websocket.send(b"binary")
        await bad.reaches(1)
    async with Client(port) as client:
        await client.receive()
    await until(lambda: now("clients") == 0)
    assert normal.value == 0


async def test_stopping_counts_who_was_sent_away(market: Market, redis_url: str) -> None:
    going = gain("closes_total", code="1001")
    async with running_gateway(redis_url) as port:
        clients = [Client(port) for _ in range(3)]
        for client in clients:
            await client.__aenter__()
            await client.receive()
        ends = [asyncio.create_task(client.read_to_the_end()) for client in clients]
    await asyncio.gather(*ends)
    await going.reaches(3)


async def test_what_waits_for_a_slow_client_is_shown_and_what_it_misses_is_counted(redis: Redis, redis_url: str) -> None:
    market = Market(redis, partitions=1)
    await market.open()
    await fill(market, 1)
    skips = gain("updates_skipped_total")
    async with running_gateway(redis_url, partitions=1, limits=PATIENT) as port, stalled_client(port) as slow:
        price = 2
        async with asyncio.timeout(PATIENCE_SECONDS):
            while now("outbox_largest") < 500:
                await fill(market, price)
                price += 1
        assert now("outbox_waiting") == now("outbox_largest")
        for _ in range(5):  # however long it lasts: a slot for each ticker, and no more
            await fill(market, price)
            price += 1
        assert now("outbox_waiting") == 500
        slow.websocket.transport.resume_reading()
        while "skipped" not in (message := await slow.receive()):
            pass
        assert skips.value == message["skipped"] > 0
        await until(lambda: now("outbox_waiting") == 0)


async def test_slow_client_that_is_closed_counts_with_its_code(redis: Redis, redis_url: str) -> None:
    market = Market(redis, partitions=1)
    await market.open()
    await fill(market, 1)
    closed = gain("closes_total", code="4408")
    async with running_gateway(redis_url, partitions=1, limits=Limits(stall_seconds=0.5)) as port, stalled_client(port) as slow:
        for price in range(2, 17):
            await fill(market, price)
        await closed.reaches(1)
        slow.websocket.transport.resume_reading()
        await slow.read_to_the_end()


async def test_entries_that_are_no_events_are_counted(market: Market, redis: Redis, port: int) -> None:
    skipped = gain("entries_skipped_total")
    async with Client(port) as client:
        await client.receive()
        await redis.xadd(streams.enriched(0), {"no": "event"})
        await skipped.reaches(1)


async def test_new_incarnations_are_counted_by_what_they_mean(market: Market, redis: Redis, port: int) -> None:
    outcomes = {outcome: gain("incarnations_total", outcome=outcome) for outcome in ("continue", "rewind", "reset")}
    async with Client(port) as client:
        await client.receive()
        await market.lose_everything()
        await client.receive_loss()
        assert outcomes["reset"].value >= 1
        assert outcomes["rewind"].value == 0
