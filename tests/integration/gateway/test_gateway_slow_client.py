"""A client that does not read delays nobody, costs bounded memory and is closed."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis
from websockets.frames import Frame, Opcode

from services.gateway.outbox import Limits
from services.gateway.protocol import Subscription, encode_subscribed
from tests.integration.gateway.client import PATIENCE_SECONDS, Client
from tests.integration.gateway.conftest import ANY_RATE, running_gateway
from tests.integration.gateway.market import Market

HANDSHAKE = (
    b"GET /ws/stocks/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TICKERS = 500
PATIENT = Limits(stall_seconds=600.0)


@pytest.fixture
async def market(redis: Redis) -> Market:
    """One partition, so that all tickers come in one message."""
    market = Market(redis, partitions=1)
    await market.open()
    return market


async def fill(market: Market, price: int) -> None:
    """A new price for every ticker: a message of 60 KB, beyond what the buffers before a small client hold."""
    await market.append([(f"T{n}", str(price), "1771105101950") for n in range(TICKERS)])
    await market.analyze(0)


def small_socket(port: int) -> socket.socket:
    """A connection whose system buffers little for it, so that the gateway feels at once that nobody reads."""
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.connect(("127.0.0.1", port))
    small.setblocking(False)
    return small


@asynccontextmanager
async def stalled_client(port: int) -> AsyncIterator[Client]:
    """A client that reads nothing after its first message until it is told to."""
    async with Client(port, socket=small_socket(port), compression=None) as client:
        await client.receive()
        client.websocket.transport.pause_reading()
        yield client


@asynccontextmanager
async def silent_socket(port: int) -> AsyncIterator[socket.socket]:
    """A socket that shakes hands and never reads what comes after that."""
    silent, loop = small_socket(port), asyncio.get_running_loop()
    await loop.sock_sendall(silent, HANDSHAKE)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await loop.sock_recv(silent, 1)
    yield silent
    silent.close()


async def send_until_cut(silent: socket.socket, data: bytes) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20):
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while True:
                await loop.sock_sendall(silent, data)


async def until_closing(capsys: pytest.CaptureFixture[str]) -> None:
    """Until the gateway gave a client up, which it says before it tries to tell that client."""
    printed = ""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while "closing a slow client" not in printed:
            await asyncio.sleep(0.01)
            printed += capsys.readouterr().out


async def test_stalled_client_delays_nobody_and_is_closed(market: Market, redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    await fill(market, 1)
    loop = asyncio.get_running_loop()
    async with (
        running_gateway(redis_url, partitions=1, limits=Limits(stall_seconds=1.0)) as port,
        stalled_client(port) as stalled,
        Client(port, "?tickers=T1") as quick,
    ):
        await quick.receive()
        slowest = 0.0
        for price in range(2, 17):
            await fill(market, price)
            committed = loop.time()
            assert (await quick.receive())["stocks"][0]["price"] == price
            slowest = max(slowest, loop.time() - committed)
        assert slowest < 2.0
        await until_closing(capsys)
        stalled.websocket.transport.resume_reading()
        close = await stalled.read_to_the_end()
        assert close is None or close.code == 4408  # None: cut before the close frame got through
        assert len(quick.prices) == 1


async def test_client_that_reads_again_has_the_newest_values_and_is_told_what_it_skipped(market: Market, redis_url: str) -> None:
    async with (
        running_gateway(redis_url, partitions=1, limits=PATIENT) as port,
        stalled_client(port) as slow,
        Client(port) as quick,
    ):
        for price in range(1, 16):
            await fill(market, price)
            await quick.until_seen("T0", (price - 1) * TICKERS + 1)
        slow.websocket.transport.resume_reading()
        skipped = 0
        while slow.prices != quick.prices:
            skipped += (await slow.receive()).get("skipped", 0)
        assert skipped > 0
        assert skipped % TICKERS == 0


async def test_slow_client_misses_no_alert(market: Market, redis_url: str) -> None:
    async with (
        running_gateway(redis_url, partitions=1, limits=PATIENT) as port,
        stalled_client(port) as slow,
        Client(port) as quick,
    ):
        for price in range(10):
            await fill(market, 10 if price % 2 else 20)  # up and down: from the third on an alert for each ticker
            await quick.until_seen("T0", price * TICKERS + 1)
        slow.websocket.transport.resume_reading()
        while slow.prices != quick.prices or len(slow.alert_ids) < len(quick.alert_ids):
            await slow.receive()
        assert len(quick.alert_ids) == 8 * TICKERS
        assert slow.alert_ids == quick.alert_ids


async def test_client_whose_alert_queue_is_full_is_closed_as_slow(
    market: Market, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = Limits(alerts=2 * TICKERS, stall_seconds=600.0)
    async with (
        running_gateway(redis_url, partitions=1, limits=limits) as port,
        stalled_client(port) as slow,
        Client(port, "?tickers=T1") as quick,
    ):
        for price in range(10):
            await fill(market, 10 if price % 2 else 20)
            await quick.until_seen("T1", price * TICKERS + 2)
        await until_closing(capsys)
        slow.websocket.transport.resume_reading()
        close = await slow.read_to_the_end()
        assert close is not None
        assert close.code == 4408
        assert len(slow.alert_ids) < len(quick.alert_ids) * TICKERS


async def test_client_that_asks_and_does_not_read_is_not_obeyed_further(
    market: Market, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(market, 1)
    answers = 0

    def count(held: Subscription) -> bytes:
        nonlocal answers
        answers += 1
        return encode_subscribed(held)

    monkeypatch.setattr("services.gateway.protocol.encode_subscribed", count)
    commands = [json.dumps({"action": action, "tickers": ["*"]}) for action in ("unsubscribe", "subscribe")]
    frames = b"".join(Frame(Opcode.TEXT, command.encode()).serialize(mask=True, extensions=[]) for command in commands)
    async with (
        running_gateway(redis_url, partitions=1, limits=Limits(stall_seconds=0.5), bounds=ANY_RATE) as port,
        silent_socket(port) as silent,
    ):
        await send_until_cut(silent, frames * 100)
    assert 0 < answers < 200


async def test_pings_of_a_client_that_does_not_read_do_not_pile_up(market: Market, redis_url: str) -> None:
    ping = Frame(Opcode.PING, b"x" * 125).serialize(mask=True, extensions=[])
    async with (
        running_gateway(redis_url, partitions=1, limits=Limits(stall_seconds=0.5), bounds=ANY_RATE) as port,
        silent_socket(port) as silent,
    ):
        await send_until_cut(silent, ping * 1000)
