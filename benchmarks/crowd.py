"""Many WebSocket clients in one cheap process: `python -m benchmarks.crowd PORT CLIENTS plain|deflate`.

All connect at once. When each has its first message, and then whenever each has one more, a line of JSON says when they began to
connect and when each had it: seconds of the monotonic clock, which all processes of a machine share.
"""

import json
import select
import socket
import sys
import time
from collections import defaultdict

PONG = b"\x8a\x80\0\0\0\0"
"""Masked with zeros."""
FIRST, OPCODE, TEXT, PING = 0, 0x0F, 0x01, 0x09

buffer = memoryview(bytearray(1 << 18))


class Client:
    """A connection: its frames are counted, not read."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.socket()
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.socket.send(request)
        self.frames = 0
        self._left = 0
        self._head = b""
        self._is_open = False

    def receive(self) -> int:
        """Read what there is; return how many messages ended in it. Raise `EOFError` at the end."""
        size = self.socket.recv_into(buffer)
        if not size:
            raise EOFError
        if not self._is_open:
            return self._shake_hands(bytes(buffer[:size]))
        return self._count(buffer[:size])

    def _shake_hands(self, data: bytes) -> int:
        head, end, rest = (self._head + data).partition(b"\r\n\r\n")
        if not end:
            self._head += data
            return 0
        if b" 101 " not in head:
            raise EOFError(head.decode())
        self._is_open, self._head = True, b""
        return self._count(memoryview(rest))

    def _count(self, data: memoryview) -> int:
        ended = 0
        while len(data):
            if self._left:
                taken = min(self._left, len(data))
                self._left -= taken
                data = data[taken:]
                ended += not self._left
                continue
            head = self._head + bytes(data[: 10 - len(self._head)])
            size = _size_of(head)
            if size is None:
                self._head = head
                return ended
            header, length = size
            data = data[header - len(self._head) :]
            self._head = b""
            if head[FIRST] & OPCODE == PING:
                self.socket.send(PONG)
            elif head[FIRST] & OPCODE == TEXT:
                self._left = length
            else:
                raise EOFError(f"frame {head!r}")
        return ended


def _size_of(head: bytes) -> tuple[int, int] | None:
    """Bytes of a frame's header and of its payload; None if the header is not whole."""
    for mark, header in ((126, 4), (127, 10)):
        if len(head) > 1 and head[1] == mark:
            return (header, int.from_bytes(head[2:header], "big")) if len(head) >= header else None
    return (2, head[1]) if len(head) > 1 else None


def connect(port: int, clients: int, is_compressing: bool) -> list[Client]:
    """Open all connections."""
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" if is_compressing else ""
    request = (
        "GET /ws/stocks/ HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"{offer}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    return [Client(port, request.encode()) for _ in range(clients)]


def watch(clients: list[Client], began: float) -> None:
    """Print a line whenever all clients have one more message, for ever."""
    poll = select.epoll()
    for client in clients:
        poll.register(client.socket, select.EPOLLIN)
    by_descriptor = {client.socket.fileno(): client for client in clients}
    arrived: defaultdict[int, list[float]] = defaultdict(list)
    while True:
        for descriptor, _ in poll.poll():
            client = by_descriptor[descriptor]
            ended = client.receive()
            now = time.monotonic()
            for _ in range(ended):
                client.frames += 1
                times = arrived[client.frames]
                times.append(now)
                if len(times) == len(clients):
                    print(json.dumps({"began": began, "arrived": arrived.pop(client.frames)}), flush=True)


def main(port: str, clients: str, form: str) -> None:
    """Run until killed."""
    began = time.monotonic()
    watch(connect(int(port), int(clients), form == "deflate"), began)


if __name__ == "__main__":
    main(*sys.argv[1:])
