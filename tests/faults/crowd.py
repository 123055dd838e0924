"""Very many clients that cost next to nothing, all connecting at once: `python -m tests.faults.crowd PORT COUNT`.

Raw sockets that read the frames of RFC 6455 just far enough to tell messages from each other. A line on standard input asks how many
have got how far, which is one line of JSON on standard output.
"""

import asyncio
import json
import sys
from collections import Counter
from random import random

from shared.listening import allow_open_files

REQUEST = (
    b"GET /ws/stocks/ HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A


class Comer(asyncio.Protocol):
    """One of the crowd; `steps` counts for all how many have come how far."""

    def __init__(self, port: int, steps: Counter[str]) -> None:
        self._port = port
        self._steps = steps
        self._buffer = bytearray()
        self._is_open = False
        self._messages = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._is_open:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            self._steps[f"HTTP {head.split()[1].decode()}"] += 1
            self._is_open, self._buffer = True, bytearray(rest)
        while (end_of_frame := whole_frame(self._buffer)) is not None:
            self._take(bytes(self._buffer[:end_of_frame]))
            del self._buffer[:end_of_frame]

    def _take(self, frame: bytes) -> None:
        if frame[0] == CLOSE:
            self._steps[f"closed with {int.from_bytes(frame[2:4], 'big')}"] += 1
            self._transport.write(bytes((CLOSE, 0x80 | 2)) + bytes(4) + frame[2:4])
        elif frame[0] == PING:
            self._transport.write(bytes((PONG, 0x80 | frame[1])) + bytes(4) + frame[2:])  # masked with zeros
        elif frame[0] == TEXT and b'"type":"stock_update"' in frame:
            self._messages += 1
            if self._messages == 1:
                self._steps["snapshot"] += b'"snapshot":true' in frame
            elif b'"snapshot":false' in frame:
                self._steps["update"] += self._messages == 2

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_open:
            self._steps["cut"] += 1
            return
        # On a machine that is busy elsewhere its handshake took too long: it comes again, as a client does.
        self._steps["again"] += 1
        self._coming = asyncio.get_running_loop().create_task(come_again(self._port, self._steps))


def whole_frame(buffer: bytearray) -> int | None:
    """Where the first frame ends, None while it is not all there; frames of a server are not masked."""
    if len(buffer) < 2:
        return None
    length, start = buffer[1] & 0x7F, 2
    if length > 125:
        start += 2 if length == 126 else 8
        length = int.from_bytes(buffer[2:start], "big")
    return start + length if len(buffer) >= start + length else None


async def come(port: int, steps: Counter[str]) -> None:
    """Connect, whatever it takes the system."""
    try:
        await asyncio.get_running_loop().create_connection(lambda: Comer(port, steps), "127.0.0.1", port)
    except OSError as error:
        steps[f"refused: {error.strerror}"] += 1


async def come_again(port: int, steps: Counter[str]) -> None:
    """Connect after a while of one's own."""
    await asyncio.sleep(0.5 + random())
    await come(port, steps)


async def main(port: int, count: int) -> None:
    """Come all at once, and stay until standard input ends."""
    allow_open_files()
    steps: Counter[str] = Counter()
    coming = asyncio.gather(*(come(port, steps) for _ in range(count)))
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(steps), flush=True)
    coming.cancel()


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
