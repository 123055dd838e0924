"""Fan-out by the gateway's own process, from the commit of a batch to the last byte at the last client.

Beside it, round by round in turn, programs of `peers` that pass on texts which are ready: they read no events and encode nothing. Each has
its clients in a `crowd` of its own.
"""

import asyncio
import json
import os
import resource
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from subprocess import PIPE
from typing import NamedTuple

from redis.asyncio import Redis

from benchmarks.ground import CAP, PERIOD, TOKEN, Ground, rounds, set_up
from benchmarks.peer import running
from benchmarks.report import Row, row
from benchmarks.running import cpu_seconds
from services.admin.embedded import find_free_port
from services.analyzer.state_machine import StateMachine
from services.gateway import protocol
from services.gateway.protocol import Position
from shared.events import Enriched
from shared.redis import log

CLIENTS, MANY, RETURNING = 1000, 10_000, 500
UPDATED = 7
"""Tickers of an update of 1 KB."""
ROUNDS, MANY_ROUNDS, PHASES, PHASE_ROUNDS = 40, 15, 5, 30
MOST_SECONDS = 20
OTHER_FILES = 200
PATIENCE_SECONDS = 120

WARM_ROUNDS = 10
LONG_SECONDS = 0.1
"""A round that takes so long is a rare one."""

Round = Callable[[], Awaitable[list[float]]]


class Other(NamedTuple):
    """Whom we are compared with: a program of `peers`, and how many times better is wanted."""

    program: str
    name: str
    wanted_ratio: float | None = None


PLAIN = [
    Other("fan_websockets", "websockets.broadcast", 1.3),
    Other("fan_picows", "picows", 0.8),
    Other("fan_starlette", "Starlette on uvicorn"),
    Other("fan_channels", "Django Channels, channels_redis", 25),
    Other("fan_channels_pubsub", "Django Channels, channels_redis on publish and subscribe"),
]
COMPRESSED = [
    Other("fan_websockets", "websockets.broadcast, each connection compresses", 3),
    Other("fan_starlette", "Starlette on uvicorn, each connection compresses"),
]


async def measure(ground: Ground) -> list[Row]:
    """Each comparison on a gateway that was just started."""
    raise_open_files()
    rows = await _against(ground, "plain", PLAIN)
    return rows + await _against(ground, "deflate", COMPRESSED)


def raise_open_files() -> int:
    """Let this process and those it starts open as many files as they may; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


async def _against(ground: Ground, form: str, others: "Sequence[Other]") -> list[Row]:
    async with AsyncExitStack() as stack:
        market = await stack.enter_async_context(_market(ground))
        ours = await _side(stack, _gateway(ground), form, market.move)
        theirs = [await _side(stack, _peer(other.program, ground, form), form, partial(market.publish, other.program)) for other in others]
        for phase in rounds(MOST_SECONDS):
            await _take_turns(ROUNDS if phase else WARM_ROUNDS, [ours, *theirs])
            for side in (ours, *theirs):
                side.end_phase(is_warm_up=not phase)
    what = f"1 KB to {CLIENTS:,} clients, {form}"
    return [*_rate_rows(what, ours, theirs, others), *_cpu_rows(what, ours, theirs, others)]


def _rate_rows(what: str, ours: "_Side", theirs: "Sequence[_Side]", others: "Sequence[Other]") -> Iterator[Row]:
    for side, other in zip(theirs, others, strict=True):
        yield row(
            f"fan-out of {what}", "deliveries/s", ours.rates,
            against=other.name, against_samples=side.rates, wanted_ratio=other.wanted_ratio,
        )  # fmt: skip


def _cpu_rows(what: str, ours: "_Side", theirs: "Sequence[_Side]", others: "Sequence[Other]") -> Iterator[Row]:
    for side, other in zip(theirs, others, strict=True):
        yield row(f"CPU of a delivery, {what}", "µs", ours.cpu_us, at_most=True, against=other.name, against_samples=side.cpu_us)


async def _take_turns(times: int, sides: "Sequence[_Side]") -> None:
    """Each side so many times, or as often as there is time for it: a slow one must not keep the others waiting for minutes."""
    for n in range(times):
        for side in sides:
            if n % side.every == 0:
                await side.take_turn()


class _Side:
    """A server with its clients, and what its rounds took."""

    def __init__(self, process: "_Process", take: Round) -> None:
        self.rates: list[float] = []
        """Deliveries a second; a phase each."""
        self.cpu_us: list[float] = []
        self.every = 1
        """It takes part in every so manieth round."""
        self._process = process
        self._take = take
        self._seconds: list[float] = []
        self._cpu_seconds = 0.0

    async def take_turn(self) -> None:
        """Deliver once. What the process does while others have their turn is not counted: nobody else looks after silent clients."""
        before = cpu_seconds(self._process.pid)
        self._seconds.append(max(await self._take()))
        self._cpu_seconds += cpu_seconds(self._process.pid) - before

    def end_phase(self, *, is_warm_up: bool) -> None:
        """Note a sample; after the warm-up instead how often there is time for a turn."""
        if is_warm_up:
            self.every = max(1, round(median(self._seconds) / LONG_SECONDS))
        else:
            self.rates.append(CLIENTS / median(self._seconds))
            self.cpu_us.append(1e6 * self._cpu_seconds / len(self._seconds) / CLIENTS)
        self._seconds, self._cpu_seconds = [], 0.0


async def _side(
    stack: AsyncExitStack, server: "AbstractAsyncContextManager[_Process]", form: str, deliver: Callable[["_Crowd"], Awaitable[list[float]]]
) -> _Side:
    process = await stack.enter_async_context(server)
    crowd = await stack.enter_async_context(_crowd(process.port, CLIENTS, form))
    return _Side(process, lambda: deliver(crowd))


async def _in_turn(times: int, *sides: Round) -> list[list[list[float]]]:
    """Of each side, what each of its rounds took: seconds until each client had the message."""
    taken: list[list[list[float]]] = [[] for _ in sides]
    for _ in range(times):
        for side, results in zip(sides, taken, strict=True):
            results.append(await side())
    return taken


async def measure_beside_a_stalled_one(ground: Ground) -> list[Row]:
    """The others' p99, phases with and without a client that reads nothing in turn."""
    raise_open_files()
    alone, beside = [], []
    async with _market(ground) as market, _gateway(ground) as ours, _crowd(ours.port, CLIENTS, "plain") as crowd:
        for _ in range(PHASES):
            alone.append(await _p99_of_a_phase(market, crowd))
            with _stalled(ours.port):
                beside.append(await _p99_of_a_phase(market, crowd))
    what = f"p99 of delivery to {CLIENTS:,} clients, 11 KB, beside one that is stalled"
    without, with_it = ([1e3 * p99 for p99 in side] for side in (alone, beside))
    return [row(what, "ms", with_it, at_most=True, against="without it", against_samples=without, wanted_ratio=0.8)]


async def _p99_of_a_phase(market: "_Market", crowd: "_Crowd") -> float:
    for _ in range(PHASE_ROUNDS):  # 330 KB: whatever buffers a stalled client has are full then
        await market.move(crowd, 100)
    ((*arrivals,),) = await _in_turn(PHASE_ROUNDS, lambda: market.move(crowd, 100))
    return quantiles((seconds for each in arrivals for seconds in each), n=100)[98]


def _stalled(port: int) -> socket.socket:
    stalled = socket.socket()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stalled.connect(("127.0.0.1", port))
    stalled.send(
        b"GET /ws/stocks/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    return stalled


async def measure_many(ground: Ground) -> list[Row]:
    """10 000 clients of one gateway, and 500 that come at one moment."""
    most = raise_open_files()
    many = min(MANY, most - OTHER_FILES)
    if many < MANY:
        print(f"only {many} clients: the hard limit of open files is {most} (ulimit -Hn)", file=sys.stderr)
    return await _to_many(ground, many) + await _returning(ground)


async def _to_many(ground: Ground, clients: int) -> list[Row]:
    async with _market(ground) as market, _gateway(ground) as ours:
        before = ours.memory_bytes()
        async with _crowd(ours.port, clients, "deflate") as crowd:
            ((*arrivals,),) = await _in_turn(MANY_ROUNDS, lambda: market.move(crowd))
            each_bytes = (ours.memory_bytes() - before) / clients
    p99 = [1000 * quantiles(each, n=100)[98] for each in arrivals]
    last = [1000 * max(each) for each in arrivals]
    return [
        Row(f"memory of a connection, {clients:,} at once, compressing", each_bytes / 1000, "KB", 20, at_most=True),
        Row(f"{clients:,} clients connected and sent their snapshot", crowd.joined_seconds * 1000, "ms"),
        row(f"p99 of one broadcast to all {clients:,}", "ms", p99, wanted=1000, at_most=True),
        row(f"one broadcast to all {clients:,}, to the last of them", "ms", last),
    ]


async def _returning(ground: Ground) -> list[Row]:
    """Clients that all come at one moment, to 1 000 tickers."""
    seconds = []
    async with _market(ground) as market, _gateway(ground) as ours:
        async with _crowd(ours.port, 1, "plain") as crowd:
            await market.move(crowd, 1000)
        for _ in range(PHASES):
            async with _crowd(ours.port, RETURNING, "deflate") as crowd:
                seconds.append(crowd.joined_seconds)
    what = f"{RETURNING} clients at one moment, until all have 1,000 tickers"
    return [row(what, "ms", [1000 * each for each in seconds], wanted=2000, at_most=True)]


class _Market:
    """One partition, moved by hand: every move is one flush."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._moves = 0
        self._ticks = 0

    async def move(self, crowd: "_Crowd", tickers: int = UPDATED) -> list[float]:
        """Commit a new price of so many tickers; return how long it took to each client."""
        self._moves += 1
        price, ts = f"{100 + self._moves % 100}.{self._moves % 9 + 1}", str(time.time_ns() // 1_000_000)
        batch = log.freeze(self._ticks + 1, [(f"T{n:04d}", price, ts, "simulated", "", "", "") for n in range(tickers)])
        self._ticks += tickers
        await log.append(self._redis, 0, token=TOKEN, producer=TOKEN, batch=batch, cap=CAP)
        state = await log.load(self._redis, 0)
        found = await log.read(self._redis, "ticks", 0, state.cursor, count=tickers, block_ms=0)
        digest = StateMachine(state).digest(found.entries, found.seq)
        began = time.monotonic()
        incarnation = state.incarnation
        await log.commit(self._redis, 0, token=TOKEN, period=PERIOD, incarnation=incarnation, cap=CAP, digest=digest)
        return [arrived - began for arrived in await crowd.arrivals()]

    async def publish(self, stream: str, crowd: "_Crowd") -> list[float]:
        """Give the other that reads this stream a text like that of a move."""
        self._moves += 1
        price, ts = f"{100 + self._moves % 100}.{self._moves % 9 + 1}", str(time.time_ns() // 1_000_000)
        stocks = [
            protocol.encode_stock(Enriched(str(self._moves), f"T{n:04d}", price, ts, "simulated", "", price, "")) for n in range(UPDATED)
        ]
        cursor = protocol.encode_cursor([Position("1795346662034123-3fa9c1d2", self._moves)])
        (text,) = protocol.encode_update(int(ts), cursor, stocks)
        began = time.monotonic()
        await self._redis.xadd(stream, {"text": text})
        return [arrived - began for arrived in await crowd.arrivals()]


class _Process:
    """A server that was started, and what it costs."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.port = port

    def memory_bytes(self) -> int:
        """What is resident."""
        return int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


class _Crowd:
    """The clients of one server."""

    def __init__(self, lines: asyncio.StreamReader) -> None:
        self._lines = lines
        self.joined_seconds = 0.0
        """From the first connection to the first message of the last."""

    async def arrivals(self) -> list[float]:
        """When each client had its next message."""
        told = await asyncio.wait_for(self._lines.readline(), PATIENCE_SECONDS)
        if not told:
            raise RuntimeError("a server closed a client's connection, see above")
        line = json.loads(told)
        arrived: list[float] = line["arrived"]
        self.joined_seconds = self.joined_seconds or arrived[-1] - line["began"]
        return arrived


@asynccontextmanager
async def _market(ground: Ground) -> AsyncIterator[_Market]:
    async with ground.client() as redis:
        await set_up(redis)
        yield _Market(redis)


@asynccontextmanager
async def _gateway(ground: Ground) -> AsyncIterator[_Process]:
    port = find_free_port()
    variables = {"REDIS_URL": ground.redis_url, "PARTITIONS": "1", "SMA_PERIOD": str(PERIOD), "LOG_LEVEL": "warning"}
    variables |= {"GATEWAY_PORT": str(port), "GATEWAY_FLUSH_SECONDS": "0", "GATEWAY_MAX_CONNECTIONS": "0"}
    async with _running("services.gateway", port, os.environ | variables) as process:
        yield process


@asynccontextmanager
async def _peer(program: str, ground: Ground, form: str) -> AsyncIterator[_Process]:
    port = find_free_port()
    async with running(program, str(port), ground.redis_url, form) as process, _greeted(process, port) as greeted:
        yield greeted


@asynccontextmanager
async def _greeted(process: asyncio.subprocess.Process, port: int) -> AsyncIterator[_Process]:
    """Once it listens and its first client has come and gone: that one costs memory, once."""
    await until_listening(port)
    async with _crowd(port, 1, "plain"):
        yield _Process(process.pid, port)


@asynccontextmanager
async def _running(module: str, port: int, environment: dict[str, str]) -> AsyncIterator[_Process]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, env=environment)
    try:
        async with _greeted(process, port) as greeted:
            yield greeted
    finally:
        process.terminate()
        await process.wait()


async def until_listening(port: int) -> None:
    """Wait for a server that was just started."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


@asynccontextmanager
async def _crowd(port: int, clients: int, form: str) -> AsyncIterator[_Crowd]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.crowd", str(port), str(clients), form, stdout=PIPE, limit=1 << 24
    )
    assert process.stdout is not None
    crowd = _Crowd(process.stdout)
    try:
        await crowd.arrivals()
        yield crowd
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
