"""A WebSocket client written from the contract alone: it knows nothing of the gateway's code.

It comes back after a cut with the cursor it has, drops alert ids it has seen, replaces everything at `recovered:false`, and
fails when a message breaks a promise. Numbers stay the characters of the message.
"""

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.contract.judging import judge_message

PATIENCE_SECONDS = 20.0
AWAY_SECONDS = 0.05
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00")
NUMBER = re.compile(r"(0|[1-9]\d{0,11})(\.\d{0,7}[1-9])?")

Message = dict[str, Any]


def parse(text: str | bytes) -> Message:
    """Read a message; its numbers as text."""
    assert isinstance(text, str), "only text frames are sent"
    judge_message(text)
    message: Message = json.loads(text, parse_float=str, parse_int=str)
    return message


async def first_message(port: int, query: str = "") -> Message:
    """The first message that a client gets."""
    async with connect(f"ws://127.0.0.1:{port}/ws/stocks/{query}", proxy=None) as websocket, asyncio.timeout(PATIENCE_SECONDS):
        return parse(await websocket.recv())


class Book:
    """What messages add up to, and the promises about them."""

    def __init__(self) -> None:
        self.stocks: dict[str, Message] = {}
        """Ticker to its newest entry."""
        self.alerts: dict[str, Message] = {}
        """Id to alert, in the order they came."""
        self.cursor = ""
        self.stale: list[bool] = []
        """What `status` messages said."""
        self.market: Message = {}
        """The newest `market_status`."""
        self.losses: list[str] = []
        """Reasons of losses upstream."""
        self.excused: list[tuple[str, int, int]] = []
        """Ticker, and the seqs above the first up to the second: what a message with `recovered:false` said may have been missed."""
        self._lost: dict[str, Message] = {}
        self._ids_of_connection: set[str] = set()
        self._alert_seqs: dict[str, int] = {}
        self._is_first = True
        self._asked_since = False

    def begin(self, *, asked_since: bool) -> None:
        """A new connection, which named a cursor or not."""
        self._is_first, self._asked_since = True, asked_since
        self._ids_of_connection = set()

    def take(self, message: Message) -> None:
        """Take in a message of any type; fail if it breaks a promise."""
        match message["type"]:
            case "stock_update":
                self._update(message)
            case "status":
                self.stale.append(message["stale"])
                assert TIME.fullmatch(message["since"])
            case "pong":
                self.cursor = message["cursor"]
            case "market_status":
                assert not self._is_first, "the snapshot comes first"
                self.market = message
            case "subscribed":
                pass
            case "error":
                assert message["code"] in ("bad_json", "bad_action", "bad_ticker", "not_supported", "too_many_tickers", "unauthorized")
            case other:
                raise AssertionError(f"unknown type {other!r}")

    def _update(self, message: Message) -> None:
        assert TIME.fullmatch(message["timestamp"])
        assert ("cursor" in message) != message.get("more", False), "all parts but the last are without cursor"
        assert len(message["stocks"]) <= 1000
        assert len(message["alerts"]) <= 1000
        if self._is_first:
            assert message["snapshot"] is True
            assert ("recovered" in message) == self._asked_since
            assert not message["alerts"] or message["recovered"]
        if message.get("recovered", self._asked_since or not self._is_first) is False:
            self._forget(message)
        for stock in message["stocks"]:
            self._stock(stock, is_snapshot=message["snapshot"])
        for alert in message["alerts"]:
            self._alert(alert)
        self._is_first = self._is_first and "more" in message
        self.cursor = message.get("cursor", self.cursor)

    def _forget(self, message: Message) -> None:
        """Everything is replaced, or new; alerts up to what comes in its place may have been missed."""
        self._lost |= self.stocks
        for stock in message["stocks"]:
            known = self._lost.pop(stock["ticker"], None)
            self.excused.append((stock["ticker"], int(known["seq"]) if known else 0, int(stock["seq"])))
        self.stocks.clear()
        self._alert_seqs.clear()
        self.losses += [message["reason"]] if "reason" in message else []

    def is_excused(self, ticker: str, seq: int) -> bool:
        """Whether an alert may be missing."""
        return any(ticker == name and above < seq <= upto for name, above, upto in self.excused)

    def _stock(self, stock: Message, *, is_snapshot: bool) -> None:
        assert list(stock) == ["ticker", "price", "sma", "alert", "ts", "seq"]
        assert NUMBER.fullmatch(stock["price"])
        assert stock["sma"] is None or NUMBER.fullmatch(stock["sma"])
        assert TIME.fullmatch(stock["ts"])
        ticker, seq = stock["ticker"], int(stock["seq"])
        before = int(self.stocks[ticker]["seq"]) if ticker in self.stocks else 0
        assert seq > before or (is_snapshot and seq == before), f"{ticker} went from seq {before} to {seq}"
        self.stocks[ticker] = stock

    def _alert(self, alert: Message) -> None:
        assert list(alert) == ["id", "ticker", "direction", "price", "sma", "ts", "seq"]
        name, ticker, seq = alert["id"], alert["ticker"], int(alert["seq"])
        assert name not in self._ids_of_connection, f"alert {name} came twice in one connection"
        self._ids_of_connection.add(name)
        if name in self.alerts:  # the cursor of the message that brought it first was cut off
            assert alert == self.alerts[name]
            return
        assert seq > self._alert_seqs.get(ticker, 0), f"alerts of {ticker} went back to seq {seq}"
        self._alert_seqs[ticker] = seq
        self.alerts[name] = alert


class Viewer:
    """`async with Viewer(port)`: connected, with the first message taken in; `book` is what it has seen."""

    def __init__(self, port: int, query: str = "") -> None:
        self.book = Book()
        self.connections = 0
        self._url = f"ws://127.0.0.1:{port}/ws/stocks/{query}"
        self._changed = asyncio.Event()
        self._watching: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch_for_ever())
        await self.until(lambda book: book.cursor != "", "the first message")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._watching.cancel()
        with suppress(asyncio.CancelledError):
            await self._watching

    async def until(self, condition: Callable[[Book], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until what was seen fulfils a condition."""
        try:
            async with asyncio.timeout(seconds):
                while not condition(self.book):
                    await self._wait_for_change()
        except TimeoutError:
            raise AssertionError(f"the viewer did not see within {seconds:g} s: {what}") from None

    async def until_connected(self, times: int) -> None:
        """Wait until it has been given a first message so many times."""
        await self.until(lambda _: self.connections >= times, f"connection {times}")

    async def _wait_for_change(self) -> None:
        self._changed.clear()
        changed = asyncio.create_task(self._changed.wait())
        await asyncio.wait({changed, self._watching}, return_when=asyncio.FIRST_COMPLETED)
        changed.cancel()
        if self._watching.done():
            self._watching.result()

    async def _watch_for_ever(self) -> None:
        while True:
            with suppress(OSError, ConnectionClosed, InvalidHandshake):
                await self._watch()
            await asyncio.sleep(AWAY_SECONDS)

    async def _watch(self) -> None:
        cursor = self.book.cursor
        separator = "&" if "?" in self._url else "?"
        url = f"{self._url}{separator}since={cursor}" if cursor else self._url
        async with connect(url, proxy=None) as websocket:
            self.book.begin(asked_since=bool(cursor))
            self.book.take(parse(await websocket.recv()))
            self.connections += 1
            self._changed.set()
            async for text in websocket:
                self.book.take(parse(text))
                self._changed.set()


class Talker:
    """`async with Talker(port, query)`: a client in whose name the test sends and receives each message itself."""

    def __init__(self, port: int, query: str = "", path: str = "/ws/stocks/") -> None:
        self.book = Book()
        self.websocket: ClientConnection
        self._url = f"ws://127.0.0.1:{port}{path}{query}"

    async def __aenter__(self) -> Self:
        self.websocket = await connect(self._url, proxy=None)
        self.book.begin(asked_since="since=" in self._url)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.websocket.close()

    async def send(self, **command: object) -> None:
        """Send a command."""
        await self.websocket.send(json.dumps(command))

    async def receive(self) -> Message:
        """The next message."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            message = parse(await self.websocket.recv())
        self.book.take(message)
        return message

    async def receive_type(self, kind: str) -> Message:
        """The next message of a type; those before it are taken in."""
        while (message := await self.receive())["type"] != kind:
            pass
        return message

    async def close_code(self) -> int | None:
        """Receive until the gateway closes; return its code."""
        with suppress(ConnectionClosed):
            while True:
                await self.receive()
        return self.websocket.close_code
