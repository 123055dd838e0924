"""A client as the contract tells to write one, that knows nothing of the gateway's code."""

import asyncio
import json
import socket
from decimal import Decimal
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close

from tests.contract.judging import judge_message

PATIENCE_SECONDS = 10


class Client:
    """`async with Client(port, query)`; `receive` gives messages, `prices` what they add up to."""

    def __init__(
        self,
        port: int,
        query: str = "",
        path: str = "/ws/stocks/",
        socket: socket.socket | None = None,
        compression: str | None = "deflate",
    ) -> None:
        self.url = f"ws://127.0.0.1:{port}{path}{query}"
        self._socket = socket
        self._compression = compression
        self.prices: dict[str, tuple[int, Decimal]] = {}
        self.alert_ids: list[str] = []
        self.websocket: ClientConnection

    async def __aenter__(self) -> "Client":
        self.websocket = await connect(self.url, proxy=None, ping_interval=None, sock=self._socket, compression=self._compression)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.websocket.close()

    async def receive(self) -> dict[str, Any]:
        """The next message, whatever it is."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            text = await self.websocket.recv()
        assert isinstance(text, str)
        judge_message(text)
        message: dict[str, Any] = json.loads(text, parse_float=Decimal)
        if message["type"] == "stock_update":
            self._take(message)
        return message

    async def receive_type(self, kind: str) -> dict[str, Any]:
        """The next message of a type; others before it are taken in."""
        while (message := await self.receive())["type"] != kind:
            pass
        return message

    async def receive_loss(self) -> dict[str, Any]:
        """The next message that says to forget everything."""
        while (message := await self.receive()).get("recovered") is not False:
            pass
        return message

    async def send(self, **command: object) -> None:
        """Send a command."""
        await self.websocket.send(json.dumps(command))

    async def until_seen(self, ticker: str, seq: int) -> None:
        """Receive until a ticker's seq is there."""
        while self.prices.get(ticker, (0, Decimal(0)))[0] < seq:
            await self.receive()

    async def read_to_the_end(self) -> Close | None:
        """Read until the connection is closed; return the close frame, None if there was none."""
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    await self.receive()
        return closed.value.rcvd

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("recovered") is False:
            self.prices.clear()
        for stock in message["stocks"]:
            ticker, seq = stock["ticker"], stock["seq"]
            assert seq > self.prices.get(ticker, (0,))[0] or message["snapshot"], f"{ticker} went back to {seq}"
            self.prices[ticker] = seq, Decimal(stock["price"])
        self.alert_ids += [alert["id"] for alert in message["alerts"] if alert["id"] not in self.alert_ids]
