"""A fake Finnhub with a clock of its own, and clients: the official one, one that keeps to HTTP, and a bare socket."""

import asyncio
import logging
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.fakes.finnhub import FakeFinnhub
from tests.integration.fakes.calling import Clock


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The official client honours proxies of the environment; none leads back to this machine."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def clock() -> Clock:
    """What the fake takes for the time: a Wednesday of November 2026, 11:00 in New York."""
    return Clock()


@pytest.fixture
async def fake(clock: Clock, caplog: pytest.LogCaptureFixture) -> AsyncIterator[FakeFinnhub]:
    """A fake that is served; whatever clients did, it has nothing to complain of at the end."""
    async with asyncio.timeout(60), FakeFinnhub(clock=clock) as fake:
        yield fake
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.fixture
async def http(fake: FakeFinnhub) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the key in its header, as our fetcher sends it; URLs are relative to the base URL."""
    async with httpx.AsyncClient(
        base_url=fake.base_url, headers={"X-Finnhub-Token": "test-key"}, trust_env=False, timeout=30, verify=False
    ) as client:
        yield client
