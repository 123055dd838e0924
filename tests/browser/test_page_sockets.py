"""A browser's own WebSocket, from a page of another port of the same host: messages come whole, and so does the end."""

import asyncio
import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from services.admin.embedded import find_free_port
from shared.redis.client import connect
from tests.browser.visit import Visit
from tests.integration.gateway.market import Market
from tests.integration.gateway.test_gateway_endings import connected, process
from tests.integration.gateway.test_gateway_slow_client import TICKERS, fill

pytestmark = pytest.mark.asyncio(loop_scope="session")

OPEN = """(url) => {
  window.seen = { updates: [], extensions: null, end: null };
  const socket = (window.socket = new WebSocket(url));
  socket.onopen = () => (seen.extensions = socket.extensions);
  socket.onmessage = ({ data }) => data.includes('"type":"stock_update"') && seen.updates.push(data);
  socket.onclose = ({ code, reason, wasClean }) => (seen.end = { code, reason, wasClean });
}"""
HINT = re.compile(r"^going away; reconnect in \d+\.\d s$")


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Visit]:
    """An empty page that came from a port of its own of this host: from a real one, or the browser does not let it connect here."""
    visit = Visit(await browser.new_context())
    await visit.begin()
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        await visit.page.goto(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        yield visit
        await visit.context.close()
    visit.check()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Any request with a page of nothing."""
    await reader.readuntil(b"\r\n\r\n")
    body = b"<!doctype html><link rel=icon href=data:,>"
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
    await writer.drain()
    writer.close()


async def test_a_page_sees_every_message_whole_and_how_the_gateway_goes_away(redis_url: str, page: Visit) -> None:
    port = find_free_port()
    async with connect(redis_url, service="tests") as redis:
        await redis.flushdb()
        market = Market(redis, partitions=1)
        await market.open()
        await fill(market, 1)
        async with process(redis_url, port, PARTITIONS="1", GATEWAY_FLUSH_SECONDS="0") as gateway:
            await (await connected(port)).__aexit__()
            await page.run(OPEN, f"ws://127.0.0.1:{port}/ws/stocks/")
            for price in range(2, 12):
                await page.holds("(count) => seen.updates.length >= count", price - 1)
                await fill(market, price)
            await page.holds("(price) => seen.updates.at(-1).includes(price)", '"price":11')
            gateway.terminate()
            await page.holds("seen.end !== null")
            assert await gateway.wait() == 0
    seen = await page.run("seen")
    updates = [json.loads(text) for text in seen["updates"]]
    assert [update["snapshot"] for update in updates] == [True, *[False] * 10]
    assert [{stock["price"] for stock in update["stocks"]} for update in updates] == [{price} for price in range(1, 12)]
    assert all(len(update["stocks"]) == TICKERS for update in updates)
    assert seen["extensions"].partition(";")[0] == "permessage-deflate"
    assert (seen["end"]["code"], seen["end"]["wasClean"]) == (1001, True)
    assert HINT.search(seen["end"]["reason"])
