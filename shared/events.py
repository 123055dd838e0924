"""The events on the streams, their field order and the exact text of their values.

Prices stay text from the provider to PostgreSQL; only who computes with them makes a `Decimal`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import NamedTuple

from shared.errors import InvalidEntry

TICKER = r"[A-Z0-9][A-Z0-9.:\-]{0,31}"
PRICE = r"(?:0|[1-9]\d{0,11})(?:\.\d{0,7}[1-9])?"
"""Canonical decimal text: at most twelve digits before the point and eight after it, no trailing zeros."""

SEQ = r"[1-9]\d{0,15}"
_TIME_MS = r"(?:0|[1-9]\d{0,13})"
"""Without leading zeros: JSON has no such numbers, and `latest:{p}` holds these characters."""
_SOURCE = r"[a-z][a-z0-9\-]{0,31}"
_ENTRY_ID = r"\d{1,20}-\d{1,20}"
_POSITIVE_PRICE = rf"(?=[\d.]*[1-9]){PRICE}"

_SMA = rf"(?:{PRICE}|1000000000000)?"
"""The average of prices just below 10^12 may round up to it."""

_PLAIN = re.ASCII
_ticker = re.compile(TICKER, _PLAIN).fullmatch

_COMMON = {"seq": SEQ, "ticker": TICKER, "price": _POSITIVE_PRICE, "ts": _TIME_MS, "source": _SOURCE}
TICK_PATTERNS = {**_COMMON, "volume": rf"(?:{PRICE})?", "quote_ts": rf"(?:{_TIME_MS})?", "shed": r"\d{0,15}"}
ENRICHED_PATTERNS = {**_COMMON, "tick_id": _ENTRY_ID, "sma": _SMA, "alert": r"(?:bullish|bearish)?"}


def _whole_entry(patterns: Mapping[str, str]) -> Callable[[str], re.Match[str] | None]:
    """Match all names and values of an entry, tab between them, at once: an eighth of the cost of eight matches."""
    return re.compile("\t".join(f"{name}\t{pattern}" for name, pattern in patterns.items()), _PLAIN).fullmatch


_tick = _whole_entry(TICK_PATTERNS)
_enriched = _whole_entry(ENRICHED_PATTERNS)
# A tab within a stranger's name or value would be taken for the one between two: such an entry has fewer items.
_TICK_ITEMS = 2 * len(TICK_PATTERNS)
_ENRICHED_ITEMS = 2 * len(ENRICHED_PATTERNS)

MARKET_PATTERNS = {
    "exchange": r"[A-Z0-9]{1,12}",
    "status": r"open|pre|post|closed",
    "reason": r"[ -~]{0,100}",
    "next_open": rf"(?:{_TIME_MS})?",
    "next_close": rf"(?:{_TIME_MS})?",
    "ts": _TIME_MS,
}

BIGGEST_PRICE = Decimal(10) ** 12
MOST_DECIMALS = 8


class Tick(NamedTuple):
    """One entry of `ticks:{p}`. Times are epoch milliseconds UTC as text; empty text is no value."""

    seq: str
    ticker: str
    price: str
    ts: str
    source: str
    volume: str = ""
    quote_ts: str = ""
    shed: str = ""


TickValues = tuple[str, str, str, str, str, str, str]
"""A tick as `append` takes it: ticker, price, ts, source, volume, quote_ts, shed."""


class Enriched(NamedTuple):
    """One entry of `enriched:{p}`: a tick with its average (empty until warm) and its alert (mostly empty)."""

    seq: str
    ticker: str
    price: str
    ts: str
    source: str
    tick_id: str
    sma: str = ""
    alert: str = ""


class Market(NamedTuple):
    """One entry of `market`: whether the exchange trades, and why. Times are epoch milliseconds UTC as text; empty text is no value."""

    exchange: str
    status: str
    """`open`, `pre`, `post` or `closed`."""
    reason: str
    next_open: str = ""
    next_close: str = ""
    ts: str = ""
    """When it was said, by the clock of Redis."""


def is_ticker(text: str) -> bool:
    """Whether `text` is a well-formed ticker, known or not."""
    return _ticker(text) is not None


def tick_values(entry: Sequence[str]) -> Sequence[str]:
    """The values of an entry of `ticks:{p}`, in the order of `Tick`, for who unpacks them at once: half the cost of a `Tick`.

    `entry` is names and values in turn, as Redis sends them. Raise `InvalidEntry` that names the first bad field.
    """
    if len(entry) == _TICK_ITEMS and _tick("\t".join(entry)):
        return entry[1::2]
    return _values(dict(zip(entry[::2], entry[1::2], strict=True)), TICK_PATTERNS)


def enriched_values(entry: Sequence[str]) -> Sequence[str]:
    """The values of an entry of `enriched:{p}`, in the order of `Enriched`; as `tick_values`."""
    if len(entry) == _ENRICHED_ITEMS and _enriched("\t".join(entry)):
        return entry[1::2]
    return _values(dict(zip(entry[::2], entry[1::2], strict=True)), ENRICHED_PATTERNS)


def read_tick(entry: Sequence[str]) -> Tick:
    """Read an entry of `ticks:{p}`; as `tick_values`."""
    return Tick._make(tick_values(entry))


def read_enriched(entry: Sequence[str]) -> Enriched:
    """Read an entry of `enriched:{p}`; as `tick_values`."""
    return Enriched._make(enriched_values(entry))


def parse_tick(fields: Mapping[str, str]) -> Tick:
    """As `read_tick`, from a mapping."""
    return Tick._make(_values(fields, TICK_PATTERNS))


def parse_enriched(fields: Mapping[str, str]) -> Enriched:
    """As `read_enriched`, from a mapping."""
    return Enriched._make(_values(fields, ENRICHED_PATTERNS))


def parse_market(fields: Mapping[str, str]) -> Market:
    """Read an entry of `market`; raise `InvalidEntry` that names the first bad field."""
    return Market._make(_values(fields, MARKET_PATTERNS))


def _values(fields: Mapping[str, str], patterns: Mapping[str, str]) -> list[str]:
    """The values by name, for entries with further fields or in another order, and to find the bad one."""
    for name, pattern in patterns.items():
        if name not in fields:
            raise InvalidEntry(f"field {name} is missing")
        if re.fullmatch(pattern, fields[name], _PLAIN) is None:
            raise InvalidEntry(f"{name} {fields[name][:64]!r} is not allowed")
    return [fields[name] for name in patterns]


def canonical_price(text: str) -> str:
    """Return the canonical text of a price that a provider or a file gives, such as "10.50" -> "10.5".

    Raise `InvalidEntry` if it is not a finite number above 0 and below 10^12 with at most eight decimals.
    """
    price = canonical_decimal(text)
    if price == "0":
        raise InvalidEntry(f"price {text[:64]!r} is not above 0")
    return price


def canonical_decimal(text: str) -> str:
    """Return the canonical text of a number from 0 (a volume may be 0) to below 10^12; raise `InvalidEntry` otherwise."""
    # An underscore between digits is Python's own notation.
    if len(text) > 64 or not text.isascii() or "_" in text:
        raise InvalidEntry(f"{text[:64]!r} is not a number")
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise InvalidEntry(f"{text!r} is not a number") from None
    if not value.is_finite() or value < 0 or value >= BIGGEST_PRICE:
        raise InvalidEntry(f"{text!r} is not a number from 0 to below 1e12")
    return decimal_text(value)


def decimal_text(value: Decimal) -> str:
    """Return `value` (0 or above) without exponent and trailing zeros; raise `InvalidEntry` beyond eight decimals."""
    if not value:
        return "0"
    # Judged before it is written out: 1e-999999999 has a billion zeros.
    plain = "" if value.adjusted() < -MOST_DECIMALS else f"{value:f}"
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    if not plain or len(plain.partition(".")[2]) > MOST_DECIMALS:
        raise InvalidEntry(f"{str(value)[:64]!r} has more than {MOST_DECIMALS} decimals")
    return plain


def iso(ms: int | str) -> str:
    """Return epoch milliseconds as the contract's JSON time, `YYYY-MM-DDTHH:MM:SS.mmm+00:00`."""
    seconds, millis = divmod(int(ms), 1000)
    return f"{_second(seconds)}.{millis:03d}+00:00"


@lru_cache(maxsize=1024)  # ticks come in the order of their times: most are of a second that was just written
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
