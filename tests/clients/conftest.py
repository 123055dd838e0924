"""Every behaviour is shown by every client."""

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from tests.browser.conftest import CHROMIUM
from tests.clients.browser_client import Chromium
from tests.clients.python_clients import subscribe_async, subscribe_sync
from tests.clients.subscriber import Subscribe
from tests.integration.gateway.conftest import running_gateway
from tests.integration.gateway.market import Market

CLIENTS: dict[str, Subscribe] = {"async": subscribe_async, "sync": subscribe_sync}
"""By the name that the test gets: one driver for each client."""
PYTHON_CLIENTS = ("async", "sync")
"""For what only they promise, or what cannot be shown of others."""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """The browser of this worker."""
    if not CHROMIUM.exists():
        pytest.skip(f"no browser: {CHROMIUM} is missing (Debian: apt-get install {CHROMIUM.name})")
    with Chromium().running() as chromium:
        yield chromium


@pytest.fixture(params=[*CLIENTS, pytest.param("browser", marks=pytest.mark.long)])
def subscribe(request: pytest.FixtureRequest) -> Subscribe:
    """A client of each kind."""
    if request.param == "browser":
        browser: Chromium = request.getfixturevalue("chromium")
        return browser.subscribe
    return CLIENTS[request.param]


@pytest.fixture
async def market(redis: Redis) -> Market:
    """A deployment with two partitions: TSLA and MSFT in one, AAPL and KO in the other."""
    market = Market(redis, partitions=2)
    await market.open()
    return market


@pytest.fixture
async def port(market: Market, redis_url: str) -> AsyncIterator[int]:
    """The port of a gateway that flushes each batch at once."""
    async with running_gateway(redis_url, partitions=market.partitions) as port:
        yield port
