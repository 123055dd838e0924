"""The WebSocket protocol without I/O: a client's text becomes a command, events become the messages of the contract.

Prices and averages are the characters of the stream, never a float. A message is joined from texts that were encoded
once per ticker, and split at the contract's bounds.
"""

import re
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import parse_qs

import msgspec

from shared.events import Enriched, Market, is_ticker, iso

MOST_PER_MESSAGE = 1000
"""Stocks, and alerts, of one message: 9 000 alerts in one exceeded a default client's 1 MiB."""
NAMES_SHOWN = 5
MOST_CURSOR_CHARACTERS = 4096
"""The longest cursor we give, of 64 partitions, has 3 100."""

Subscription = frozenset[str]
ALL: Subscription = frozenset(("*",))
"""Every ticker, also those that are not known yet. No ticker is spelled like this."""

Parts = tuple[bytes, ...]
"""Messages that follow each other at once, each the UTF-8 text of one frame."""


class ErrorCode(StrEnum):
    """What an error message says went wrong."""

    BAD_JSON = "bad_json"
    BAD_ACTION = "bad_action"
    BAD_TICKER = "bad_ticker"
    NOT_SUPPORTED = "not_supported"


class Error(NamedTuple):
    """A command that was refused."""

    code: ErrorCode
    message: str


class Subscribe(NamedTuple):
    """Add these tickers; `malformed` are the names that were none."""

    tickers: Subscription
    malformed: tuple[str, ...]


class Unsubscribe(NamedTuple):
    """Remove these tickers; `malformed` are the names that were none."""

    tickers: Subscription
    malformed: tuple[str, ...]


class Ping(NamedTuple):
    """Ask for a cursor."""


class Opening(NamedTuple):
    """What the query of the URL asks for."""

    tickers: Subscription
    malformed: tuple[str, ...]
    since: str | None


class Position(NamedTuple):
    """Up to where a partition has been passed on: the label of its last event, and its seq."""

    incarnation: str
    seq: int


Command = Subscribe | Unsubscribe | Ping | Error
Cursor = tuple[Position, ...]

_to_json = msgspec.json.Encoder().encode
_decode_positions = msgspec.msgpack.Decoder(Cursor).decode
_is_label = re.compile(r"\d{1,17}-[0-9a-f]{8}", re.ASCII).fullmatch


def parse_command(text: str) -> Command:
    """Read a client's message; what cannot be done comes back as the `Error` to answer."""
    try:
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Error(ErrorCode.BAD_JSON, "the message is not JSON")
    if not isinstance(message, dict):
        return Error(ErrorCode.BAD_JSON, "the message is not a JSON object")
    match message.get("action"):
        case "ping":
            return Ping()
        case "subscribe":
            return _with_tickers(Subscribe, message)
        case "unsubscribe":
            return _with_tickers(Unsubscribe, message)
        case "auth":
            return Error(ErrorCode.NOT_SUPPORTED, "this gateway takes no token")
        case _:
            return Error(ErrorCode.BAD_ACTION, "action must be subscribe, unsubscribe, ping or auth")


def _with_tickers(command: type[Subscribe] | type[Unsubscribe], message: dict[str, object]) -> Command:
    names = message.get("tickers")
    if not isinstance(names, list):
        return Error(ErrorCode.BAD_TICKER, "tickers must be a list")
    return command(*_sort_out(names))


def _sort_out(names: Sequence[object]) -> tuple[Subscription, tuple[str, ...]]:
    """Split names into the set they ask for and those that are malformed."""
    texts = [name if isinstance(name, str) else _to_json(name).decode() for name in names]
    malformed = tuple(
        text for name, text in zip(names, texts, strict=True) if not isinstance(name, str) or not (text == "*" or is_ticker(text))
    )
    if "*" in names:
        return ALL, malformed
    return frozenset(texts) - frozenset(malformed), malformed


def parse_query(query: str) -> Opening:
    """Read the part of the URL behind the question mark; parameters it does not know are ignored."""
    fields = parse_qs(query, keep_blank_values=True)
    names = [name.strip() for value in fields.get("tickers", ()) for name in value.split(",")]
    names = [name for name in names if name]
    tickers, malformed = _sort_out(names) if names else (ALL, ())
    return Opening(tickers, malformed, fields["since"][-1] if "since" in fields else None)


def add(held: Subscription, more: Subscription) -> Subscription:
    """The subscription after `subscribe`."""
    return ALL if ALL in (held, more) else held | more


def remove(held: Subscription, names: Subscription) -> Subscription | Error:
    """The subscription after `unsubscribe`."""
    if names == ALL:
        return frozenset()
    if held == ALL and names:
        return Error(ErrorCode.NOT_SUPPORTED, "single tickers cannot be taken out of *; unsubscribe * first")
    return held - names


def bad_tickers(malformed: Sequence[str]) -> Error:
    """The error for names that are no tickers."""
    shown = ", ".join(repr(name[:40]) for name in malformed[:NAMES_SHOWN])
    more = f" and {len(malformed) - NAMES_SHOWN} more" if len(malformed) > NAMES_SHOWN else ""
    return Error(ErrorCode.BAD_TICKER, f"not a ticker: {shown}{more}")


def encode_stock(event: Enriched) -> str:
    """The entry of a ticker in `stocks`."""
    alert = f'"{event.alert}"' if event.alert else "null"
    return (
        f'{{"ticker":"{event.ticker}","price":{event.price},"sma":{event.sma or "null"},"alert":{alert},'
        f'"ts":"{iso(event.ts)}","seq":{event.seq}}}'
    )


def encode_alert(event: Enriched, incarnation: str, partition: int) -> str:
    """The entry of an alert in `alerts`; its id is the same on every gateway and in every table."""
    return (
        f'{{"id":"{incarnation}.{partition}.{event.seq}","ticker":"{event.ticker}","direction":"{event.alert}",'
        f'"price":{event.price},"sma":{event.sma or "null"},"ts":"{iso(event.ts)}","seq":{event.seq}}}'
    )


def encode_cursor(positions: Iterable[Position]) -> str:
    """The opaque, URL-safe text of a position in every partition, in the order of the partitions."""
    return urlsafe_b64encode(msgspec.msgpack.encode(list(positions))).rstrip(b"=").decode()


def decode_cursor(text: str) -> Cursor | None:
    """The positions that `encode_cursor` put into a text; None for any other text, whoever made it up."""
    if len(text) > MOST_CURSOR_CHARACTERS:
        return None
    try:
        cursor = _decode_positions(b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True))
    except (ValueError, RecursionError):  # of both decoders; msgspec's are kinds of it
        return None
    return cursor if all(_is_label(position.incarnation) and position.seq >= 0 for position in cursor) else None


def encode_update(
    now_ms: int,
    cursor: str,
    stocks: Sequence[str],
    alerts: Sequence[str] = (),
    *,
    is_snapshot: bool = False,
    is_recovered: bool | None = None,
    reason: str | None = None,
    skipped: int = 0,
) -> Parts:
    """A `stock_update` of already encoded entries, in as many parts as the bounds ask for.

    All but the last say `more` and carry no cursor: whoever resumes from one must have had all of it.
    """
    kind = f'"snapshot":{_boolean(is_snapshot)}'
    kind += f',"recovered":{_boolean(is_recovered)}' if is_recovered is not None else ""
    kind += f',"reason":"{reason}"' if reason else ""
    start = f'{{"type":"stock_update","timestamp":"{iso(now_ms)}"'
    last = max(len(stocks) - 1, len(alerts) - 1, 0) // MOST_PER_MESSAGE
    parts = []
    for number in range(last + 1):
        chunk = slice(number * MOST_PER_MESSAGE, (number + 1) * MOST_PER_MESSAGE)
        place = f'"cursor":"{cursor}"' if number == last else '"more":true'
        counted = f',"skipped":{skipped}' if skipped and number == last else ""
        lists = f'"stocks":[{",".join(stocks[chunk])}],"alerts":[{",".join(alerts[chunk])}]'
        parts.append(f"{start},{place},{kind},{lists}{counted}}}".encode())
    return tuple(parts)


def encode_pong(cursor: str) -> bytes:
    """The answer to `ping`."""
    return f'{{"type":"pong","cursor":"{cursor}"}}'.encode()


def encode_subscribed(held: Subscription) -> bytes:
    """The answer to `subscribe` and `unsubscribe`: the whole set."""
    return b'{"type":"subscribed","tickers":%b}' % _to_json(sorted(held))


def encode_error(error: Error) -> bytes:
    """The answer to what was refused."""
    return _to_json({"type": "error", "code": str(error.code), "message": error.message})


def encode_status(is_stale: bool, since_ms: int) -> bytes:
    """Whether prices may be out of date because Redis is away, and since when."""
    return f'{{"type":"status","stale":{_boolean(is_stale)},"since":"{iso(since_ms)}"}}'.encode()


def encode_market(market: Market) -> bytes:
    """Whether the exchange trades, and why."""
    return _to_json(
        {
            "type": "market_status",
            "exchange": market.exchange,
            "status": market.status,
            "reason": market.reason,
            "next_open": _time(market.next_open),
            "next_close": _time(market.next_close),
            "ts": _time(market.ts),
        }
    )


def _time(ms: str) -> str | None:
    return iso(ms) if ms else None


def _boolean(value: bool) -> str:
    return "true" if value else "false"
