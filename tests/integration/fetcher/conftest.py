"""A Redis with the function library, files to play, fetchers as tasks and as processes."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from redis.asyncio import Redis

from services.fetcher.settings import FetcherSettings
from shared.redis.log import library_code
from tests.integration.fetcher.playing import PARTITIONS, TICKERS, Fetcher


@pytest.fixture
async def ready_redis(redis: Redis) -> Redis:
    """An empty Redis with the function library."""
    await redis.function_load(library_code(), replace=True)
    return redis


@pytest.fixture
def settings(redis_url: str) -> Callable[..., FetcherSettings]:
    """Settings of a fetcher; keywords are fields."""

    def build(**fields: Any) -> FetcherSettings:
        return FetcherSettings(**{"redis_url": redis_url, "partitions": PARTITIONS, "lease_seconds": 0.5, **fields})

    return build


@pytest.fixture
def prices_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a file of so many rows; every `bad_every`th is a bad one of ticker `ko` (0: none)."""

    def write(rows: int, bad_every: int = 0) -> Path:
        path = tmp_path / f"prices-{rows}.csv"
        with path.open("w", encoding="ascii") as file:
            file.write("ticker,price,ts,volume\n")
            for number in range(rows):
                if bad_every and number % bad_every == 0:
                    file.write(f"ko,{number}.5,{1_700_000_000_000 + number},1\n")
                else:
                    file.write(f"{TICKERS[number % len(TICKERS)]},{number}.5,{1_700_000_000_000 + number},1\n")
        return path

    return write


@pytest.fixture
async def start_fetcher(redis_url: str) -> AsyncIterator[Callable[..., Awaitable[Fetcher]]]:
    """Start `python -m services.fetcher`; keywords are variables of its environment."""
    async with AsyncExitStack() as stack:

        async def start(**environment: str | Path | int | float) -> Fetcher:
            values = {"REDIS_URL": redis_url, "PARTITIONS": PARTITIONS, "LEASE_SECONDS": 0.5, "LOG_FORMAT": "json", **environment}
            plain = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
            env = plain | {name: str(value) for name, value in values.items()}
            return await stack.enter_async_context(_running(env))

        yield start


@asynccontextmanager
async def _running(env: dict[str, str]) -> AsyncIterator[Fetcher]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.fetcher", env=env, stderr=PIPE, stdin=DEVNULL)
    fetcher = Fetcher(process)
    try:
        yield fetcher
    finally:
        if process.returncode is None:
            process.kill()
            await fetcher.finish()


@pytest.fixture
def capture_log() -> Iterator[list[Any]]:
    """What is logged, as structlog's events."""
    with structlog.testing.capture_logs() as lines:
        yield lines
