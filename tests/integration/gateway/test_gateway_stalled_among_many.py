"""One that stalls and many that never finish their handshake, among clients that read: those get every price, in order."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from redis.asyncio import Redis

from tests.integration.gateway.client import Client
from tests.integration.gateway.conftest import running_gateway
from tests.integration.gateway.market import Market
from tests.integration.gateway.test_gateway_slow_client import PATIENT, TICKERS, fill, silent_socket, stalled_client

CLIENTS = 20
SILENT = 50
ROUNDS = 10


@pytest.fixture
async def market(redis: Redis) -> Market:
    """One partition, so that all tickers come in one message."""
    market = Market(redis, partitions=1)
    await market.open()
    return market


async def follow(client: Client) -> list[int]:
    """Receive until the last round; return the prices of one ticker as they came."""
    prices: list[int] = []
    while not prices or prices[-1] < ROUNDS:
        message = await client.receive()
        prices += [stock["price"] for stock in message.get("stocks", ()) if stock["ticker"] == "T0"]
    return prices


async def test_those_who_read_get_everything_whatever_the_others_do(market: Market, redis_url: str) -> None:
    await fill(market, 1)
    async with running_gateway(redis_url, partitions=1, limits=PATIENT) as port, AsyncExitStack() as stack:
        for number in range(SILENT):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            writer.write(b"GET /ws/stocks/ HTTP/1.1\r\nHost: x\r\n"[: 5 + number])
        await stack.enter_async_context(silent_socket(port))
        slow = await stack.enter_async_context(stalled_client(port))
        clients = [await stack.enter_async_context(Client(port, "?tickers=T0,T1")) for _ in range(CLIENTS)]
        for client in clients:
            await client.until_seen("T0", 1)
        following = [asyncio.create_task(follow(client)) for client in clients]
        for price in range(2, ROUNDS + 1):
            await fill(market, price)
            # A round is over when all have it: nobody here is slow enough to have prices conflated.
            while any(client.prices["T0"][1] < price for client in clients):
                await asyncio.sleep(0.01)
        assert await asyncio.gather(*following) == [list(range(2, ROUNDS + 1))] * CLIENTS
        slow.websocket.transport.resume_reading()
        await slow.until_seen(f"T{TICKERS - 1}", ROUNDS * TICKERS)
