"""From the append of a tick to a WebSocket client that has read it, through a running analyzer and gateway, without conflation.

Beside it, phases in turn, the floor: XADD → XREAD BLOCK → socket in one process (`peers/chain.py`).
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from statistics import quantiles

from redis.asyncio import Redis

from benchmarks.fanning import until_listening
from benchmarks.ground import CAP, TOKEN, Ground, rounds, set_up
from benchmarks.peer import taking_turns
from benchmarks.report import Chart, Figure, Line, Row, point, row
from benchmarks.resuming import HANDSHAKE, read_text
from benchmarks.running import running
from services.admin.embedded import find_free_port
from shared.redis import log

RATE = 1000
SECONDS = 3
MOST_SECONDS = 24
PATIENCE_SECONDS = 60
TICKERS = 100
"""In turn: the next tick of the same comes long after."""
PERCENTILES = (50, 75, 90, 95, 99)
WANTED_MS = {50: 1.5, 90: None, 99: 5.0}
FLOOR = "XADD → XREAD → socket alone"

_seqs = re.compile(rb'"seq":(\d+)').findall


async def measure(ground: Ground) -> list[Figure]:
    """Phases of both sides in turn; of each phase its percentiles."""
    ours, floor = [], []
    async with ground.client() as redis, taking_turns("chain", ground.redis_url) as chain:
        await set_up(redis, services=("fetcher",))
        async with _listening(ground) as client:
            market = _Market(redis, *client)
            for _ in rounds(MOST_SECONDS):
                ours.append(percentiles(await market.measure()))
                floor.append(percentiles(await chain.take_turn(rate=RATE, seconds=SECONDS)))
    lines = _line("tickstream", ours[1:]), _line(FLOOR, floor[1:])
    chart = Chart("latency", f"Append to WebSocket client at {RATE:,} ticks/s", "percentile", "ms", lines, is_x_log=False)
    return [chart, *(_row(percent, wanted, ours[1:], floor[1:]) for percent, wanted in WANTED_MS.items())]


def percentiles(milliseconds: Sequence[float]) -> dict[int, float]:
    """Those that are shown."""
    cut = quantiles(milliseconds, n=100)
    return {percent: cut[percent - 1] for percent in PERCENTILES}


def _line(label: str, phases: Sequence[dict[int, float]]) -> Line:
    return Line(label, tuple(point(percent, [phase[percent] for phase in phases]) for percent in PERCENTILES))


def _row(percent: int, wanted: float | None, ours: Sequence[dict[int, float]], floor: Sequence[dict[int, float]]) -> Row:
    return row(
        f"append → WebSocket client at {RATE:,}/s, p{percent}",
        "ms",
        [phase[percent] for phase in ours],
        wanted=wanted,
        at_most=True,
        against=FLOOR,
        against_samples=[phase[percent] for phase in floor],
        wanted_ratio=0.25,
    )


class _Market:
    """One partition, whose ticks have the seqs 1, 2, 3 …: by these the client's side knows them."""

    def __init__(self, redis: Redis, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._redis = redis
        self._client = reader, writer
        self._begun: list[float] = [0.0]
        self._taken: list[float] = []

    async def measure(self) -> list[float]:
        """Milliseconds from before each append until the client had read it; conflated ticks have none."""
        self._taken = []
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as tasks:
            tasks.create_task(self._receive(until=len(self._begun) - 1 + RATE * SECONDS))
            tasks.create_task(self._append())
        return self._taken

    async def _append(self) -> None:
        start, first = time.monotonic(), len(self._begun)
        for n in range(first, first + RATE * SECONDS):
            await asyncio.sleep(max(0, start + (n - first) / RATE - time.monotonic()))
            tick = f"T{n % TICKERS:04d}", f"{100 + n % 7}.{n % 9 + 1}", str(time.time_ns() // 1_000_000), "simulated", "", "", ""
            self._begun.append(time.monotonic())
            await log.append(self._redis, 0, token=TOKEN, producer=TOKEN, batch=log.freeze(n, [tick]), cap=CAP)

    async def _receive(self, until: int) -> None:
        newest = 0
        while newest < until:
            message = await read_text(*self._client)
            now = time.monotonic()
            seqs = [int(seq) for seq in _seqs(message[: message.find(b'"alerts":')])]
            self._taken += (1000 * (now - self._begun[seq]) for seq in seqs)
            newest = max((newest, *seqs))


@asynccontextmanager
async def _listening(ground: Ground) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client of a gateway, an analyzer behind it."""
    port = find_free_port()
    given = {"STREAM_CAP": str(CAP), "GATEWAY_PORT": str(port), "GATEWAY_FLUSH_SECONDS": "0"}
    with running(ground, ["analyzer", "gateway"], 1, **given):
        await until_listening(port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HANDSHAKE.format(since="", tickers="").encode())
        await reader.readuntil(b"\r\n\r\n")
        await read_text(reader, writer)
        yield reader, writer
        writer.close()
