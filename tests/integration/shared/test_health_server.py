"""The pages of a service, and clients that ask wrongly, slowly, or not at all."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus

import pytest
from structlog.testing import capture_logs

from services.admin.embedded import find_free_port
from shared import health_server
from shared.errors import ConfigurationError
from shared.health_server import MOST_CLIENTS, MOST_REQUEST_BYTES, Page, serving

LOOPBACK = "127.0.0.1"
PATIENCE_SECONDS = 10


def broken() -> Page:
    raise ZeroDivisionError


PAGES = {"/page": lambda: Page(HTTPStatus.OK, "text/plain", b"here\n"), "/broken": broken}


@pytest.fixture
def port() -> Iterator[int]:
    """Where the pages are served."""
    port = find_free_port()
    with serving(LOOPBACK, port, PAGES):
        yield port


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client has a moment only."""
    monkeypatch.setattr(health_server, "REQUEST_SECONDS", 0.2)


class Client:
    """A connection that sends what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> bytes:
        """All that comes until the other side closes; a reset is an end like any other."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


@pytest.fixture
async def clients(port: int) -> AsyncIterator["Clients"]:
    """Connects clients, and cuts those that are left."""
    found = Clients(port)
    yield found
    await found.close()


class Clients:
    def __init__(self, port: int) -> None:
        self._port = port
        self._open: list[Client] = []

    async def connect(self, request: bytes = b"") -> Client:
        reader, writer = await asyncio.open_connection(LOOPBACK, self._port)
        writer.write(request)
        self._open.append(Client(reader, writer))
        return self._open[-1]

    async def ask(self, request: bytes) -> bytes:
        return await (await self.connect(request)).answer()

    async def close(self) -> None:
        for client in self._open:
            client.writer.transport.abort()
        await asyncio.sleep(0)


async def test_page_is_shown_with_its_type_and_length(clients: Clients) -> None:
    answer = await clients.ask(b"GET /page?x=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b"here\n"
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: text/plain\r\nContent-Length: 5\r\n" in head


WRONG = [
    (b"GET /other HTTP/1.1\r\n\r\n", b"404", b"not found; there are /page, /broken"),
    (b"POST /page HTTP/1.1\r\n\r\n", b"405", b"Allow: GET, HEAD"),
    (b"GET /page\r\n\r\n", b"400", b"not an HTTP request"),
    (b"\x16\x03\x01\x00\xff\xfe \r\n\r\n", b"400", b"not an HTTP request"),
    (b"GET /broken HTTP/1.1\r\n\r\n", b"500", b"fault; see the log"),
    (b"GET /" + b"x" * MOST_REQUEST_BYTES + b" HTTP/1.1\r\n\r\n", b"431", b"too long"),
]


@pytest.mark.parametrize(("request_text", "status", "words"), WRONG, ids=[status.decode() for _, status, _ in WRONG])
async def test_wrong_request_is_told_so(request_text: bytes, status: bytes, words: bytes, clients: Clients) -> None:
    answer = await clients.ask(request_text)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert words in answer


async def test_head_gets_no_body(clients: Clients) -> None:
    answer = await clients.ask(b"HEAD /page HTTP/1.1\r\n\r\n")
    assert b"Content-Length: 5\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_only_a_fault_of_our_own_is_logged(clients: Clients) -> None:
    with capture_logs() as logs:
        for request, _, _ in WRONG:
            await clients.ask(request)
        silent = await clients.connect(b"GET /pa")
        silent.writer.transport.abort()
        await clients.ask(b"GET /page HTTP/1.1\r\n\r\n")
    assert [(line["event"], line["path"]) for line in logs] == [("a page cannot be made", "/broken")]


async def test_half_open_and_dripping_clients_delay_nobody_and_are_cut(hasty: None, clients: Clients) -> None:
    silent, dripping = await clients.connect(), await clients.connect(b"GET")
    assert b"here" in await clients.ask(b"GET /page HTTP/1.1\r\n\r\n")

    async def drip() -> None:
        while not dripping.writer.transport.is_closing():
            dripping.writer.write(b"x")
            await asyncio.sleep(0.01)

    dropping = asyncio.create_task(drip())
    assert await silent.answer() == b""
    assert await dripping.answer() == b""
    dropping.cancel()


async def test_client_that_does_not_read_its_answer_is_cut(hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_server, "MOST_CLIENTS", 1)
    port = find_free_port()
    with serving(LOOPBACK, port, {**PAGES, "/long": lambda: Page(HTTPStatus.OK, "text/plain", b"x" * 50_000_000)}):
        with socket.create_connection((LOOPBACK, port)) as greedy:
            greedy.sendall(b"GET /long HTTP/1.1\r\n\r\n")
            clients = Clients(port)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while b"here" not in await clients.ask(b"GET /page HTTP/1.1\r\n\r\n"):  # there is room for one
                    await asyncio.sleep(0.01)
        await clients.close()


async def test_crowd_is_turned_away_and_room_comes_back(clients: Clients) -> None:
    crowd = [await clients.connect() for _ in range(MOST_CLIENTS)]
    while (await clients.ask(b"GET /page HTTP/1.1\r\n\r\n")) != b"":  # until the last of the crowd is accepted
        pass
    for client in crowd:
        client.writer.transport.abort()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while b"here" not in await clients.ask(b"GET /page HTTP/1.1\r\n\r\n"):
            pass


async def test_end_leaves_no_thread_and_cuts_who_is_left() -> None:
    port = find_free_port()
    with serving(LOOPBACK, port, PAGES):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        client = Client(reader, writer)
        # Accepted, and not only in the system's queue: connections are taken in turn.
        await asyncio.to_thread(_ask_once, port)
    assert "health" not in [thread.name for thread in threading.enumerate()]
    assert await client.answer() == b""
    writer.transport.abort()
    with pytest.raises(ConnectionRefusedError):
        _ask_once(port)
    with serving(LOOPBACK, port, PAGES):  # and the port can be had again at once
        _ask_once(port)


def _ask_once(port: int) -> None:
    with socket.create_connection((LOOPBACK, port), timeout=PATIENCE_SECONDS) as client:
        client.sendall(b"GET /page HTTP/1.1\r\n\r\n")
        assert client.recv(100)


def test_taken_port_is_named_with_its_variable(port: int) -> None:
    with pytest.raises(ConfigurationError, match=f"^METRICS_PORT={port}: is taken by another program"), serving(LOOPBACK, port, PAGES):
        pass


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_address_that_is_not_ours_is_named_with_its_variable(host: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^METRICS_HOST={host}: cannot listen there"), serving(host, find_free_port(), PAGES):
        pass
