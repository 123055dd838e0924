"""What can come in place of an answer, each as it looks on the wire.

A fault is given to `FakeFinnhub.answer`; one object may be played several times.
"""

import asyncio
import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import responses

from tests.fakes.finnhub.quota import Rate
from tests.fakes.finnhub.wire import Answer, Wire

MEGABYTE = 1 << 20
BLOCK_BYTES = 1 << 16
LIMITED = b'{"error":"API limit reached. Please try again later. Remaining Limit: 0"}'


class Fault(ABC):
    """Something that takes the place of an answer."""

    def status(self, usual: Answer) -> int:
        """The status that the client is told; 0 if none."""
        return usual.status

    @abstractmethod
    async def play(self, wire: Wire, usual: Answer, now: float) -> None:
        """Do it; `usual` is what would have been answered, `now` is in epoch seconds. A connection in mid-answer is closed then."""


@dataclass(frozen=True)
class Body(Fault):
    """Another answer, well-formed HTTP."""

    content: bytes
    code: int
    content_type: str
    headers: Mapping[str, str]

    def status(self, usual: Answer) -> int:
        return self.code

    async def play(self, wire: Wire, usual: Answer, now: float) -> None:
        # As the usual ones are spelled: another spelling would be sent beside them, not in their place.
        headers = {name.title(): value for name, value in self.headers.items()}
        await wire.answer(Answer(self.code, self.content, self.content_type, {**usual.headers, **headers}))


@dataclass(frozen=True)
class Limited(Fault):
    """429, with or without the headers that tell until when."""

    with_headers: bool
    reset_in_seconds: float

    def status(self, usual: Answer) -> int:
        return HTTPStatus.TOO_MANY_REQUESTS

    async def play(self, wire: Wire, usual: Answer, now: float) -> None:
        limit = int(usual.headers["X-Ratelimit-Limit"])
        headers = Rate(limit, 0, math.ceil(now + self.reset_in_seconds)).headers() if self.with_headers else {}
        await wire.answer(Answer(HTTPStatus.TOO_MANY_REQUESTS, LIMITED, headers=headers))


@dataclass
class Huge(Fault):
    """A body without a reasonable end, sent until the client hangs up."""

    megabytes: int
    is_chunked: bool
    bytes_sent: int = 0
    """How much of the body left before the client hung up, over all calls: what it read, and what fits between it and here."""

    async def play(self, wire: Wire, usual: Answer, now: float) -> None:
        framing = {"Transfer-Encoding": "chunked"} if self.is_chunked else {"Content-Length": str(self.megabytes * MEGABYTE)}
        await wire.start(usual, framing)
        for block in _endless_quote(self.megabytes):
            await wire.send(block)
            self.bytes_sent += len(block)
        await wire.end()


@dataclass(frozen=True)
class Trickle(Fault):
    """The usual answer: its headers at once, its body byte by byte, so that no single read takes too long."""

    seconds_per_byte: float

    async def play(self, wire: Wire, usual: Answer, now: float) -> None:
        await wire.start(usual, {"Content-Length": str(len(usual.body))})
        for position in range(len(usual.body)):
            try:
                async with asyncio.timeout(self.seconds_per_byte):
                    await wire.hung_up()
                return
            except TimeoutError:
                await wire.send(usual.body[position : position + 1])
        await wire.end()


class Silence(Fault):
    """No answer, for as long as the client waits."""

    def status(self, usual: Answer) -> int:
        return 0

    async def play(self, wire: Wire, usual: Answer, now: float) -> None:
        await wire.hung_up()


class Reset(Fault):
    """The connection is reset."""

    def status(self, usual: Answer) -> int:
        return 0

    async def play(self, wire: Wire, usual: Answer, now: float) -> None:
        wire.break_off()


@dataclass(frozen=True)
class Cut(Fault):
    """The usual answer as far as so many bytes of its body, then the end of the connection."""

    after_bytes: int

    async def play(self, wire: Wire, usual: Answer, now: float) -> None:
        promised = max(len(usual.body), self.after_bytes + 1)
        await wire.start(usual, {"Content-Length": str(promised)})
        await wire.send(usual.body.ljust(promised)[: self.after_bytes])


def body(content: bytes, status: int = 200, content_type: str = "application/json", headers: Mapping[str, str] | None = None) -> Fault:
    """Answer this; `headers` come on top of the usual ones."""
    return Body(content, status, content_type, headers or {})


def status(code: int) -> Fault:
    """Answer this status with a page of HTML, as what stands in front of a server does when the server is ill."""
    title = f"{code} {responses.get(code, '')}"
    return body(f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n".encode(), code, "text/html")


def limited(with_headers: bool = True, reset_in_seconds: float = 60) -> Fault:
    """Answer 429 "API limit reached"; with headers, `X-Ratelimit-Reset` is so many seconds ahead (may be negative)."""
    return Limited(with_headers, reset_in_seconds)


def huge(megabytes: int = 50, chunked: bool = False) -> Huge:
    """Answer with a quote that goes on for so many megabytes, chunked or with a Content-Length."""
    return Huge(megabytes, chunked)


def gzip_bomb(megabytes: int = 50) -> Fault:
    """Answer with the same quote in a thousandth of the bytes, `Content-Encoding: gzip`."""
    press = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    packed = b"".join(press.compress(block) for block in _endless_quote(megabytes)) + press.flush()
    return body(packed, headers={"Content-Encoding": "gzip"})


def trickle(seconds_per_byte: float = 1.0) -> Fault:
    """Answer as usual, but a byte of the body in so many seconds."""
    return Trickle(seconds_per_byte)


def silence() -> Fault:
    """Accept the request and answer nothing."""
    return Silence()


def reset() -> Fault:
    """Reset the connection (RST) in place of an answer."""
    return Reset()


def cut(after_bytes: int) -> Fault:
    """Close the connection after so many bytes of a body that was announced to be longer."""
    return Cut(after_bytes)


def _endless_quote(megabytes: int) -> list[bytes]:
    """A quote that is good JSON, and so long: who reads it all has no reason to complain of anything but its size."""
    blocks = [b" " * BLOCK_BYTES] * (megabytes * MEGABYTE // BLOCK_BYTES)
    blocks[0] = b'{"c":255.78,"t":1795366800'.ljust(BLOCK_BYTES)
    blocks[-1] = blocks[-1][:-1] + b"}"
    return blocks
