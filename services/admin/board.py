"""What a gateway's client knows: the latest price of every ticker, its last alert, how many updates came. Pure.

Text of numbers is kept as it came: prices are never floats.
"""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

RATE_SECONDS = 10.0


@dataclass(frozen=True)
class Price:
    """The latest price of a ticker, and where it moved."""

    ticker: str
    price: Decimal
    sma: Decimal | None
    at: datetime
    direction: int
    """1 up, -1 down, 0 not known: against the last different price."""


@dataclass(frozen=True)
class Alert:
    """A crossover."""

    ticker: str
    direction: str
    price: Decimal
    at: datetime


@dataclass
class Board:
    """State of the pipeline as its clients see it; fed with the gateway's messages."""

    prices: dict[str, Price] = field(default_factory=dict)
    alerts: dict[str, Alert] = field(default_factory=dict)
    last_alert: Alert | None = None
    updates: int = 0
    """Prices received since the start, snapshots not counted."""
    is_connected: bool = False
    is_stale: bool = False
    """Whether the gateway says that Redis is away."""
    _recent: deque[tuple[float, int]] = field(default_factory=deque)
    _in_snapshot: bool = False

    def on_message(self, text: str | bytes, now_seconds: float) -> None:
        """Take a message of the gateway; `now_seconds` is any steady clock."""
        message = json.loads(text, parse_float=Decimal, parse_int=Decimal)
        if message["type"] == "status":
            self.is_stale = message["stale"]
        elif message["type"] == "stock_update":
            self._on_update(message, now_seconds)

    def updates_per_second(self, now_seconds: float) -> float:
        """Over the last ten seconds."""
        while self._recent and self._recent[0][0] <= now_seconds - RATE_SECONDS:
            self._recent.popleft()
        return sum(count for _, count in self._recent) / RATE_SECONDS

    def _on_update(self, message: Mapping[str, Any], now_seconds: float) -> None:
        is_snapshot = bool(message.get("snapshot"))
        if is_snapshot and not self._in_snapshot and message.get("recovered") is not True:
            self._forget_others(message)
        # A snapshot may come in several parts, all but the last marked with `more`.
        self._in_snapshot = is_snapshot and bool(message.get("more"))
        for stock in message["stocks"]:
            self._on_stock(stock)
        for alert in message["alerts"]:
            self._on_alert(alert)
        if not is_snapshot and message["stocks"]:
            self.updates += len(message["stocks"])
            self._recent.append((now_seconds, len(message["stocks"])))

    def _forget_others(self, message: Mapping[str, Any]) -> None:
        """A snapshot replaces everything; what a single part holds too is kept, to see in which direction it moved."""
        named = {stock["ticker"] for stock in message["stocks"]}
        self.prices = {ticker: price for ticker, price in self.prices.items() if ticker in named}

    def _on_stock(self, stock: Mapping[str, Any]) -> None:
        ticker, price = stock["ticker"], stock["price"]
        before = self.prices.get(ticker)
        direction = before.direction if before else 0
        if before and price != before.price:
            direction = 1 if price > before.price else -1
        self.prices[ticker] = Price(ticker, price, stock["sma"], datetime.fromisoformat(stock["ts"]), direction)
        # A snapshot has no alerts of its own, but each entry says what it was.
        if stock["alert"] and ticker not in self.alerts:
            self.alerts[ticker] = Alert(ticker, stock["alert"], price, datetime.fromisoformat(stock["ts"]))

    def _on_alert(self, found: Mapping[str, Any]) -> None:
        alert = Alert(found["ticker"], found["direction"], found["price"], datetime.fromisoformat(found["ts"]))
        self.alerts[alert.ticker] = self.last_alert = alert


def text_of(number: Decimal | None) -> str:
    """The characters of a number, never with an exponent; empty for none."""
    return "" if number is None else f"{number:f}"


def age_text(at: datetime, now: datetime | None = None) -> str:
    """How long ago something was, in the largest unit that fits: `3 s`, `12 min`, `5 h`, `9 d`, `14 y`."""
    seconds = max(0.0, ((now or datetime.now(UTC)) - at).total_seconds())
    for unit, length in (("y", 365.25 * 86400), ("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def summary(board: Board, updates: int, seconds: float) -> str:
    """One line for who watches without a terminal: `updates` of the last `seconds`."""
    parts = [f"{len(board.prices)} tickers", f"{updates} updates in {seconds:.0f} s"]
    if board.last_alert:
        alert = board.last_alert
        parts.append(f"last alert {alert.ticker} {alert.direction} {text_of(alert.price)}")
    if not board.is_connected:
        parts.append("gateway away")
    elif board.is_stale:
        parts.append("Redis away")
    return ", ".join(parts)
