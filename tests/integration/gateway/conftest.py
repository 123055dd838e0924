"""A gateway in the test's own loop, on a real Redis and a real port."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from services.admin.embedded import find_free_port
from services.gateway.entrance import Bounds
from services.gateway.feed import BLOCK_SECONDS
from services.gateway.outbox import Limits
from services.gateway.rates import Rate
from services.gateway.service import Gateway
from services.gateway.settings import GatewaySettings
from shared.redis.client import connect
from tests.integration.gateway.market import PERIOD, Market

Running = Callable[..., AbstractAsyncContextManager[int]]


@pytest.fixture
async def market(redis: Redis) -> Market:
    """A deployment with two partitions: TSLA and MSFT in one, AAPL and KO in the other."""
    market = Market(redis, partitions=2)
    await market.open()
    return market


ANY_RATE = Bounds(rate=Rate(burst=10**9))
"""For clients that send more than an honest one."""


@asynccontextmanager
async def running_gateway(
    url: str, *, partitions: int = 2, flush_seconds: float = 0.0, limits: Limits | None = None, bounds: Bounds | None = None, **more: Any
) -> AsyncIterator[int]:
    """Run a gateway, with `more` settings, and yield its port; leaving is what SIGTERM does."""
    settings = GatewaySettings(
        redis_url=SecretStr(url), partitions=partitions, sma_period=PERIOD,
        gateway_port=find_free_port(), gateway_flush_seconds=flush_seconds, **more,
    )  # fmt: skip
    gateway, stop = Gateway(settings, limits, bounds), asyncio.Event()
    async with connect(url, service="gateway", block_seconds=BLOCK_SECONDS) as redis, gateway.listening() as server:
        for listener in server.sockets:
            # By default the system buffers megabytes for a client that does not read, before the gateway feels it.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        work = asyncio.create_task(gateway.work(redis, server, stop))
        try:
            yield settings.gateway_port
        finally:
            stop.set()
            await work


@pytest.fixture
async def port(market: Market, redis_url: str) -> AsyncIterator[int]:
    """The port of a gateway that flushes each batch at once."""
    async with running_gateway(redis_url) as port:
        yield port
