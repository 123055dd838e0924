"""A gateway that is told to end: nobody new, those who are connected are served until their turn, and nobody holds it up."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from pydantic import SecretStr

from services.admin.embedded import find_free_port
from services.gateway.draining import Draining
from services.gateway.feed import BLOCK_SECONDS
from services.gateway.outbox import Limits
from services.gateway.service import Gateway
from services.gateway.settings import GatewaySettings
from shared.redis.client import connect
from tests.integration.gateway.client import Client
from tests.integration.gateway.market import PERIOD, Market
from tests.integration.gateway.test_gateway_slow_client import stalled_client

CLIENTS = 8
HINT = re.compile(r"^going away; reconnect in (\d+\.\d) s$")


class Leaving:
    """A gateway that can be told to end, and then asks only as many clients to go as it is allowed to."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.gateway = Gateway(settings, Limits(stall_seconds=600.0))
        self.port = settings.gateway_port
        self.stop = asyncio.Event()
        self.allowed = 0
        self.working: asyncio.Task[None]


@pytest.fixture
async def leaving(market: Market, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Leaving]:
    """At work; whoever is still connected after the test is allowed to go."""
    settings = GatewaySettings(
        redis_url=SecretStr(redis_url), partitions=2, sma_period=PERIOD, gateway_port=find_free_port(), gateway_flush_seconds=0
    )
    leaving = Leaving(settings)
    monkeypatch.setattr(Draining, "due", lambda *_: leaving.allowed)
    async with connect(redis_url, service="gateway", block_seconds=BLOCK_SECONDS) as redis, leaving.gateway.listening() as server:
        leaving.working = asyncio.create_task(leaving.gateway.work(redis, server, leaving.stop))
        yield leaving
        leaving.stop.set()
        leaving.allowed = 1000
        async with asyncio.timeout(30):
            await leaving.working


@asynccontextmanager
async def clients(port: int) -> AsyncIterator[list[Client]]:
    """Clients that have their first message."""
    async with AsyncExitStack() as stack:
        connected = [await stack.enter_async_context(Client(port)) for _ in range(CLIENTS)]
        for client in connected:
            await client.receive()
        yield connected


async def first_closed(connected: list[Client]) -> Client:
    """Wait for one of them to be closed."""
    ending = {asyncio.create_task(client.websocket.wait_closed()): client for client in connected}
    done, others = await asyncio.wait(ending, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    for other in others:
        other.cancel()
    (one,) = done
    return ending[one]


async def test_prices_and_alerts_flow_to_those_whose_turn_has_not_come(market: Market, leaving: Leaving) -> None:
    async with clients(leaving.port) as connected:
        leaving.stop.set()
        leaving.allowed = 1
        gone = await first_closed(connected)
        assert HINT.search(str(gone.websocket.close_reason))
        await market.trade("AAPL", "5", "5", "9", "1")
        staying = [client for client in connected if client is not gone]
        for client in staying:
            await client.until_seen("AAPL", 4)
        leaving.allowed = CLIENTS
        for client in staying:
            close = await client.read_to_the_end()
            assert close is not None
            assert close.code == 1001
            assert len(client.alert_ids) == 1
        await leaving.working


async def test_nobody_new_is_let_in_while_others_go(market: Market, leaving: Leaving) -> None:
    async with clients(leaving.port) as connected:
        leaving.stop.set()
        leaving.allowed = 1
        await first_closed(connected)
        with pytest.raises(ConnectionRefusedError):
            await Client(leaving.port).__aenter__()


async def test_a_client_that_reads_nothing_does_not_hold_up_the_end(market: Market, leaving: Leaving) -> None:
    async with stalled_client(leaving.port) as stalled:
        leaving.stop.set()
        leaving.allowed = 1
        async with asyncio.timeout(30):
            await leaving.working
        stalled.websocket.transport.resume_reading()


async def test_a_handshake_that_is_going_on_is_refused_and_not_forgotten(market: Market, leaving: Leaving) -> None:
    async with clients(leaving.port) as connected:
        reader, writer = await asyncio.open_connection("127.0.0.1", leaving.port)
        writer.write(b"GET /ws/stocks/ HTTP/1.1\r\n")
        # Its bytes are with the gateway once another connection has been answered after them.
        await connected[0].send(action="ping")
        await connected[0].receive_type("pong")
        leaving.stop.set()
        leaving.allowed = 1
        await first_closed(connected)
        writer.write(
            b"Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert (await reader.readline()).split()[1] == b"503"
        writer.close()
        await writer.wait_closed()
