"""One connection of a client: requests in, answers and worse out, never a byte left in a buffer of this process."""

import asyncio
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import responses
from typing import NamedTuple
from urllib.parse import parse_qsl

import h11

RECEIVE_BYTES = 65536


class Request(NamedTuple):
    """A request as it arrived; header names in lower case, of a repeated parameter the last value."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Wire:
    """What to do with a connection. A client that hangs up makes every write raise `ConnectionError`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._h11 = h11.Connection(h11.SERVER)
        self._is_head = False
        # What drain has waited for is in the kernel: closing takes no time, and who counts bytes counts those that left.
        writer.transport.set_write_buffer_limits(high=0)

    async def receive(self) -> Request | None:
        """The next request; None if there is none, because the client hung up or sent something that is no HTTP."""
        request: Request | None = None
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError:
                return None
            if event is h11.NEED_DATA:
                self._h11.receive_data(await self._reader.read(RECEIVE_BYTES))
            elif isinstance(event, h11.Request):
                request = _read(event)
                self._is_head = request.method == "HEAD"
            elif isinstance(event, h11.EndOfMessage):
                return request
            elif not isinstance(event, h11.Data):
                return None

    async def answer(self, answer: Answer) -> None:
        """Send a whole answer."""
        await self.start(answer, {"Content-Length": str(len(answer.body))})
        await self.send(answer.body)
        await self.end()

    async def start(self, answer: Answer, framing: Mapping[str, str]) -> None:
        """Send status and headers of an answer; `framing` is the header that says where its body ends."""
        headers = {"Content-Type": answer.content_type, **answer.headers, **framing}
        reason = responses.get(answer.status, "").encode()
        await self._write(h11.Response(status_code=answer.status, reason=reason, headers=list(headers.items())))

    async def send(self, part: bytes) -> None:
        """Send a part of the body, which an answer to HEAD has not."""
        if not self._is_head:
            await self._write(h11.Data(data=part))

    async def end(self) -> None:
        """End a body that was sent in parts."""
        await self._write(h11.EndOfMessage())

    def is_ready_for_the_next(self) -> bool:
        """Whether request and answer are complete, and the connection stays; then it awaits the next request."""
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        return True

    async def hung_up(self) -> None:
        """Wait until the client hangs up, whatever else it sends."""
        while await self._reader.read(RECEIVE_BYTES):
            pass

    def break_off(self) -> None:
        """Make the end of this connection an RST instead of a FIN."""
        linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async def close(self) -> None:
        """Close at once, even towards a client that reads nothing."""
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def _write(self, event: h11.Event) -> None:
        self._writer.write(self._h11.send(event) or b"")
        await self._writer.drain()


def _read(event: h11.Request) -> Request:
    # Not by `urlsplit`, for which the target `//quote` is a host.
    path, _, parameters = event.target.decode().partition("?")
    # A key that is given as nothing must not look as if it was not given.
    query = dict(parse_qsl(parameters, keep_blank_values=True))
    headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
    return Request(event.method.decode(), path, query, headers)
