"""The contract's other side, where no gateway can be made to say it on demand: a close code, a message of tomorrow."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode
from websockets.protocol import Event

from services.gateway.entrance import choose_subprotocol

AT = "2026-02-14T21:38:22.104+00:00"


class Visit:
    """A connection of the client: the `number`-th, from 1."""

    def __init__(self, number: int, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.number = number
        self.began = asyncio.get_running_loop().time()
        self.path = connection.request.path
        self.query = parse_qs(urlsplit(self.path).query)
        self._connection = connection

    @property
    def tickers(self) -> set[str]:
        """What the URL asks for; empty for everything."""
        return set(",".join(self.query.get("tickers", [])).split(",")) - {""}

    @property
    def since(self) -> str:
        """The cursor in the URL."""
        return "".join(self.query.get("since", []))

    async def update(self, **fields: Any) -> None:
        """Send a `stock_update`; of nothing unless the fields say more."""
        message = {"type": "stock_update", "timestamp": AT, "snapshot": False, "stocks": [], "alerts": []}
        if "more" not in fields:
            message["cursor"] = "a-cursor"
        await self.send(**(message | fields))

    async def first(self, **fields: Any) -> None:
        """Send the first message of a connection, as a gateway that has everything the cursor asks for."""
        await self.update(snapshot=True, **({"recovered": True} if self.since else {}), **fields)

    async def send(self, **message: Any) -> None:
        """Send any message."""
        await self._connection.send(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        """The next command."""
        command: dict[str, Any] = json.loads(await self._connection.recv())
        return command

    async def close(self, code: int, reason: str = "") -> None:
        """Close it."""
        await self._connection.close(code, reason)

    def cut(self) -> None:
        """End it without a word, as a gateway that was killed."""
        self._connection.transport.abort()

    def on_ping(self, act: Callable[[], None]) -> None:
        """Do something whenever a ping comes; it is answered all the same."""
        process = self._connection.process_event

        def process_and_act(event: Event) -> None:
            if isinstance(event, Frame) and event.opcode is Opcode.PING:
                act()
            process(event)

        self._connection.process_event = process_and_act  # type: ignore[method-assign]  # websockets answers pings itself, and tells nobody

    def fall_silent(self) -> None:
        """Take nothing in any more, and so answer no ping: as the other end of a connection that is half open."""
        self._connection.transport.pause_reading()

    async def stay(self) -> None:
        """Until the client goes."""
        await self._connection.wait_closed()


class Scripted:
    """A server that does with each visit what the test says."""

    def __init__(self, attend: Callable[[Visit], Awaitable[None]]) -> None:
        self._attend = attend
        self.url = ""
        self.visits: list[Visit] = []

    async def __call__(self, connection: ServerConnection) -> None:
        visit = Visit(len(self.visits) + 1, connection)
        self.visits.append(visit)
        await self._attend(visit)


@asynccontextmanager
async def scripted(attend: Callable[[Visit], Awaitable[None]]) -> AsyncIterator[Scripted]:
    """Run such a server."""
    script = Scripted(attend)
    async with serve(script, "127.0.0.1", 0, ping_interval=None, close_timeout=0.1, select_subprotocol=choose_subprotocol) as server:
        script.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield script


def stock(ticker: str, seq: int, price: float = 1.5) -> dict[str, Any]:
    """An entry of `stocks`."""
    return {"ticker": ticker, "price": price, "sma": None, "alert": None, "ts": AT, "seq": seq}


def alert(name: str, ticker: str = "AAPL", seq: int = 1) -> dict[str, Any]:
    """An entry of `alerts`."""
    return {"id": name, "ticker": ticker, "direction": "bullish", "price": 1.5, "sma": 1, "ts": AT, "seq": seq}
