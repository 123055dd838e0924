"""Bytes that no honest client sends: each ends its own connection with the right code, and nothing is noticed elsewhere."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from websockets.frames import Opcode

from tests.integration.gateway.client import Client
from tests.integration.gateway.market import Market
from tests.integration.gateway.raw import frame, raw, request
from tests.integration.gateway.test_gateway_limits import everybody_left
from tests.integration.gateway.test_gateway_metrics import now

TEXT = frame(b'{"action":"ping"}')
ENDINGS = {
    "longer than 4 KiB": (frame(b" " * 4097), 1009),
    "longer than 4 KiB in fragments": (frame(b" " * 4000, fin=False) + frame(b" " * 97, 0), 1009),
    "declared to be 2^63 long": (b"\x81\xff" + (1 << 63).to_bytes(8) + b"mask", 1009),
    "declared to be 2^64 - 1 long": (b"\x81\xff" + b"\xff" * 8 + b"mask", 1009),
    "not masked": (frame(b'{"action":"ping"}', mask=False), 1002),
    "with reserved bit 1": (frame(b"x", reserved=4), 1002),
    "with reserved bit 3": (frame(b"x", reserved=1), 1002),
    "of an unknown kind": (frame(b"x", 3), 1002),
    "of an unknown control kind": (frame(b"x", 11), 1002),
    "continuing nothing": (frame(b"x", 0), 1002),
    "within an unfinished message": (frame(b"x", fin=False) + TEXT, 1002),
    "a ping of 126 bytes": (frame(b"x" * 126, Opcode.PING), 1002),
    "a ping in fragments": (frame(b"x", Opcode.PING, fin=False), 1002),
    "a close with one byte": (frame(b"x", Opcode.CLOSE), 1002),
    "a close with a code that may not be sent": (frame((1005).to_bytes(2), Opcode.CLOSE), 1002),
    "a close whose reason is not UTF-8": (frame((1000).to_bytes(2) + b"\xff", Opcode.CLOSE), 1007),
    "text that is not UTF-8": (frame(b'{"action":"\xff\xfe"}'), 1007),
    "text with half a surrogate pair": (frame(b'"\xed\xa0\x80"'), 1007),
    "text that ends within a character": (frame(b'"\xe2\x82'), 1007),
    "binary": (frame(b'{"action":"ping"}', Opcode.BINARY), 4400),
    "an empty binary one": (frame(b"", Opcode.BINARY), 4400),
}


@pytest.fixture(autouse=True)
async def unharmed(market: Market, port: int, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[None]:
    """Somebody else is served before and after; afterwards no place is taken and nothing was logged as an error."""
    async with Client(port) as other:
        await other.receive()
        yield
        await other.send(action="ping")
        await other.receive_type("pong")
        await market.trade("AAPL", "1")
        await other.until_seen("AAPL", 1)
    await everybody_left()
    assert now("subscriptions") == 0
    printed = capsys.readouterr().out
    assert "error" not in printed
    assert "Traceback" not in printed


async def test_frame_that_may_not_be_ends_the_connection_with_its_code(port: int) -> None:
    async def code_of(name: str) -> int:
        async with raw(port) as client:
            await client.opened()
            client.send(ENDINGS[name][0])
            return (await client.end()).code

    codes = await asyncio.gather(*map(code_of, ENDINGS))
    assert dict(zip(ENDINGS, codes, strict=True)) == {name: code for name, (_, code) in ENDINGS.items()}


async def test_frame_that_comes_before_the_handshake_is_answered_ends_it(port: int) -> None:
    async def ends(sent: bytes) -> None:
        async with raw(port) as client, asyncio.timeout(15):
            client.send(request() + sent)
            with suppress(ConnectionError):
                await client.reader.read()

    await asyncio.gather(*(ends(sent) for sent, _ in ENDINGS.values()), ends(TEXT * 500), ends(TEXT * 5000), ends(request()))


REQUESTS = {
    "empty": (b"\r\n\r\n", 0),
    "garbage": (b"GARBAGE\r\n\r\n", 0),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200 + b"\n", 0),
    "of another version": (b"GET /ws/stocks/ HTTP/9.9\r\n\r\n", 0),
    "with a path that is not ASCII": (b"GET /ws/stocks/\xff HTTP/1.1\r\n\r\n", 0),
    "with a header that is none": (request().replace(b"Host: ", b"Host \x00: "), 0),
    "in chunks": (request("/ws/stocks/", "Transfer-Encoding: chunked"), 0),
    "with a body": (request("/ws/stocks/", "Content-Length: 5") + b"12345", 0),
    "with a long path": (request("/" + "x" * 9000), 414),
    "with a long header": (request("/ws/stocks/", "X-A: " + "x" * 9000), 431),
    "with many headers": (request("/ws/stocks/", *["X-A: b"] * 200), 431),
    "with 100 KB of headers": (request("/ws/stocks/", *[f"X-A: {'x' * 1000}"] * 100), 0),
    "with 24 KB of headers": (request("/ws/stocks/", *[f"X-A: {'x' * 8000}"] * 3), 101),
    "for another protocol": (request().replace(b"websocket", b"h2c"), 426),
    "of another version of the protocol": (request().replace(b"13\r\n", b"7\r\n"), 400),
    "with a short key": (request().replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"), 400),
    "with subprotocols that are none": (request("/ws/stocks/", "Sec-WebSocket-Protocol: ,,;;"), 400),
    "with a query that is not UTF-8": (request("/ws/stocks/?tickers=%ff%fe%00"), 101),
    "with a query of nothing": (request("/ws/stocks/?" + "&" * 4000), 101),
    "that posts": (request().replace(b"GET", b"POST"), 405),
}


async def test_request_that_may_not_be_is_refused_or_cut(port: int) -> None:
    async def status_of(name: str) -> int:
        async with raw(port) as client:
            client.send(REQUESTS[name][0])
            return (await client.head())[0]

    statuses = await asyncio.gather(*map(status_of, REQUESTS))
    assert dict(zip(REQUESTS, statuses, strict=True)) == {name: status for name, (_, status) in REQUESTS.items()}


async def test_headers_without_an_end_are_cut_at_a_bound(port: int) -> None:
    async with raw(port) as client:
        client.send(b"GET /ws/stocks/ HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            for _ in range(50_000):
                client.send(b"X-A: " + b"x" * 994 + b"\r\n")
                await client.writer.drain()


async def test_noise_harms_nobody(port: int) -> None:
    for start in (b"", request()):
        for _ in range(25):
            async with raw(port) as client:
                client.send(start, os.urandom(2000))
                client.writer.write_eof()
                with suppress(ConnectionError):
                    async with asyncio.timeout(15):
                        await client.reader.read()
