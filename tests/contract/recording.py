"""Records entries and messages of a real Redis, the real functions and a real gateway: `python -m tests.contract.recording`."""

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect

from scripts.contract import EXAMPLES, text_of
from services.admin.embedded import EmbeddedRedis, find_free_port
from shared import events
from shared.redis import client as redis_client
from shared.redis.log import append, freeze
from shared.redis.market import announce
from tests.contract.judging import public_of
from tests.integration.gateway.conftest import running_gateway
from tests.integration.gateway.market import CAP, Market

PATIENCE_SECONDS = 20
PARTITIONS = 2
COMMANDS: dict[str, list[dict[str, Any]]] = {
    "subscribe": [{"action": "subscribe", "tickers": ["TSLA", "BRK.B"]}, {"action": "subscribe", "tickers": ["*"]}],
    "unsubscribe": [{"action": "unsubscribe", "tickers": ["BRK.B"]}],
    "ping": [{"action": "ping"}],
    "auth": [{"action": "auth", "token": "a JSON Web Token"}],
}
"""What the recorded client sends, in this order."""

Texts = dict[str, list[str]]


class Heard:
    """A client's connection, and the text of every message by its type."""

    def __init__(self, websocket: ClientConnection, texts: Texts) -> None:
        self._websocket = websocket
        self._texts = texts

    async def next(self, kind: str) -> dict[str, Any]:
        """The next message of a type; others before it are heard, too."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                text = await self._websocket.recv(decode=True)
                message: dict[str, Any] = json.loads(text)
                self._texts.setdefault(message["type"], []).append(str(text))
                if message["type"] == kind:
                    return message

    async def say(self, command: dict[str, Any]) -> None:
        """Send a command."""
        await self._websocket.send(json.dumps(command))


async def record_messages(market: Market, redis_url: str, lose_redis: Callable[[], Awaitable[None]]) -> Texts:
    """Every kind of message a gateway has, by type, as it was sent."""
    texts: Texts = {}
    await market.trade("AAPL", "255.5", "255.78", ts="1771105100950")
    await announce(market.redis, events.Market("XNYS", "open", "regular session", "1771338600000", "1771275600000"))
    async with running_gateway(redis_url, partitions=PARTITIONS) as port:
        url = f"ws://127.0.0.1:{port}/ws/stocks/"
        async with connect(f"{url}?tickers=AAPL", proxy=None) as websocket:
            cursor = await hear_a_life(Heard(websocket, texts), market)
        await market.trade("AAPL", "257.01")
        async with connect(f"{url}?tickers=AAPL,MSFT&since={cursor}", proxy=None) as websocket:
            back = Heard(websocket, texts)
            assert (await back.next("stock_update"))["recovered"] is True
            await lose_redis()
            assert (await back.next("status"))["stale"] is True
    return texts


async def hear_a_life(client: Heard, market: Market) -> str:
    """A snapshot, a crossover, every command; the last cursor."""
    await client.next("stock_update")
    await client.next("market_status")
    await market.trade("AAPL", "251.2")
    assert (await client.next("stock_update"))["alerts"]
    answers = {"subscribe": "subscribed", "unsubscribe": "error", "ping": "pong", "auth": "error"}
    for name, commands in COMMANDS.items():
        for command in commands:
            await client.say(command)
            await client.next(answers[name])
    await client.say({"action": "ping"})
    return str((await client.next("pong"))["cursor"])


async def trade_and_refuse(market: Market) -> None:
    """A tick with all that a source may tell, one that sheds, and one from the future, which becomes a dead letter."""
    late = str(time.time_ns() // 1_000_000 + 86_400_000)
    rows = [
        ("MSFT", "401.32", "1771105040110", "finnhub-stream", "100", "1771105040108", "3"),
        ("MSFT", "399.1", late, "replay", "", "", ""),
    ]
    appended = await append(market.redis, 0, token="token", producer="other", batch=freeze(1, rows), cap=CAP)
    assert appended.seq
    await market.analyze(0)


async def record(server: EmbeddedRedis, redis: Redis) -> dict[str, dict[str, list[Any]]]:
    """One of each kind, by subject and name. Ends with the Redis killed."""
    market = Market(redis, PARTITIONS)
    await market.open()
    await trade_and_refuse(market)
    kept: dict[str, Any] = {}

    async def lose_redis() -> None:
        kept.update(await public_of(redis, PARTITIONS))
        await asyncio.to_thread(server.kill)

    texts = await record_messages(market, server.url, lose_redis)
    kept["latest"] = [json.loads(text) for _, text in kept["latest"]]
    return {
        "entries": {name: telling(found) for name, found in kept.items()},
        "messages": {name: telling([json.loads(text) for text in found]) for name, found in texts.items()},
        "commands": COMMANDS,
    }


def telling(found: list[Any]) -> list[Any]:
    """One of each kind: the first that has values in just these fields."""
    kinds: dict[Any, Any] = {}
    for each in found:
        kinds.setdefault(tuple(key for key in each if each[key]) if isinstance(each, dict) else str, each)
    return list(kinds.values())


async def main() -> None:
    """Write the examples."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(Path(folder), find_free_port()) as server:
        async with redis_client.connect(server.url, service="tests") as redis:
            EXAMPLES.write_text(text_of(await record(server, redis)), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
