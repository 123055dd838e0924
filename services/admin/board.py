"""What a gateway's client knows: the latest price of every ticker, its last alert, the market, and what is away. Pure.

Text of numbers is kept as it came: prices are never floats.
"""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from shared.events import is_ticker

RATE_SECONDS = 10.0
RECENT_ALERTS = 1000
"""As many as one message may bring."""

POLLED_SECONDS = 60.0
"""What is usual between two prices of a ticker before any were seen: the default cycle of a polled source."""
LATE_AFTER = 3.0
"""A price is late when it is this many times older than usual."""
NEVER_LATE_SECONDS = 10.0
"""A pause this short tells nothing, whatever the rate was."""


class NotAMessage(Exception):
    """A text that no gateway of this contract sends."""


@dataclass(frozen=True)
class Price:
    """The latest price of a ticker, and where it moved."""

    ticker: str
    price: Decimal
    sma: Decimal | None
    at: datetime
    direction: int
    """1 up, -1 down, 0 not known: against the last different price."""
    gaps_seconds: tuple[float, ...] = ()
    """Event time between this price and the one before it, and between those before, as far as they were seen."""


@dataclass(frozen=True)
class Alert:
    """A crossover."""

    ticker: str
    direction: str
    price: Decimal
    at: datetime
    sma: Decimal | None = None


@dataclass(frozen=True)
class Market:
    """The exchange, as `market_status` tells of it."""

    exchange: str
    status: str
    """`open`, `pre`, `post` or `closed`."""
    reason: str
    """Why so; the source's name for a source without an exchange."""
    next_open: datetime | None = None
    next_close: datetime | None = None


@dataclass
class Board:
    """State of the pipeline as its clients see it; fed with the gateway's messages."""

    prices: dict[str, Price] = field(default_factory=dict)
    alerts: dict[str, Alert] = field(default_factory=dict)
    last_alert: Alert | None = None
    market: Market | None = None
    updates: int = 0
    """Prices received since the start, snapshots not counted."""
    alerted: int = 0
    """Alerts received since the start, each counted once."""
    recent_alerts: deque[Alert] = field(default_factory=lambda: deque(maxlen=RECENT_ALERTS))
    """The newest of them, in their order."""
    is_connected: bool = False
    """Whether the gateway has sent something on the connection that is open."""
    away_because: str = ""
    """Why there is no connection; empty before the first try has failed."""
    stale_since: datetime | None = None
    """Since when Redis is away, as the gateway says."""
    complaint: str = ""
    """What the gateway answered last to something it refused."""
    is_answered: bool = False
    """Whether our ping was answered: the first message, and what goes with it, has come."""
    cursor: str = ""
    """Up to where this board is complete."""
    _recent: deque[tuple[float, int]] = field(default_factory=deque)
    _in_snapshot: bool = False
    _ids_beyond_cursor: set[str] = field(default_factory=set)

    @property
    def is_stale(self) -> bool:
        """Whether the gateway says that Redis is away."""
        return self.stale_since is not None

    def on_connect(self) -> None:
        """A connection was opened: what an earlier one left unfinished does not count."""
        self._in_snapshot = self.is_answered = False
        self.stale_since = None
        self.complaint = ""

    def on_parting(self, reason: str) -> None:
        """The connection is gone, or could not be opened."""
        self.is_connected = False
        self.away_because = reason

    def on_message(self, text: str | bytes, now_seconds: float) -> None:
        """Take a message of the gateway; `now_seconds` is any steady clock. Raise `NotAMessage` for what cannot be one."""
        try:
            self._take(json.loads(text, parse_float=Decimal, parse_int=Decimal), now_seconds)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise NotAMessage(str(error)) from error
        self.is_connected = True

    def _take(self, message: Mapping[str, Any], now_seconds: float) -> None:
        match message["type"]:
            case "stock_update":
                self._on_update(message, now_seconds)
            case "status":
                self.stale_since = datetime.fromisoformat(message["since"]) if message["stale"] else None
            case "market_status":
                self.market = _market_of(message)
            case "error":
                self.complaint = printable(message["message"])
            case "pong":
                self.is_answered = True

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
        if "cursor" in message:
            self.cursor = message["cursor"]
            self._ids_beyond_cursor.clear()

    def _forget_others(self, message: Mapping[str, Any]) -> None:
        """A snapshot replaces everything; what a single part holds too is kept, to see in which direction it moved."""
        named = {stock["ticker"] for stock in message["stocks"]}
        self.prices = {ticker: price for ticker, price in self.prices.items() if ticker in named}

    def _on_stock(self, stock: Mapping[str, Any]) -> None:
        ticker, price, at = _checked_ticker(stock["ticker"]), stock["price"], datetime.fromisoformat(stock["ts"])
        before = self.prices.get(ticker)
        direction = before.direction if before else 0
        if before and price != before.price:
            direction = 1 if price > before.price else -1
        self.prices[ticker] = Price(ticker, price, stock["sma"], at, direction, _gaps(before, at))
        # A snapshot has no alerts of its own, but each entry says what it was.
        if stock["alert"] and ticker not in self.alerts:
            self.alerts[ticker] = Alert(ticker, stock["alert"], price, at, stock["sma"])

    def _on_alert(self, found: Mapping[str, Any]) -> None:
        # What came beyond the cursor that we resume from comes again.
        if found["id"] in self._ids_beyond_cursor:
            return
        self._ids_beyond_cursor.add(found["id"])
        at = datetime.fromisoformat(found["ts"])
        alert = Alert(_checked_ticker(found["ticker"]), found["direction"], found["price"], at, found["sma"])
        self.alerts[alert.ticker] = self.last_alert = alert
        self.recent_alerts.append(alert)
        self.alerted += 1


def _gaps(before: Price | None, at: datetime) -> tuple[float, ...]:
    """The last two: one may be a night or an outage, which is not usual."""
    if before is None:
        return ()
    return ((at - before.at).total_seconds(), *before.gaps_seconds)[:2] if at > before.at else before.gaps_seconds


def _checked_ticker(ticker: str) -> str:
    if not is_ticker(ticker):
        raise ValueError(f"{ticker!r} is not a ticker")
    return ticker


def _market_of(message: Mapping[str, Any]) -> Market:
    """Fields that a gateway leaves out are empty."""
    exchange, status, reason = (printable(message.get(name) or "") for name in ("exchange", "status", "reason"))
    opens, closes = (datetime.fromisoformat(message[name]) if message.get(name) else None for name in ("next_open", "next_close"))
    return Market(exchange, status, reason, opens, closes)


def printable(text: str) -> str:
    """A stranger's text as a terminal may be given it: without the characters that would steer it."""
    return "".join(character if character.isprintable() else "·" for character in text)


def is_late(price: Price, market: Market | None, now: datetime) -> bool:
    """Whether a price is older than it should be: not while the exchange is closed, and never for the event times of a replay."""
    if market and (market.status != "open" or market.reason == "replay"):
        return False
    usual_seconds = min(price.gaps_seconds, default=POLLED_SECONDS)
    return (now - price.at).total_seconds() > max(LATE_AFTER * usual_seconds, NEVER_LATE_SECONDS)


def text_of(number: Decimal | None) -> str:
    """The characters of a number, never with an exponent; empty for none."""
    return "" if number is None else f"{number:f}"


def age_text(at: datetime, now: datetime | None = None) -> str:
    """How long ago something was, in the largest unit that fits: `3 s`, `12 min`, `5 h`, `9 d`, `14 y`."""
    return _span((now or datetime.now(UTC)) - at)


def _span(length: timedelta) -> str:
    seconds = max(0.0, length.total_seconds())
    for unit, unit_seconds in (("y", 365.25 * 86400), ("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= unit_seconds:
            return f"{int(seconds // unit_seconds)} {unit}"
    return f"{int(seconds)} s"


def market_text(market: Market, now: datetime) -> str:
    """The exchange in words: `XNYS closed (weekend), opens Mon 14:30 UTC, in 1 d`."""
    text = f"{market.exchange or 'market'} {market.status}"
    text += f" ({market.reason})" if market.reason not in ("", market.status) else ""
    verb, at = ("closes", market.next_close) if market.status == "open" else ("opens", market.next_open)
    return f"{text}, {verb} {at.astimezone(UTC):%a %H:%M} UTC, in {_span(at - now)}" if at else text


def trouble(board: Board) -> str:
    """What keeps prices away, with its reason; empty if nothing does. The same text as long as it is the same trouble."""
    if not board.is_connected:
        return f"gateway away: {board.away_because}" if board.away_because else "connecting …"
    if board.stale_since:
        return f"Redis away since {board.stale_since.astimezone(UTC):%H:%M:%S} UTC"
    return f"the gateway refuses: {board.complaint}" if board.complaint else ""


def alert_text(alert: Alert) -> str:
    """An alert as a line: `2026-02-14 21:37:20.110 MSFT bullish 401.32, SMA 399.8`."""
    average = f", SMA {text_of(alert.sma)}" if alert.sma is not None else ""
    at = alert.at.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "milliseconds")
    return f"{at} {alert.ticker} {alert.direction} {text_of(alert.price)}{average}"


def summary(board: Board, updates: int, seconds: float) -> str:
    """One line for who watches without a terminal: `updates` of the last `seconds`."""
    parts = [f"{len(board.prices)} tickers", f"{updates} updates in {seconds:.0f} s"]
    if board.last_alert:
        alert = board.last_alert
        parts.append(f"last alert {alert.ticker} {alert.direction} {text_of(alert.price)}")
    return ", ".join([*parts, *filter(None, [trouble(board)])])
