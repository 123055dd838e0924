"""Writing without a task: what stands between our frames, what happens while a client's bytes wait, and how it ends."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvloop
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Opcode

from services.gateway.frames import Frame
from services.gateway.measures import Tally
from services.gateway.outbox import Limits
from services.gateway.wire import WRITE_LIMIT, SocketOutbox, Wire
from tests.integration.gateway.client import PATIENCE_SECONDS, Client
from tests.integration.gateway.conftest import ANY_RATE, running_gateway
from tests.integration.gateway.market import Market
from tests.integration.gateway.raw_frames import raw_client, reset
from tests.integration.gateway.test_gateway_slow_client import HANDSHAKE, PATIENT, TICKERS, fill, small_socket, stalled_client

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def market(redis: Redis) -> Market:
    """One partition, so that all tickers come in one message."""
    market = Market(redis, partitions=1)
    await market.open()
    return market


class Witness:
    """Stands where a connection stands, and notes what its wire says."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.said: list[str] = []
        self.buffered: list[int] = []
        self.changed = asyncio.Event()
        outbox = SocketOutbox(wire, Tally(), lambda *_: (), Limits(), 0.0)
        wire.serve(self, outbox)
        self.write = outbox.write

    def on_paused(self) -> None:
        self._note("paused")

    def on_drained(self) -> None:
        self._note("drained")

    def on_lost(self) -> None:
        self._note("lost")

    def _note(self, word: str) -> None:
        self.said.append(word)
        self.buffered.append(self.wire.transport.get_write_buffer_size())
        self.changed.set()

    async def until(self, word: str) -> None:
        """Wait until that was said last."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.said[-1:] != [word]:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[int, "asyncio.Future[Witness]"]]:
    """A port, and the wire of the client that comes there; its buffers are small."""
    come: asyncio.Future[Witness] = asyncio.get_running_loop().create_future()

    async def attend(websocket: ServerConnection) -> None:
        assert isinstance(websocket, Wire)
        come.set_result(Witness(websocket))
        await websocket.wait_closed()

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
    port = listener.getsockname()[1]
    server = await serve(attend, sock=listener, create_connection=Wire, write_limit=WRITE_LIMIT, compression=None, ping_interval=None)
    async with server:
        yield port, come


@asynccontextmanager
async def wired() -> AsyncIterator[tuple[Witness, ClientConnection]]:
    """A wire and the client at its other end."""
    async with (
        listening() as (port, come),
        connect(f"ws://127.0.0.1:{port}", sock=small_socket(port), proxy=None, compression=None, max_size=None) as client,
    ):
        yield await come, client


def on_every_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[str], None]:
    """Run a test on the loop that serves users and on the one where that does not install."""

    def run(loop: str) -> None:
        with asyncio.Runner(debug=True, loop_factory=LOOPS[loop]) as runner:
            runner.run(test())

    run.__name__ = test.__name__
    return pytest.mark.parametrize("loop", LOOPS)(run)


@on_every_loop
async def test_wire_pauses_when_the_first_byte_waits_and_drains_when_the_last_is_gone() -> None:
    async with wired() as (witness, client):
        client.transport.pause_reading()
        while not witness.said:
            witness.write(Frame(b"x" * 1000))
        assert witness.said == ["paused"]
        assert 0 < witness.buffered[0] <= 1004
        witness.write(Frame(b"y" * 300_000))
        client.transport.resume_reading()
        while (await client.recv())[0] == "x":
            pass
        await witness.until("drained")
        assert (witness.said, witness.buffered[1]) == (["paused", "drained"], 0)


@on_every_loop
async def test_what_is_written_on_draining_goes_out_behind_what_waited() -> None:
    async with wired() as (witness, client):
        again = ["2" * 200_000, "3" * 200_000, "4"]
        drained = witness.on_drained

        def write_on() -> None:
            drained()
            if again:
                witness.write(Frame(again.pop(0).encode()))

        witness.on_drained = write_on  # type: ignore[method-assign]
        witness.write(Frame(b"1" * 200_000))
        assert [(await client.recv())[0] for _ in range(4)] == ["1", "2", "3", "4"]
        assert witness.said == ["paused", "drained"] * 3


@on_every_loop
async def test_nothing_goes_past_bytes_that_wait_though_the_system_would_take_it() -> None:
    async with listening() as (port, come):
        with small_socket(port) as client:
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, HANDSHAKE)
            while not (await loop.sock_recv(client, 4096)).endswith(b"\r\n\r\n"):
                pass
            witness = await come
            written: list[Frame] = []
            while not witness.said:
                written.append(Frame(b"%4d" % len(written) * 250))
                witness.write(written[-1])
            received = read_there_is(client)  # the loop has no turn meanwhile: what waits in the transport still waits
            written.append(Frame(b"late"))
            witness.write(written[-1])
            expected = b"".join(frame.plain for frame in written)
            while len(received) < len(expected):
                received += await loop.sock_recv(client, 65_536)
            assert received == expected


def read_there_is(client: socket.socket) -> bytes:
    """What has arrived."""
    received = b""
    with suppress(BlockingIOError):
        while more := client.recv(65_536):
            received += more
    return received


@on_every_loop
async def test_nothing_is_read_while_bytes_wait_and_everything_afterwards() -> None:
    async with wired() as (witness, client):
        witness.write(Frame(b"x" * 500_000))
        assert witness.said == ["paused"]
        answered = [await client.ping(str(n)) for n in range(20)]
        assert not witness.wire.transport.is_reading()
        assert len(await client.recv()) == 500_000
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*answered)
        assert witness.wire.transport.is_reading()


@on_every_loop
async def test_commands_that_wait_keep_the_wire_from_reading_also_when_it_drains() -> None:
    async with wired() as (witness, client):
        for n in range(20):
            await client.send(str(n))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not witness.wire.recv_messages.paused:
                await asyncio.sleep(0)
        witness.write(Frame(b"x" * 500_000))
        await client.recv()
        await witness.until("drained")
        assert not witness.wire.transport.is_reading()
        witness.write(Frame(b"x" * 500_000))
        assert [await witness.wire.recv() for _ in range(20)] == [str(n) for n in range(20)]
        assert not witness.wire.transport.is_reading(), "no command waits any more, but bytes do"
        await client.recv()
        await witness.until("drained")
        assert witness.wire.transport.is_reading()


@on_every_loop
async def test_nothing_follows_a_close_frame() -> None:
    async with listening() as (port, come):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        witness = await come
        closing = asyncio.create_task(witness.wire.close(4408, "slow consumer"))
        await asyncio.sleep(0)
        witness.write(Frame(b"too late"))
        witness.wire.ask()
        close = b"\x88\x0f\x11\x38slow consumer"
        assert await reader.readexactly(len(close)) == close
        writer.write(b"\x88\x80\0\0\0\0")
        assert await reader.read() == b""
        writer.close()  # which the other side waits for
        await closing
        witness.write(Frame(b"much too late"))
        assert witness.said == ["lost"]


@on_every_loop
async def test_connection_that_failed_is_written_to_no_more_and_nobody_is_warned() -> None:
    warned: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warned.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("asyncio").addHandler(handler)
    try:
        async with wired() as (witness, client):
            client.transport.abort()
            async with asyncio.timeout(PATIENCE_SECONDS):
                while witness.said[-1:] != ["lost"]:
                    for _ in range(20):
                        witness.write(Frame(b"x"))
                        witness.wire.ask()
                    await asyncio.sleep(0)
    finally:
        logging.getLogger("asyncio").removeHandler(handler)
    assert [text for text in warned if "send" in text] == []


async def test_pongs_stand_between_whole_frames(market: Market, redis_url: str) -> None:
    async with (
        running_gateway(redis_url, partitions=1, limits=PATIENT, bounds=ANY_RATE) as port,
        Client(port, socket=small_socket(port)) as client,
    ):
        await client.receive()
        for price in range(1, 8):
            pongs = [await client.websocket.ping() for _ in range(10)]
            await fill(market, price)
            pongs += [await client.websocket.ping() for _ in range(10)]
            await client.until_seen("T0", (price - 1) * TICKERS + 1)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.gather(*pongs)
        assert len(client.prices) == TICKERS


async def test_commands_sent_without_reading_are_answered_in_their_order(market: Market, redis_url: str) -> None:
    await fill(market, 1)
    names = [f"T{n}" for n in range(60)]
    async with running_gateway(redis_url, partitions=1, limits=PATIENT) as port, stalled_client(port) as slow, Client(port) as quick:
        for price in range(2, 8):
            await fill(market, price)
            await quick.until_seen("T0", (price - 1) * TICKERS + 1)
        await slow.send(action="unsubscribe", tickers=["*"])
        for name in names:
            await slow.send(action="subscribe", tickers=[name])
        slow.websocket.transport.resume_reading()
        held = [(await slow.receive_type("subscribed"))["tickers"] for _ in range(61)]
        assert held == [sorted(names[:count]) for count in range(61)]
        assert set(slow.prices) == {f"T{n}" for n in range(TICKERS)}


async def test_clients_that_are_cut_in_the_middle_of_a_frame_harm_nobody(
    market: Market, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(market, 1)
    async with running_gateway(redis_url, partitions=1, limits=PATIENT) as port, Client(port) as other:
        for price in range(2, 6):
            async with raw_client(port) as read_on, raw_client(port) as cut, raw_client(port) as closed:
                await fill(market, price)
                closed.send(Opcode.CLOSE, b"\x03\xe8")
                reset(cut.writer)
                await other.until_seen("T0", (price - 1) * TICKERS + 1)
                assert len(json.loads((await read_on.read_frame()).payload)["stocks"]) == TICKERS
                assert (await closed.read_close())[0] == 1000
        await other.send(action="ping")
        await other.receive_type("pong")
    warned = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [text for text in warned if not text.startswith("Executing ")] == [], "beside what debugging says of a busy machine"


ASKED = Limits(ask_seconds=0.2, mute_seconds=1.0, visit_seconds=0.05, stall_seconds=600.0)
PING = b"\x89\x00"


async def test_peer_that_does_not_answer_pings_is_closed_as_a_fault_with_a_hint(market: Market, redis_url: str) -> None:
    async with running_gateway(redis_url, partitions=1, limits=ASKED) as port, raw_client(port) as mute:
        await mute.read_frame()
        assert (await mute.read_frame()).whole == PING
        code, reason = await mute.read_close()
        assert code == 1011
        assert "reconnect in" in reason


async def test_peer_that_answers_or_speaks_stays_and_so_does_one_whose_bytes_wait(market: Market, redis_url: str) -> None:
    await fill(market, 1)
    async with running_gateway(redis_url, partitions=1, limits=ASKED) as port, stalled_client(port) as slow, Client(port) as quick:
        for price in range(2, 8):
            await fill(market, price)
            await quick.until_seen("T0", (price - 1) * TICKERS + 1)
        async with raw_client(port, query="?tickers=NONE") as answering, raw_client(port, query="?tickers=NONE") as mute:
            dying = asyncio.create_task(mute.read_close())
            await answering.read_frame()
            while not dying.done():
                assert (await answering.read_frame()).whole == PING
                answering.send(Opcode.PONG, b"")
            assert (await answering.read_frame()).whole == PING
        slow.websocket.transport.resume_reading()
        for client in (slow, quick):
            await client.send(action="ping")
            await client.receive_type("pong")
        assert slow.prices == quick.prices
