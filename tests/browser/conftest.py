"""Fixtures of the tests in a browser: one Chromium a session, one running deployment a module, one context a test."""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Route, async_playwright

from services.admin.embedded import EmbeddedRedis, find_free_port
from shared.redis.client import connect
from tests.browser.quiet import QuietMarket
from tests.browser.visit import STATIC, Deployment, Quiet, Visit
from tests.e2e.pipeline import SERVICES, Pipeline
from tests.servers import search_path

CHROMIUMS = (Path("/usr/bin/chromium-headless-shell"), Path("/usr/bin/chromium"))
"""Debian's, the preferred one first: those of Playwright's own are fetched from elsewhere. The shell is the same engine without the
windows of a desktop, and loads and draws a page for a third of the CPU."""
CHROMIUM = next((path for path in CHROMIUMS if path.exists()), CHROMIUMS[0])
SWITCHES = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    # There is none: a process would only draw in its place.
    "--disable-gpu",
    # Not one more process for each context in advance, for a site that is never visited.
    "--renderer-process-limit=1",
    "--disable-site-isolation-trials",
)
PARTITIONS = 2
SMA_PERIOD = "5"
TICKERS = "AAPL,BRK.B,TSLA"
TICKS_PER_SECOND = "12"
"""Four a second of each ticker, so several share a second; about three alerts a second."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip where there is no browser, and say so."""
    if CHROMIUM.exists():
        return
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.skip(reason=f"no browser: {CHROMIUM} is missing (Debian: apt-get install {CHROMIUM.name})"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The browser of this worker."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(SWITCHES))
        yield chromium
        await chromium.close()


@pytest.fixture(scope="module")
def market_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A Redis of the module's own: other tests empty the worker's."""
    with EmbeddedRedis(tmp_path_factory.mktemp("page-redis"), find_free_port(), search_path=search_path()) as server:
        yield server


@pytest.fixture(scope="module")
def deployment_variables() -> dict[str, str]:
    """What a module's deployment has otherwise; a module may have a fixture of this name."""
    return {}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def deployment(
    market_redis: EmbeddedRedis, postgres_url: str, tmp_path_factory: pytest.TempPathFactory, deployment_variables: dict[str, str]
) -> AsyncIterator[Deployment]:
    """Every service, on simulated prices with a seed."""
    variables = {"SOURCE": "simulated", "SIMULATED_SEED": "7", "SIMULATED_RATE": TICKS_PER_SECOND, "TICKERS": TICKERS}
    variables |= deployment_variables
    async with deployed(market_redis, postgres_url, tmp_path_factory.mktemp("page"), SERVICES, **variables) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def quiet(market_redis: EmbeddedRedis, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quiet]:
    """Every service but the fetcher: no price and no word of the market until the test says so."""
    services = tuple(name for name in SERVICES if name != "fetcher")
    async with deployed(market_redis, postgres_url, tmp_path_factory.mktemp("quiet"), services) as running, connect(
        market_redis.url, service="tests"
    ) as redis:  # fmt: skip
        market = QuietMarket(redis, PARTITIONS)
        await market.open()
        yield Quiet(running, market)


@asynccontextmanager
async def deployed(
    redis: EmbeddedRedis, postgres_url: str, folder: Path, names: tuple[str, ...], **variables: str
) -> AsyncIterator[Deployment]:
    """These services and the API on a database of their own, once the page can be asked for."""
    name = f"tickstream_page_{secrets.token_hex(6)}"
    url = urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
    port = find_free_port()
    async with AsyncExitStack() as stack:
        administration = await asyncpg.connect(postgres_url)
        stack.push_async_callback(administration.close)
        await administration.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        stack.push_async_callback(administration.execute, f"DROP DATABASE {name} WITH (FORCE)")
        settings = {"SMA_PERIOD": SMA_PERIOD, "API_PORT": str(port), **variables}
        pipeline = await stack.enter_async_context(Pipeline(redis.url, url, folder, PARTITIONS, **settings))
        await pipeline.migrate()
        services = {each: pipeline.start(each) for each in (*names, "api")}
        for listening in ("gateway", "api"):
            await pipeline.until(services[listening].has_said("listening"), f"{listening} to listen")
        database = await asyncpg.connect(url)
        stack.push_async_callback(database.close)
        yield Deployment(pipeline, services, database, f"http://127.0.0.1:{port}")


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser) -> AsyncIterator[Visit]:
    """A fresh context; whatever the browser complained of fails the test, unless the test allowed it."""
    visit = Visit(await browser.new_context(viewport={"width": 1280, "height": 800}))
    await visit.begin()
    yield visit
    await visit.context.close()
    visit.check()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def modules(browser: Browser) -> AsyncIterator[Visit]:
    """An empty page beside the static files, without any service: `run` evaluates with them imported."""
    visit = Visit(await browser.new_context())
    await visit.begin()
    await visit.context.route("http://page.test/**", serve_static)
    await visit.page.goto("http://page.test/empty.html")
    yield visit
    await visit.context.close()
    visit.check()


async def serve_static(route: Route) -> None:
    """Answer with a file of the page, else with a page of nothing."""
    path = urlsplit(route.request.url).path
    if path.startswith("/static/"):
        await route.fulfill(path=STATIC / path.removeprefix("/static/"))
    else:
        await route.fulfill(body="<!doctype html><link rel=icon href=/static/favicon.svg>", content_type="text/html")
