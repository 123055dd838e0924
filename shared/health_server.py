"""Answers GET on a few paths from a thread with an event loop of its own, so that a service that hangs is answered for, honestly.

A client has a few seconds for its whole request and its answer; there are never more than a few at a time. Whatever one
does, it costs the service nothing and the log no line.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from socket import socket
from typing import NamedTuple

import structlog

from shared.listening import listen

REQUEST_SECONDS = 5.0
"""From the connection to the last byte of the answer."""
MOST_CLIENTS = 32
MOST_REQUEST_BYTES = 16 * 1024
CLOSE_SECONDS = 1.0
TEXT = "text/plain; charset=utf-8"

log = structlog.get_logger(__name__)


class Page(NamedTuple):
    """What a path shows."""

    status: HTTPStatus
    content_type: str
    body: bytes


Pages = dict[str, Callable[[], Page]]
"""Path to what makes its page, in the thread that answers."""


@contextmanager
def serving(host: str, port: int, pages: Pages) -> Iterator[None]:
    """Answer for the time of the block; raise `ConfigurationError` naming METRICS_PORT or METRICS_HOST if nobody can listen there."""
    server = _Server(listen("METRICS", host, port), pages)
    thread = threading.Thread(target=server.run, name="health", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.stop()
        thread.join(CLOSE_SECONDS)


class _Server:
    def __init__(self, listener: socket, pages: Pages) -> None:
        self._listener = listener
        self._pages = pages
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._attending: set[asyncio.Task[None]] = set()

    def run(self) -> None:
        """Serve until `stop`; the body of the thread."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    def stop(self) -> None:
        """Ask the thread to end, from any thread."""
        with suppress(RuntimeError):  # it ended already
            self._loop.call_soon_threadsafe(self._stopped.set)

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, sock=self._listener, limit=MOST_REQUEST_BYTES)
        await self._stopped.wait()
        server.close()
        for task in self._attending:
            task.cancel()
        await asyncio.gather(*self._attending, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._attending) >= MOST_CLIENTS:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._attend(reader, writer))
        self._attending.add(task)
        task.add_done_callback(self._attending.discard)

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                writer.write(await self._answer(reader))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _encode(_text(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is too long"))
        match head.partition(b"\r\n")[0].decode("latin-1").split(" "):
            case [("GET" | "HEAD") as method, target, version] if version.startswith("HTTP/1."):
                return _encode(self._page(target.partition("?")[0]), with_body=method == "GET")
            case [_, _, version] if version.startswith("HTTP/1."):
                return _encode(_text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET"), "Allow: GET, HEAD\r\n")
        return _encode(_text(HTTPStatus.BAD_REQUEST, "not an HTTP request"))

    def _page(self, path: str) -> Page:
        if path not in self._pages:
            return _text(HTTPStatus.NOT_FOUND, f"not found; there are {', '.join(self._pages)}")
        try:
            return self._pages[path]()
        except Exception:
            log.exception("a page cannot be made", path=path)
            return _text(HTTPStatus.INTERNAL_SERVER_ERROR, "fault; see the log")


def _text(status: HTTPStatus, text: str) -> Page:
    return Page(status, TEXT, f"{text}\n".encode())


def _encode(page: Page, more_headers: str = "", *, with_body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {page.status.value} {page.status.phrase}\r\nContent-Type: {page.content_type}\r\n"
        f"Content-Length: {len(page.body)}\r\nCache-Control: no-store\r\nConnection: close\r\n{more_headers}\r\n"
    )
    return head.encode("latin-1") + (page.body if with_body else b"")
