"""Fan-out by the gateway's own process, from the commit of a batch to the last byte at the last client.

Beside it, round by round in turn, the textbook gateway of `broadcasting`; both have their clients in a `crowd` of its own.
"""

import asyncio
import json
import os
import resource
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import median, quantiles
from subprocess import PIPE

from redis.asyncio import Redis

from benchmarks.broadcasting import STREAM
from benchmarks.ground import CAP, PERIOD, TOKEN, Ground, set_up
from benchmarks.report import Row
from services.admin.embedded import find_free_port
from services.analyzer.state_machine import StateMachine
from services.gateway import protocol
from services.gateway.protocol import Position
from shared.events import Enriched
from shared.redis import log

CLIENTS, MANY, RETURNING = 1000, 10_000, 500
UPDATED = 7
"""Tickers of an update of 1 KB."""
ROUNDS, MANY_ROUNDS, PHASES, PHASE_ROUNDS = 200, 15, 5, 30
OTHER_FILES = 200
PATIENCE_SECONDS = 120

Round = Callable[[], Awaitable[list[float]]]


async def measure(ground: Ground) -> list[Row]:
    """Each comparison on a gateway that was just started."""
    most = raise_open_files()
    many = min(MANY, most - OTHER_FILES)
    if many < MANY:
        print(f"only {many} clients: the hard limit of open files is {most} (ulimit -Hn)", file=sys.stderr)
    rows = await _against_broadcast(ground, "plain", "websockets.broadcast", 1.3)
    rows += await _against_broadcast(ground, "deflate", "broadcast, each connection compresses", 3.0)
    return rows + await _beside_a_stalled_one(ground) + await _to_many(ground, many) + await _returning(ground)


def raise_open_files() -> int:
    """Let this process and those it starts open as many files as they may; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


async def _against_broadcast(ground: Ground, form: str, against: str, times: float) -> list[Row]:
    async with (
        _market(ground) as market,
        _gateway(ground) as ours,
        _started("broadcasting", ground.redis_url, form) as theirs,
        _crowd(ours.port, CLIENTS, form) as our_crowd,
        _crowd(theirs.port, CLIENTS, form) as their_crowd,
    ):
        await _in_turn(10, lambda: market.move(our_crowd), lambda: market.publish(their_crowd))
        began = ours.cpu_seconds(), theirs.cpu_seconds()
        seconds = await _in_turn(ROUNDS, lambda: market.move(our_crowd), lambda: market.publish(their_crowd))
        spent = ours.cpu_seconds() - began[0], theirs.cpu_seconds() - began[1]
    rates = [CLIENTS / median(max(each) for each in side) for side in seconds]
    cpu = [1e6 * each / ROUNDS / CLIENTS for each in spent]
    what = f"1 KB to {CLIENTS:,} clients, {form}"
    return [
        Row(f"fan-out of {what}", rates[0], "deliveries/s", times * rates[1], against=against, against_measured=rates[1]),
        Row(f"CPU of a delivery, {what}", cpu[0], "µs", cpu[1] / times, at_most=True, against=against, against_measured=cpu[1]),
    ]


async def _in_turn(rounds: int, *sides: Round) -> list[list[list[float]]]:
    """Of each side, what each of its rounds took: seconds until each client had the message."""
    taken: list[list[list[float]]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, results in zip(sides, taken, strict=True):
            results.append(await side())
    return taken


async def _beside_a_stalled_one(ground: Ground) -> list[Row]:
    """The others' p99, phases with and without a client that reads nothing in turn."""
    alone, beside = [], []
    async with _market(ground) as market, _gateway(ground) as ours, _crowd(ours.port, CLIENTS, "plain") as crowd:
        for _ in range(PHASES):
            alone.append(await _p99_of_a_phase(market, crowd))
            with _stalled(ours.port):
                beside.append(await _p99_of_a_phase(market, crowd))
    what = f"p99 of delivery to {CLIENTS:,} clients, 11 KB, beside one that is stalled"
    without = 1e6 * median(alone)
    return [Row(what, 1e6 * median(beside), "µs", 1.2 * without, at_most=True, against="without it", against_measured=without)]


async def _p99_of_a_phase(market: "_Market", crowd: "_Crowd") -> float:
    for _ in range(PHASE_ROUNDS):  # 330 KB: whatever buffers a stalled client has are full then
        await market.move(crowd, 100)
    ((*rounds,),) = await _in_turn(PHASE_ROUNDS, lambda: market.move(crowd, 100))
    return quantiles((seconds for each in rounds for seconds in each), n=100)[98]


def _stalled(port: int) -> socket.socket:
    stalled = socket.socket()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stalled.connect(("127.0.0.1", port))
    stalled.send(
        b"GET /ws/stocks/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    return stalled


async def _to_many(ground: Ground, clients: int) -> list[Row]:
    async with _market(ground) as market, _gateway(ground) as ours:
        before = ours.memory_bytes()
        async with _crowd(ours.port, clients, "deflate") as crowd:
            ((*rounds,),) = await _in_turn(MANY_ROUNDS, lambda: market.move(crowd))
            each_bytes = (ours.memory_bytes() - before) / clients
    p99 = median(quantiles(each, n=100)[98] for each in rounds)
    return [
        Row(f"memory of a connection, {clients:,} at once, compressing", each_bytes / 1000, "KB", 20, at_most=True),
        Row(f"{clients:,} clients connected and sent their snapshot", crowd.joined_seconds * 1000, "ms"),
        Row(f"p99 of one broadcast to all {clients:,}", p99 * 1000, "ms", 1000, at_most=True),
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
    return [Row(what, 1000 * median(seconds), "ms", 2000, at_most=True)]


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

    async def publish(self, crowd: "_Crowd") -> list[float]:
        """Give the textbook gateway a text like that of a move."""
        self._moves += 1
        price, ts = f"{100 + self._moves % 100}.{self._moves % 9 + 1}", str(time.time_ns() // 1_000_000)
        stocks = [
            protocol.encode_stock(Enriched(str(self._moves), f"T{n:04d}", price, ts, "simulated", "", price, "")) for n in range(UPDATED)
        ]
        cursor = protocol.encode_cursor([Position("1795346662034123-3fa9c1d2", self._moves)])
        (text,) = protocol.encode_update(int(ts), cursor, stocks)
        began = time.monotonic()
        await self._redis.xadd(STREAM, {"text": text})
        return [arrived - began for arrived in await crowd.arrivals()]


class _Process:
    """A server that was started, and what it costs."""

    def __init__(self, pid: int, port: int) -> None:
        self._proc = Path("/proc", str(pid))
        self.port = port

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = (self._proc / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self) -> int:
        """What is resident."""
        return int((self._proc / "statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


class _Crowd:
    """The clients of one server."""

    def __init__(self, lines: asyncio.StreamReader) -> None:
        self._lines = lines
        self.joined_seconds = 0.0
        """From the first connection to the first message of the last."""

    async def arrivals(self) -> list[float]:
        """When each client had its next message."""
        line = json.loads(await asyncio.wait_for(self._lines.readline(), PATIENCE_SECONDS))
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
    async with _running("services.gateway", port, environment=os.environ | variables) as process:
        yield process


@asynccontextmanager
async def _started(name: str, *arguments: str) -> AsyncIterator[_Process]:
    port = find_free_port()
    async with _running(f"benchmarks.{name}", port, str(port), *arguments) as process:
        yield process


@asynccontextmanager
async def _running(module: str, port: int, *arguments: str, environment: dict[str, str] | None = None) -> AsyncIterator[_Process]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, *arguments, env=environment)
    try:
        await until_listening(port)
        async with _crowd(port, 1, "plain"):  # also its first client costs memory, once
            yield _Process(process.pid, port)
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
