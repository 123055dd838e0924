"""What a replayed file must become, what the streams hold, and a fetcher process."""

import asyncio
from asyncio.subprocess import Process
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

from redis.asyncio import Redis

from shared import streams
from shared.partitions import partition_of

PARTITIONS = 4
TICKERS = ("AAPL", "MSFT", "BRK.B", "KO", "V", "NVDA", "TSLA", "JPM")

Rows = dict[int, list[tuple[str, str, str]]]
"""Partition to (ticker, price, ts) in order."""


def rows_of(path: Path, partitions: int = PARTITIONS) -> Rows:
    """The oracle: what a file of `prices_file` must become, without its bad rows."""
    rows: Rows = defaultdict(list)
    for line in path.read_text(encoding="ascii").splitlines()[1:]:
        ticker, price, ts, _ = line.split(",")
        if ticker != "ko":
            rows[partition_of(ticker, partitions)].append((ticker, price, ts))
    return dict(rows)


async def entries_of(redis: Redis, key: str) -> list[tuple[str, dict[str, str]]]:
    """All entries of a stream."""
    return cast(list[tuple[str, dict[str, str]]], await redis.xrange(key))


async def rows_in(redis: Redis, partitions: int = PARTITIONS) -> Rows:
    """What the streams hold."""
    found = {p: [row_of(fields) for _, fields in await entries_of(redis, streams.ticks(p))] for p in range(partitions)}
    return {p: rows for p, rows in found.items() if rows}


def row_of(fields: dict[str, str]) -> tuple[str, str, str]:
    return fields["ticker"], fields["price"], fields["ts"]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that only Redis can tell."""
    while not await condition():  # Redis sets no event of ours
        await asyncio.sleep(0.02)


class Fetcher:
    """A fetcher process and what it logged."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.log = ""

    async def finish(self) -> int:
        """Wait for its end; return the exit code."""
        _, errors = await self.process.communicate()
        self.log += errors.decode()
        assert self.process.returncode is not None
        return self.process.returncode
