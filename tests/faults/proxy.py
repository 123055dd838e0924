"""A TCP proxy before Redis or PostgreSQL that does to connections what networks do: it loses, cuts, delays and doubles.

What a connection suffers is set while it runs: for a whole direction (`requests`, `replies`), or planned for the next
request with certain words. It runs in the loop of a test, or in a thread with a loop of its own before real services.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

READ_BYTES = 1 << 20
STEPS_PER_SECOND = 20
"""A throttled direction is written in so many pieces a second."""


@dataclass
class Way:
    """One direction of every connection; what is set holds for what comes next."""

    is_swallowed: bool = False
    """Half-open: bytes vanish and no end is told. A connection that lost bytes so stays lost, for it could never be right again."""
    delay_seconds: float = 0.0
    bytes_per_second: float = 0.0
    """0: as many as there are."""
    piece_bytes: int = 0
    """Bytes of one write; 0: all there are."""


@dataclass
class Fault:
    """What happens to a request that has all the words, `times` in a row once `skipped` were let through.

    The words must stand in the first segment of the request, as a function's name and its keys do.
    """

    words: tuple[bytes, ...]
    times: int = 1
    skipped: int = 0
    hits: int = 0

    def takes(self, data: bytes) -> bool:
        """Whether this is such a request; count it if it is."""
        if self.hits >= self.times or not all(word in data for word in self.words):
            return False
        self.skipped -= 1
        self.hits += self.skipped < 0
        return self.skipped < 0


@dataclass
class Cut(Fault):
    """Reset both sides after so many bytes of the request, or of its reply; `cuts` tells how often it came to that.

    With `reply_bytes` 0 the server has answered, and nothing of that arrives. Without both nothing is cut, only counted.
    """

    request_bytes: int | None = None
    reply_bytes: int | None = None
    spans_requests: bool = False
    """Count on through what follows on that connection: a transaction has many requests."""
    cuts: int = 0
    request_seen: int = 0
    """Bytes that came by since the last such request."""
    reply_seen: int = 0


@dataclass
class Duplicate(Fault):
    """The server gets the request twice in a row (it must come in one segment), and answers twice."""


@dataclass
class Late(Fault):
    """The client's side is reset at once, the request reaches the server after `seconds`: it comes from somebody long gone."""

    seconds: float = 0.0


F = TypeVar("F", bound=Fault)


class FaultProxy:
    """Listens on a port of loopback, at `url`."""

    def __init__(self, upstream_url: str) -> None:
        self.url = ""
        self.requests, self.replies = Way(), Way()
        self.refuses = False
        """New connections are reset at once."""
        self._upstream = urlsplit(upstream_url)
        self._faults: list[Fault] = []
        self._links: dict[asyncio.Task[None], _Link | None] = {}
        self._clients: set[asyncio.StreamWriter] = set()
        self._loop: asyncio.AbstractEventLoop

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Serve in this loop."""
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        user, at, _ = self._upstream.netloc.rpartition("@")
        self.url = urlunsplit(self._upstream._replace(netloc=f"{user}{at}127.0.0.1:{port}"))
        try:
            yield self
        finally:
            server.close()
            for task in (tasks := list(self._links)):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for client in self._clients:
                reset(client)  # of a task that was cancelled before its first step, and so did nothing at its end
            await server.wait_closed()

    @contextmanager
    def in_thread(self) -> Iterator[Self]:
        """Serve in a thread of its own: a test's loop that is busy, or in debug mode, slows no service down."""
        ready, stop = threading.Event(), asyncio.Event()

        async def serve() -> None:
            async with self.running():
                ready.set()
                await stop.wait()

        thread = threading.Thread(target=asyncio.run, args=(serve(),), name="fault-proxy")
        thread.start()
        ready.wait(10)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(stop.set)
            thread.join()

    def plan(self, fault: F) -> F:
        """Have it happen; the result tells how often it did."""
        self._faults.append(fault)
        return fault

    def withdraw(self, fault: Fault) -> None:
        """Let it not happen any more."""
        self._faults.remove(fault)

    def swallow(self, is_swallowed: bool = True) -> None:
        """Make every connection that is used half-open, and every new one; or let new ones through again."""
        self.requests.is_swallowed = self.replies.is_swallowed = is_swallowed

    def cut(self) -> None:
        """Reset every connection there is."""
        self._loop.call_soon_threadsafe(self._cut)

    def retarget(self, upstream_url: str) -> None:
        """Cut every connection; new ones lead to another server."""
        self._upstream = urlsplit(upstream_url)
        self.cut()

    def match(self, data: bytes) -> Fault | None:
        """The planned fault that happens to a request, counted."""
        return next((fault for fault in self._faults if fault.takes(data)), None)

    def _cut(self) -> None:
        for link in self._links.values():
            if link is not None:
                link.cut()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Known from this moment on: a proxy that ends closes what it has accepted."""
        self._clients.add(writer)
        task = self._loop.create_task(self._serve(reader, writer))
        self._links[task] = None
        task.add_done_callback(lambda task: self._links.pop(task, None))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if not self.refuses:
                server = await asyncio.open_connection(self._upstream.hostname, self._upstream.port)
                self._links[task] = running = _Link(self, (reader, writer), server)
                await running.run()
        except (OSError, asyncio.CancelledError):
            pass  # the server refuses, and so does the proxy; or it ends, which asyncio's streams would report
        finally:
            reset(writer)
            self._clients.discard(writer)
            if (link := self._links.pop(task)) is not None:
                link.cut()  # one that was cancelled while it closed has not closed the server's side


class _Link:
    """A client's connection, and the one to the server that was made for it."""

    def __init__(
        self,
        proxy: FaultProxy,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._proxy = proxy
        self._client_reader, self._client = client
        self._server_reader, self._server = server
        self._cut: Cut | None = None
        self._is_lost = False

    async def run(self) -> None:
        """Pass on until one side ends, or is cut."""
        sides = [
            asyncio.create_task(self._pass_on(self._client_reader, self._proxy.requests, self._send_request)),
            asyncio.create_task(self._pass_on(self._server_reader, self._proxy.replies, self._send_reply)),
        ]
        try:
            await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
            if self._is_lost:
                await asyncio.wait(sides)
        finally:
            for side in sides:
                side.cancel()
            await asyncio.gather(*sides, return_exceptions=True)
            await self._close()

    async def _close(self) -> None:
        """Let what was written arrive, unless the proxy itself ends."""
        self._client.close()
        self._server.close()
        try:
            await asyncio.gather(self._client.wait_closed(), self._server.wait_closed(), return_exceptions=True)
        finally:
            self.cut()

    def cut(self) -> None:
        """Reset both sides."""
        reset(self._client)
        reset(self._server)

    async def _pass_on(self, reader: asyncio.StreamReader, way: Way, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Read ahead of what is written, so that a delay is one of every byte, and not one of every read."""
        due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        loop = asyncio.get_running_loop()

        async def write() -> None:
            while data := (item := await due.get())[1]:
                if (wait_seconds := item[0] - loop.time()) > 0:
                    await asyncio.sleep(wait_seconds)
                await send(data)

        writing = asyncio.create_task(write())
        try:
            while not writing.done():
                data = await reader.read(READ_BYTES)
                self._is_lost = self._is_lost or (way.is_swallowed and bool(data))
                if not self._is_lost or not data:
                    await due.put((loop.time() + way.delay_seconds, data))
                if not data:
                    break
            await writing
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _send_request(self, data: bytes) -> None:
        fault = self._proxy.match(data)
        if isinstance(fault, Cut):
            self._cut = fault
            fault.request_seen = fault.reply_seen = 0
        elif self._cut is not None and self._cut.reply_seen and not self._cut.spans_requests:
            self._cut = None
        if isinstance(fault, Late):
            reset(self._client)
            await asyncio.sleep(fault.seconds)
        if isinstance(fault, Duplicate):
            data += data
        cut = self._cut
        if cut is not None:
            data = _up_to(data, cut.request_bytes, cut.request_seen)
            cut.request_seen += len(data)
        await self._write(self._server, self._proxy.requests, data)
        if cut is not None and cut.request_seen == cut.request_bytes:
            self._cut_now(cut)

    async def _send_reply(self, data: bytes) -> None:
        cut = self._cut
        if cut is not None:
            data = _up_to(data, cut.reply_bytes, cut.reply_seen)
            cut.reply_seen += len(data)
        await self._write(self._client, self._proxy.replies, data)
        if cut is not None and cut.reply_seen == cut.reply_bytes:
            self._cut_now(cut)

    def _cut_now(self, cut: Cut) -> None:
        cut.cuts += 1
        self._cut = None
        self.cut()

    async def _write(self, writer: asyncio.StreamWriter, way: Way, data: bytes) -> None:
        rate = way.bytes_per_second
        step = way.piece_bytes or max(1, int(rate / STEPS_PER_SECOND) if rate else len(data))
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            writer.write(piece)
            await writer.drain()
            if rate or way.piece_bytes:
                await asyncio.sleep(len(piece) / rate if rate else 0)


def _up_to(data: bytes, most: int | None, before: int) -> bytes:
    """What of the data stays within the bytes allowed, of which some went before."""
    return data if most is None else data[: most - before]


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a dead host's kernel does: what was not yet sent is gone, and the other side gets an error, not an end."""
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
