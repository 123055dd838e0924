"""A client that keeps to nothing: a TCP connection that sends the bytes of the test and tells what came back."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from websockets.frames import Opcode

PATIENCE_SECONDS = 15
REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


def request(path: str = "/ws/stocks/", *headers: str, host: str = "127.0.0.1:8001") -> bytes:
    """An opening handshake with more headers."""
    return "\r\n".join([REQUEST.format(path=path, host=host).rstrip(), *headers, "", ""]).encode()


def frame(payload: bytes = b"", opcode: int = Opcode.TEXT, *, fin: bool = True, reserved: int = 0, mask: bool = True) -> bytes:
    """A frame of a client, or what no client may send."""
    key = os.urandom(4)
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2) if size < 1 << 16 else b"\x7f" + size.to_bytes(8)
    if not mask:
        return head + length + payload
    masked = bytes(byte ^ key[n % 4] for n, byte in enumerate(payload))
    return head + bytes([length[0] | 0x80]) + length[1:] + key + masked


@dataclass
class End:
    """How a connection ended: the close frame's code and reason; 0 if there was none."""

    code: int
    reason: str = ""


class Raw:
    """One TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *data: bytes) -> None:
        """Send bytes; what the other side does with them is seen when reading."""
        self.writer.write(b"".join(data))

    async def head(self) -> tuple[int, str]:
        """Status and head of an HTTP answer; 0 if the connection ended without one."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                text = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            except (asyncio.IncompleteReadError, ConnectionError):
                return 0, ""
        return int(text.split(" ")[1]), text

    async def opened(self, path: str = "/ws/stocks/", *headers: str) -> "Raw":
        """Shake hands."""
        self.send(request(path, *headers))
        assert (await self.head())[0] == 101
        return self

    async def frames(self) -> AsyncIterator[tuple[int, bytes]]:
        """Opcode and payload of every frame until the end."""
        while True:
            try:
                head = await self.reader.readexactly(2)
                length = head[1]
                if length >= 126:
                    length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8))
                yield head[0] & 15, await self.reader.readexactly(length)
            except (asyncio.IncompleteReadError, ConnectionError):
                return

    async def end(self) -> End:
        """Read to the end of the TCP connection, which must come although this side keeps it open."""
        end = End(0)
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for opcode, payload in self.frames():
                if opcode == Opcode.CLOSE:
                    end = End(int.from_bytes(payload[:2]), payload[2:].decode())
        return end

    async def is_cut(self) -> None:
        """Wait until the other side hung up, saying nothing."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            with suppress(ConnectionError):
                assert await self.reader.read() == b""


@asynccontextmanager
async def raw(port: int) -> AsyncIterator[Raw]:
    """A connection that is given up at the end whatever is left of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()
