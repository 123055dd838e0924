"""Ways to call the fake."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import finnhub

from tests.fakes.finnhub import FakeFinnhub

T = TypeVar("T")


def new_york(text: str) -> float:
    """Epoch seconds of a time in New York such as "2026-11-27 12:59"."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("America/New_York")).timestamp()


class Clock:
    """A time that moves when a test says so."""

    def __init__(self) -> None:
        self.now = new_york("2026-11-18 11:00")

    def __call__(self) -> float:
        return self.now


async def official(fake: FakeFinnhub, use: Callable[[Any], T], key: str = "test-key") -> T:
    """What `use(client)` returns, with a client of finnhub-python."""

    def call() -> T:
        with finnhub.Client(key) as client:
            client.API_URL = fake.base_url
            return use(client)

    return await asyncio.to_thread(call)


async def connect(fake: FakeFinnhub) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A bare connection."""
    address = urlsplit(fake.base_url)
    return await asyncio.open_connection(address.hostname, address.port)


def request_for(symbol: str) -> bytes:
    """The bytes of a request for a quote."""
    return f"GET /api/v1/quote?symbol={symbol} HTTP/1.1\r\nHost: fake\r\nX-Finnhub-Token: test-key\r\n\r\n".encode()


async def conversations_are_over() -> None:
    """Wait until the fake talks to nobody any more."""
    while any(task.get_name() == "fake Finnhub" for task in asyncio.all_tasks()):
        await asyncio.sleep(0)
