"""Many clients in one process, written from docs/websocket.md alone: `python -m tests.e2e.swarm COUNT PORT …`.

Each takes the ports by turns: cut off, it comes back to the next one with the cursor it has, after the hint if it got one, and drops
alert ids it has seen. A line on standard input asks for what they have seen, which is one line of JSON on standard output.
"""

import asyncio
import json
import re
import sys
from collections import Counter
from contextlib import suppress
from functools import lru_cache
from random import random
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

AWAY_SECONDS = 0.3
HINT = re.compile(r"reconnect in (\d+(?:\.\d+)?) s$")

Message = dict[str, Any]


@lru_cache(maxsize=256)
def parse(text: str | bytes) -> Message:
    """Read a message, its numbers as text; most clients are sent the same one."""
    message: Message = json.loads(text, parse_float=str)
    return message


class Swimmer:
    """One client: what its messages add up to, and every promise that one of them broke."""

    def __init__(self, number: int, ports: list[int]) -> None:
        self._ports = ports[number % len(ports) :] + ports[: number % len(ports)]
        self.prices: dict[str, tuple[int, str]] = {}
        """Ticker to seq and price."""
        self.alerts: dict[str, str] = {}
        """Id to ticker and direction."""
        self.faults: list[str] = []
        self.answers: Counter[str] = Counter()
        """How often `since` was answered with `recovered` true or false, and connections were closed with which code."""
        self.is_connected = False
        self._cursor = ""
        self._alert_seqs: dict[str, int] = {}
        self._seen_here: set[str] = set()
        self._is_first = True

    async def swim(self) -> None:
        """Follow the stream for ever."""
        turn = 0
        while True:
            wait_seconds = AWAY_SECONDS * (0.5 + random())
            try:
                await self._follow(self._ports[turn % len(self._ports)])
            except ConnectionClosed as closed:
                self.answers[str(closed.rcvd.code) if closed.rcvd else "cut"] += 1
                hint = HINT.search(closed.rcvd.reason) if closed.rcvd else None
                wait_seconds = float(hint[1]) if hint else wait_seconds
            except (OSError, InvalidHandshake, TimeoutError):
                self.answers["unreachable"] += 1
            self.is_connected = False
            turn += 1
            await asyncio.sleep(wait_seconds)

    async def _follow(self, port: int) -> None:
        query = f"?since={self._cursor}" if self._cursor else ""
        async with connect(
            f"ws://127.0.0.1:{port}/ws/stocks/{query}", proxy=None, compression=None, open_timeout=60, ping_interval=None
        ) as websocket:
            self._is_first, self._seen_here = True, set()
            while True:
                message = parse(await websocket.recv())
                if message["type"] == "stock_update":
                    self._take(message, asked_since=bool(query))
                    self.is_connected = True

    def _take(self, message: Message, *, asked_since: bool) -> None:
        if self._is_first:
            self._check(message["snapshot"] is True, "the first message is no snapshot")
            self._check(("recovered" in message) == asked_since, "the first message does not answer since, or answers what was not asked")
            if asked_since:
                self.answers[f"recovered {message.get('recovered')}"] += 1
        if message.get("recovered") is False:
            self.prices.clear()
            self._alert_seqs.clear()
        for stock in message["stocks"]:
            self._take_stock(stock, is_snapshot=message["snapshot"])
        for alert in message["alerts"]:
            self._take_alert(alert)
        self._is_first = self._is_first and "more" in message
        self._cursor = message.get("cursor", self._cursor)

    def _take_stock(self, stock: Message, *, is_snapshot: bool) -> None:
        ticker, seq = stock["ticker"], stock["seq"]
        before = self.prices.get(ticker, (0, ""))[0]
        self._check(seq > before or (is_snapshot and seq == before), f"{ticker} went from seq {before} to {seq}")
        self.prices[ticker] = seq, str(stock["price"])

    def _take_alert(self, alert: Message) -> None:
        name, ticker, seq = alert["id"], alert["ticker"], alert["seq"]
        self._check(name not in self._seen_here, f"alert {name} came twice in one connection")
        self._seen_here.add(name)
        if name in self.alerts:
            return
        self._check(seq > self._alert_seqs.get(ticker, 0), f"alerts of {ticker} went back to seq {seq}")
        self._alert_seqs[ticker] = seq
        self.alerts[name] = f"{ticker} {alert['direction']} {alert['price']}"

    def _check(self, holds: bool, what: str) -> None:
        if not holds:
            self.faults.append(what)


def told(swimmers: list[Swimmer]) -> Message:
    """What all of them together have seen; what is the same for many is there once."""
    answers: Counter[str] = Counter()
    for swimmer in swimmers:
        answers += swimmer.answers
    return {
        "connected": sum(swimmer.is_connected for swimmer in swimmers),
        "answers": answers,
        "faults": [fault for swimmer in swimmers for fault in swimmer.faults][:20],
        "prices": distinct([swimmer.prices for swimmer in swimmers]),
        "alerts": distinct([swimmer.alerts for swimmer in swimmers]),
    }


def distinct(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The states that differ, three at most: more would not say more."""
    found: dict[frozenset[Any], dict[str, Any]] = {}
    for state in states:
        found.setdefault(frozenset(state.items()), state)
    return list(found.values())[:3]


async def main(count: int, ports: list[int]) -> None:
    """Run until standard input ends."""
    swimmers = [Swimmer(number, ports) for number in range(count)]
    swimming = [asyncio.create_task(swimmer.swim()) for swimmer in swimmers]
    while await asyncio.to_thread(sys.stdin.readline):
        for task in swimming:
            if task.done():
                task.result()
        print(json.dumps(told(swimmers)), flush=True)
    for task in swimming:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), [int(port) for port in sys.argv[2:]]))
