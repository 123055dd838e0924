"""The proxy does what it says: a fault that does not happen proves nothing."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from tests.faults.proxy import Cut, Duplicate, FaultProxy, Late

QUESTION = b"question"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Echo:
    """A server that says everything twice, and remembers what it heard."""

    def __init__(self) -> None:
        self.heard = b""
        self.endings: asyncio.Queue[str] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(100):
                self.heard += data
                writer.write(data * 2)
            self.endings.put_nowait("end")
        except ConnectionResetError:
            self.endings.put_nowait("reset")
        finally:
            writer.close()


@pytest.fixture
async def echo() -> AsyncIterator[tuple[Echo, FaultProxy]]:
    """The server, and a proxy before it."""
    server = Echo()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with FaultProxy(f"echo://127.0.0.1:{port}").running() as proxy:
            yield server, proxy


async def connect(proxy: FaultProxy) -> Stream:
    return await asyncio.open_connection("127.0.0.1", int(proxy.url.rpartition(":")[2]))


async def ask(proxy: FaultProxy) -> bytes:
    """What arrives of an answer until it is whole or the connection is reset."""
    reader, writer = await connect(proxy)
    arrived = b""
    try:
        async with asyncio.timeout(10):
            writer.write(QUESTION)
            while len(arrived) < 2 * len(QUESTION):
                arrived += (await reader.read(100)) or pytest.fail("an end instead of a reset")
    except ConnectionResetError:
        pass
    finally:
        writer.close()
    return arrived


@pytest.mark.parametrize("count", range(len(QUESTION) + 1))
async def test_a_request_is_cut_after_exactly_so_many_bytes(echo: tuple[Echo, FaultProxy], count: int) -> None:
    server, proxy = echo
    fault = proxy.plan(Cut((b"quest",), request_bytes=count))
    arrived = await ask(proxy)
    assert (fault.cuts, await server.endings.get()) == (1, "reset")
    assert server.heard == QUESTION[:count]
    assert arrived in (b"", b"".join([QUESTION[:count]] * 2))
    assert await ask(proxy) == QUESTION * 2


@pytest.mark.parametrize("count", [0, 1, 15, 16])
async def test_a_reply_is_cut_after_exactly_so_many_bytes(echo: tuple[Echo, FaultProxy], count: int) -> None:
    server, proxy = echo
    fault = proxy.plan(Cut((b"quest",), times=2, reply_bytes=count))
    for _ in range(2):
        assert await ask(proxy) == (QUESTION * 2)[:count]
    assert (fault.cuts, fault.request_seen, fault.reply_seen, server.heard) == (2, 8, count, QUESTION * 2)
    assert await ask(proxy) == QUESTION * 2


async def test_a_request_is_doubled_once_and_only_the_planned_one(echo: tuple[Echo, FaultProxy]) -> None:
    server, proxy = echo
    fault = proxy.plan(Duplicate((b"quest",), skipped=1))
    for _ in range(3):
        await ask(proxy)
    assert (fault.hits, server.heard) == (1, QUESTION * 4)


async def test_a_late_request_reaches_the_server_after_its_sender_was_cut_off(echo: tuple[Echo, FaultProxy]) -> None:
    server, proxy = echo
    proxy.plan(Late((b"quest",), seconds=0.05))
    assert await ask(proxy) == b""
    assert server.heard == b""
    await server.endings.get()
    assert server.heard == QUESTION


async def test_a_half_open_connection_says_nothing_more_and_new_ones_are_whole_afterwards(echo: tuple[Echo, FaultProxy]) -> None:
    server, proxy = echo
    proxy.swallow()
    reader, writer = await connect(proxy)
    writer.write(QUESTION)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await reader.read(100)
    proxy.swallow(False)
    writer.write(QUESTION)
    assert await ask(proxy) == QUESTION * 2
    writer.close()
    await writer.wait_closed()
    assert server.heard == QUESTION
    assert server.endings.qsize() <= 1, "nobody tells the server of the end of a half-open connection"


@pytest.mark.parametrize("in_thread", [False, True])
async def test_pieces_delay_and_throttle_change_no_byte(echo: tuple[Echo, FaultProxy], *, in_thread: bool) -> None:
    server, proxy = echo
    for way in (proxy.requests, proxy.replies):
        way.piece_bytes, way.delay_seconds, way.bytes_per_second = 1, 0.02, 1e6
    noise = os.urandom(200)
    if in_thread:
        with FaultProxy(proxy.url).in_thread() as second:
            reader, writer = await connect(second)
            writer.write(noise)
            heard = await reader.readexactly(400)
            writer.close()
    else:
        reader, writer = await connect(proxy)
        writer.write(noise)
        heard = await reader.readexactly(400)
        writer.close()
    assert server.heard == noise
    assert sorted(heard) == sorted(noise * 2)


async def test_a_proxy_that_refuses_or_is_cut_resets(echo: tuple[Echo, FaultProxy]) -> None:
    _, proxy = echo
    reader, writer = await connect(proxy)
    writer.write(QUESTION)
    await reader.readexactly(16)
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await reader.read(1)
    writer.close()
    proxy.refuses = True
    assert await ask(proxy) == b""
    proxy.refuses = False
    proxy.retarget("echo://127.0.0.1:1")
    assert await ask(proxy) == b""
