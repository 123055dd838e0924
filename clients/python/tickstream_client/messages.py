"""What a gateway sends, as values. Fields and types of messages that are not known here are passed over: the contract only adds.

Prices and averages are decimals with the characters of the message; times have their zone.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from tickstream_client.address import is_ticker

Fields = Mapping[str, Any]


class NotAMessage(ValueError):
    """A text that no gateway sends."""


@dataclass(frozen=True, slots=True)
class Stock:
    """The latest price of a ticker."""

    ticker: str
    price: Decimal
    sma: Decimal | None
    """Its moving average; None until there are enough prices."""
    alert: str | None
    """Whether this very price was an alert (`bullish`, `bearish`); comes again with snapshots: notify from `Update.alerts` only."""
    ts: datetime
    """When it was the price."""
    seq: int
    """Rises per ticker until a gap."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A crossover of price and average."""

    id: str
    """The same on every gateway and in the table of alerts."""
    ticker: str
    direction: str
    """`bullish` or `bearish`."""
    price: Decimal
    sma: Decimal | None
    ts: datetime
    seq: int


@dataclass(frozen=True, slots=True)
class Update:
    """What changed. May be empty: then only the cursor is newer (a quiet gateway sends one a minute)."""

    stocks: tuple[Stock, ...]
    """Each ticker once, its latest price."""
    alerts: tuple[Alert, ...]
    """Every alert of a subscribed ticker since the update before."""
    timestamp: datetime
    """When the gateway sent it."""
    cursor: str
    """Resumes after this update, once stored: today, or another day within the gateway's window."""
    is_snapshot: bool
    """Whether these are the latest prices of tickers that may not have changed: after connecting, and of tickers added."""
    is_replaced: bool
    """Whether these stocks are all there is: forget those of updates before."""
    skipped: int
    """Updates of single tickers that newer ones replaced because this loop was slow."""


def joined(earlier: Update, later: Update) -> Update:
    """Two updates that are no snapshots as one: the newest price of each ticker, and all alerts."""
    stocks = {stock.ticker: stock for stock in (*earlier.stocks, *later.stocks)}
    skipped = earlier.skipped + later.skipped + len(earlier.stocks) + len(later.stocks) - len(stocks)
    return replace(later, stocks=tuple(stocks.values()), alerts=earlier.alerts + later.alerts, skipped=skipped)


@dataclass(frozen=True, slots=True)
class Gap:
    """Alerts may have been missed. The update that follows has `is_replaced`."""

    reason: str
    """`resume`: the gateway cannot tell what happened since the cursor (too old, or of data that Redis lost); `rewind` or `reset`:
    Redis lost entries while we were connected; `gap`: entries were deleted before the gateway read them."""
    cursor: str
    """The one after which something may be missing."""
    since: datetime | None
    """When the last update before was sent; None if there was none, as when a stored cursor could not be resumed."""
    until: datetime
    """When the update that follows was sent. Alerts between the two can be asked for: `GET /api/alerts?start=&end=`."""


@dataclass(frozen=True, slots=True)
class Market:
    """The exchange."""

    exchange: str
    status: str
    """`open`, `pre`, `post` or `closed`."""
    reason: str
    """Why so; the source's name for a source without an exchange."""
    next_open: datetime | None = None
    next_close: datetime | None = None
    ts: datetime | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """How the subscription stands."""

    is_connected: bool = False
    """Whether a gateway has sent something on the connection that is open."""
    reason: str = ""
    """Why there is no connection; empty before the first try has failed."""
    stale_since: datetime | None = None
    """Since when the gateway hears nothing of its Redis: prices are as old as that. None: all is well."""
    complaint: str = ""
    """What the gateway answered last to something it refused, such as a ticker that the token does not allow."""


@dataclass(frozen=True, slots=True)
class Part:
    """A `stock_update`, or one of several that make an update."""

    stocks: tuple[Stock, ...]
    alerts: tuple[Alert, ...]
    timestamp: datetime
    cursor: str
    """Empty if more parts follow."""
    is_snapshot: bool
    is_recovered: bool | None
    """Whether everything since a cursor is here; None if it is not about a cursor."""
    reason: str
    skipped: int
    has_more: bool


@dataclass(frozen=True, slots=True)
class Staleness:
    """A `status`."""

    since: datetime | None


@dataclass(frozen=True, slots=True)
class Pong:
    """Everything up to the cursor has been sent."""

    cursor: str


@dataclass(frozen=True, slots=True)
class Complaint:
    """An `error`: what the gateway refused."""

    code: str
    message: str


Message = Part | Staleness | Market | Pong | Complaint


def parse(text: str | bytes) -> Message | None:
    """Read the text of a frame; None for a type that is not known here. Raise `NotAMessage` for what no gateway sends."""
    if isinstance(text, bytes):
        raise NotAMessage("binary")
    try:
        fields = json.loads(text, parse_float=Decimal)
        return _READERS.get(fields["type"], _ignore)(fields)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise NotAMessage(type(error).__name__) from None


def _read_part(fields: Fields) -> Part:
    return Part(
        tuple(map(_read_stock, fields["stocks"])), tuple(map(_read_alert, fields["alerts"])),
        datetime.fromisoformat(fields["timestamp"]), fields.get("cursor", ""), bool(fields.get("snapshot")),
        fields.get("recovered"), fields.get("reason", ""), int(fields.get("skipped", 0)), bool(fields.get("more")),
    )  # fmt: skip


def _read_stock(entry: Fields) -> Stock:
    ts, alert = datetime.fromisoformat(entry["ts"]), entry["alert"]
    return Stock(_ticker(entry["ticker"]), Decimal(entry["price"]), _number(entry["sma"]), alert, ts, int(entry["seq"]))


def _read_alert(entry: Fields) -> Alert:
    ts, price = datetime.fromisoformat(entry["ts"]), Decimal(entry["price"])
    return Alert(entry["id"], _ticker(entry["ticker"]), entry["direction"], price, _number(entry["sma"]), ts, int(entry["seq"]))


def _read_market(fields: Fields) -> Market:
    exchange, status, reason = (str(fields.get(name) or "") for name in ("exchange", "status", "reason"))
    next_open, next_close, ts = (_time(fields.get(name)) for name in ("next_open", "next_close", "ts"))
    return Market(exchange, status, reason, next_open, next_close, ts)


def _read_status(fields: Fields) -> Staleness:
    return Staleness(datetime.fromisoformat(fields["since"]) if fields["stale"] else None)


def _read_pong(fields: Fields) -> Pong:
    return Pong(str(fields["cursor"]))


def _read_error(fields: Fields) -> Complaint:
    return Complaint(str(fields["code"]), str(fields["message"]))


def _ignore(_fields: Fields) -> None:
    return None


_READERS: Mapping[str, Callable[[Fields], Message | None]] = {
    "stock_update": _read_part,
    "market_status": _read_market,
    "status": _read_status,
    "pong": _read_pong,
    "error": _read_error,
}


def _ticker(name: str) -> str:
    if not is_ticker(name):
        raise ValueError("not a ticker")
    return name


def _number(number: int | Decimal | None) -> Decimal | None:
    return None if number is None else Decimal(number)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
