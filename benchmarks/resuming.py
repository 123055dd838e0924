"""Clients that come back all at once, to a gateway that holds the alerts of full streams: when the last one has its answer."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence

from redis.asyncio import Redis

from benchmarks.crowd import OPCODE, PING, PONG, TEXT
from benchmarks.ground import Ground, set_up
from benchmarks.report import Row
from benchmarks.running import running
from services.admin.embedded import find_free_port
from services.gateway.protocol import Position, encode_cursor
from shared import streams

PARTITIONS = 4
ENTRIES = 25_000
"""Of each partition; one in ten is an alert."""
CLIENTS = 500
TICKERS = [f"T{n:03d}" for n in range(100)]
WANTED_SECONDS = 2.0
HANDSHAKE = (
    "GET /ws/stocks/?since={since}{tickers} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

Ask = Callable[[int], tuple[Sequence[int], Sequence[str]]]
"""Of a client's number: how many entries it missed in each partition, and its tickers (none: all)."""


async def measure(ground: Ground) -> list[Row]:
    """With one cursor near the end, as after the death of another gateway; with cursors and tickers of their own; from the beginning."""
    async with ground.client() as redis:
        await set_up(redis, PARTITIONS)
        for p in range(PARTITIONS):
            await _fill(redis, p)
        lives = [str(await redis.hget(streams.log(p), "incarnation")) for p in range(PARTITIONS)]
    chance = random.Random(1)
    cases: dict[str, Ask] = {
        "one cursor, 100 entries ago": lambda _: ([25] * PARTITIONS, ()),
        "cursors of their own up to 4 000 entries ago, 20 tickers of their own": lambda _: (
            [chance.randint(0, 1000) for _ in range(PARTITIONS)],
            chance.sample(TICKERS, 20),
        ),
        "cursors of their own up to 4 000 entries ago, all tickers": lambda _: ([chance.randint(0, 1000) for _ in range(PARTITIONS)], ()),
    }
    port = find_free_port()
    with running(ground, ["gateway"], PARTITIONS, GATEWAY_PORT=str(port)):
        await _until_it_answers(port)
        return [await _measure_one(what, ask, port, lives) for what, ask in cases.items()]


async def _fill(redis: Redis, p: int) -> None:
    names = ("seq", "ticker", "price", "ts", "source", "tick_id", "sma", "alert")
    pipeline = redis.pipeline(transaction=False)
    for seq in range(1, ENTRIES + 1):
        alert = "bullish" if seq % 10 == 0 else ""
        values = (seq, TICKERS[seq // 10 % len(TICKERS)], "101.25", "1771105101950", "simulated", "1-0", "100.5", alert)
        pipeline.xadd(streams.enriched(p), dict(zip(names, values, strict=True)))
    pipeline.hset(streams.log(p), mapping={"seq": ENTRIES, "enriched_seq": ENTRIES})
    await pipeline.execute()


async def _until_it_answers(port: int) -> None:
    while True:
        try:
            await _resume(port, "", ())
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.05)
        else:
            return


async def _measure_one(what: str, ask: Ask, port: int, lives: Sequence[str]) -> Row:
    asked = [ask(number) for number in range(CLIENTS)]
    cursors = [encode_cursor([Position(life, ENTRIES - n) for life, n in zip(lives, missed, strict=True)]) for missed, _ in asked]
    started = time.perf_counter()
    answers = await asyncio.gather(
        *(_resume(port, cursor, tickers) for cursor, (_, tickers) in zip(cursors, asked, strict=True))
    )  # fmt: skip
    seconds = time.perf_counter() - started
    if not all(b'"recovered":true' in answer for answer in answers):
        raise RuntimeError(f"{what}: somebody was not recovered")
    return Row(f"{CLIENTS} clients resume at once, {what}, to the last answer", seconds * 1000, "ms", WANTED_SECONDS * 1000, at_most=True)


async def _resume(port: int, since: str, tickers: Sequence[str]) -> bytes:
    """The parts of the first message, by a socket alone: a client's own work is not to be measured."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    query = f"&tickers={','.join(tickers)}" if tickers else ""
    writer.write(HANDSHAKE.format(since=since, tickers=query).encode())
    await reader.readuntil(b"\r\n\r\n")
    whole = b""
    while True:
        message = await read_text(reader, writer)
        whole += message
        if b'"more":true' not in message[:200]:
            writer.close()
            return whole


async def read_text(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The payload of a server's next message; pings before it are answered: who never does is taken for dead."""
    while True:
        first, size = await reader.readexactly(2)
        if size >= 126:
            size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
        payload = await reader.readexactly(size)
        if first & OPCODE == TEXT:
            return payload
        if first & OPCODE == PING:
            writer.write(PONG)
