"""Who is sent compressed frames, that they are the same for all, and that what comes in cannot grow without bound."""

import json
import zlib
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import connect
from websockets.frames import Opcode

from services.gateway import frames
from tests.integration.gateway.client import Client
from tests.integration.gateway.conftest import running_gateway
from tests.integration.gateway.market import Market
from tests.integration.gateway.raw_frames import DEFLATE, raw_client

BOTH = f"{DEFLATE}; server_no_context_takeover; client_no_context_takeover"
PLAIN, COMPRESSED = 0x81, 0xC1
NAMES = [f"T{n}" for n in range(20)]


@pytest.fixture
async def market(redis: Redis) -> Market:
    """One partition, with so many tickers that a snapshot is worth to be compressed."""
    market = Market(redis, partitions=1)
    await market.open()
    await move(market, "1")
    return market


@pytest.fixture
async def port(market: Market, redis_url: str) -> AsyncIterator[int]:
    """The port of a gateway for that one partition."""
    async with running_gateway(redis_url, partitions=1) as port:
        yield port


async def move(market: Market, price: str) -> None:
    await market.append([(name, price, "1771105101950") for name in NAMES])
    await market.analyze(0)


def inflate(payload: bytes) -> bytes:
    """By itself: nothing is remembered of the message before."""
    return zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")


@pytest.mark.parametrize(
    ("offers", "accepted"),
    [
        ((DEFLATE,), BOTH),
        ((f"{DEFLATE}; client_max_window_bits",), BOTH),
        ((f"{DEFLATE}; server_max_window_bits=15; client_max_window_bits=12",),
         f"{BOTH}; server_max_window_bits=15; client_max_window_bits=12"),
        ((f"{DEFLATE}; server_max_window_bits=10, {DEFLATE}",), BOTH),
        ((f"{DEFLATE}; server_max_window_bits=10", DEFLATE), BOTH),
        ((f"{DEFLATE}; server_max_window_bits=14",), None),
        ((f"{DEFLATE}; nonsense=1",), None),
        (("x-webkit-deflate-frame",), None),
        ((), None),
    ],
)  # fmt: skip
async def test_frames_are_compressed_as_it_was_agreed(market: Market, port: int, offers: tuple[str, ...], accepted: str | None) -> None:
    async with raw_client(port, *offers) as client:
        assert client.extensions == accepted
        first = await client.read_frame()
        await move(market, "2")
        second = await client.read_frame()
    assert (first.first, second.first) == ((COMPRESSED, COMPRESSED) if accepted else (PLAIN, PLAIN))
    for frame, price in ((first, 1), (second, 2)):
        message = json.loads(inflate(frame.payload) if accepted else frame.payload)
        assert {stock["ticker"]: stock["price"] for stock in message["stocks"]} == dict.fromkeys(NAMES, price)


async def test_clients_that_compress_get_the_same_bytes_and_they_are_compressed_once(
    market: Market, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    compressed = []
    deflate = frames.deflate

    def count(payload: bytes | memoryview) -> bytes:
        compressed.append(deflate(payload))
        return compressed[-1]

    async with (
        raw_client(port, DEFLATE) as first,
        raw_client(port, f"{DEFLATE}; client_max_window_bits=9") as second,
        raw_client(port) as plain,
        raw_client(port) as other,
    ):
        for client in (first, second, plain, other):
            await client.read_frame()
        monkeypatch.setattr(frames, "deflate", count)
        await move(market, "2")
        one, two, three, four = [await client.read_frame() for client in (first, second, plain, other)]
    assert one.whole == two.whole
    assert three.whole == four.whole
    assert inflate(one.payload) == three.payload
    assert compressed == [one.payload]


async def test_nothing_is_compressed_where_nobody_wants_it(market: Market, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    compressed: list[bytes] = []
    monkeypatch.setattr(frames, "deflate", compressed.append)
    async with raw_client(port) as client:
        await client.read_frame()
        await move(market, "2")
        await client.read_frame()
    assert compressed == []


async def test_short_answers_are_plain_among_compressed_messages(market: Market, port: int) -> None:
    async with raw_client(port, DEFLATE) as client:
        assert (await client.read_frame()).first == COMPRESSED
        client.send(Opcode.TEXT, b'{"action":"nonsense"}')
        answer = await client.read_frame()
        assert (answer.first, json.loads(answer.payload)["code"]) == (PLAIN, "bad_action")
        await move(market, "2")
        assert (await client.read_frame()).first == COMPRESSED


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_client_of_websockets_reads_either_form(market: Market, port: int, compression: str | None) -> None:
    async with connect(f"ws://127.0.0.1:{port}/ws/stocks/", proxy=None, compression=compression) as client:
        assert len(json.loads(await client.recv())["stocks"]) == 20
        for price in range(2, 6):
            await move(market, str(price))
            assert {stock["price"] for stock in json.loads(await client.recv())["stocks"]} == {price}
        await client.send('{"action":"ping"}')
        assert json.loads(await client.recv())["type"] == "pong"


def small_and_deflated(text: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


@pytest.mark.parametrize(("size", "type_or_code"), [(4096, "pong"), (4097, 1009), (10_000_000, 1009)])
async def test_what_a_client_compressed_is_measured_as_it_was(market: Market, port: int, size: int, type_or_code: str | int) -> None:
    command = small_and_deflated(b'{"action":"ping"}'.ljust(size))
    async with raw_client(port, DEFLATE) as client:
        await client.read_frame()
        client.send(Opcode.TEXT, command[:4000], fin=len(command) <= 4000, rsv1=True)
        if len(command) > 4000:
            client.send(Opcode.CONT, command[4000:])
        if isinstance(type_or_code, int):
            assert (await client.read_close())[0] == type_or_code
        else:
            answer = await client.read_frame()
            assert json.loads(inflate(answer.payload) if answer.first == COMPRESSED else answer.payload)["type"] == type_or_code


async def test_fragments_are_measured_together_after_inflating(market: Market, port: int) -> None:
    bomb = small_and_deflated(b" " * 100_000)
    async with raw_client(port, DEFLATE) as client:
        await client.read_frame()
        for place in range(0, len(bomb), 10):
            client.send(Opcode.CONT if place else Opcode.TEXT, bomb[place : place + 10], fin=False, rsv1=not place)
        assert (await client.read_close())[0] == 1009


async def test_what_is_no_deflated_text_ends_the_connection_and_no_other(market: Market, port: int) -> None:
    async with raw_client(port, DEFLATE) as client, Client(port) as other:
        await client.read_frame()
        await other.receive()
        client.send(Opcode.TEXT, b"\xff" * 100, rsv1=True)
        assert (await client.read_close())[0] == 1002
        await other.send(action="ping")
        await other.receive_type("pong")
