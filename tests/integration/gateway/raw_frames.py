"""A client made of bytes: it says and sees exactly what is on the wire."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from websockets.frames import Opcode

from services.gateway.frames import encode_frame
from tests.integration.gateway.client import PATIENCE_SECONDS

DEFLATE = "permessage-deflate"


class RawFrame(NamedTuple):
    """A frame as it was received: its first byte, its payload, and all of it."""

    first: int
    payload: bytes
    whole: bytes


class RawClient:
    """`async with raw_client(port)`: frames one by one, without the parser of a library."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: str) -> None:
        self._reader = reader
        self.writer = writer
        self.answer = answer
        """Headers of the handshake."""

    @property
    def extensions(self) -> str | None:
        """What the gateway accepted."""
        lines = [line.partition(": ") for line in self.answer.split("\r\n")]
        return next((value for name, _, value in lines if name.lower() == "sec-websocket-extensions"), None)

    async def read_frame(self) -> RawFrame:
        """The next frame, of whatever kind."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await self._reader.readexactly(2)
            length = await self._reader.readexactly({126: 2, 127: 8}.get(head[1], 0))
            payload = await self._reader.readexactly(int.from_bytes(length, "big") if length else head[1])
        return RawFrame(head[0], payload, head + length + payload)

    async def read_close(self) -> tuple[int, str]:
        """Read up to the close frame: its code and reason."""
        while (frame := await self.read_frame()).first & 0x0F != Opcode.CLOSE:
            pass
        return struct.unpack("!H", frame.payload[:2])[0], frame.payload[2:].decode()

    def send(self, opcode: Opcode, payload: bytes, *, fin: bool = True, rsv1: bool = False) -> None:
        """Send a frame, masked (with zeros) as a client's must be."""
        head = encode_frame(fin << 7 | rsv1 << 6 | opcode, payload)[: -len(payload) or None]
        self.writer.write(head[:1] + bytes((head[1] | 0x80,)) + head[2:] + bytes(4) + payload)


@asynccontextmanager
async def raw_client(port: int, *offers: str, query: str = "") -> AsyncIterator[RawClient]:
    """Shake hands, offering extensions."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [
        f"GET /ws/stocks/{query} HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13",
        *(f"Sec-WebSocket-Extensions: {offer}" for offer in offers),
    ]  # fmt: skip
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    answer = (await reader.readuntil(b"\r\n\r\n")).decode()
    assert " 101 " in answer, answer
    try:
        yield RawClient(reader, writer, answer)
    finally:
        writer.transport.abort()


def reset(writer: asyncio.StreamWriter) -> None:
    """Cut a connection without a word, as a host does that crashed and came back."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
