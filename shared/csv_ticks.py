"""A line of a CSV file as a tick: what the replay reads, and what a dead letter of it is judged by when it is retried. Pure."""

import csv
import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from shared.errors import InvalidEntry
from shared.events import PRICE, TickValues, canonical_decimal, is_ticker

LONGEST_LINE = 65_536
"""Bytes; of a longer line no more is ever in memory."""
NEEDED = ("ticker", "price", "ts")
OPTIONAL = ("volume",)
SOURCE = "replay"
_MOST_DIGITS_OF_MS = 14

_NEWLINE = 0x0A
_BOM = b"\xef\xbb\xbf"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

_is_canonical = re.compile(PRICE, re.ASCII).fullmatch


class Columns(NamedTuple):
    """Where the header puts each value; `volume` is None in a file without it."""

    names: tuple[str, ...]
    ticker: int
    price: int
    ts: int
    volume: int | None


def read_header(raw: bytes) -> Columns:
    """Read line 1; raise `InvalidEntry` that says what is wrong with it."""
    try:
        names = [name.strip() for name in split_line(raw.removeprefix(_BOM))]
    except InvalidEntry as bad:
        raise InvalidEntry(f"line 1: {bad}") from None
    missing = [name for name in NEEDED if name not in names]
    unknown = [name for name in names if name not in NEEDED + OPTIONAL]
    if missing or unknown or len(set(names)) < len(names):
        wrong = f"{missing[0]} is missing" if missing else f"column {unknown[0][:64]!r} is unknown" if unknown else "a name is doubled"
        raise InvalidEntry(f"line 1: the header must be ticker,price,ts[,volume], but {wrong}")
    volume = names.index("volume") if "volume" in names else None
    return Columns(tuple(names), names.index("ticker"), names.index("price"), names.index("ts"), volume)


def bad_row_reason(line: int, complaint: str, columns: Columns) -> str:
    """Why a line is no tick: a dead letter holds the line without its header, hence the columns if they are not the plain ones."""
    columns_text = "" if columns.names == NEEDED else f" (columns {','.join(columns.names)})"
    return f"line {line}: {complaint}{columns_text}"


_bad_row_reason = re.compile(r"line \d+: .*?(?: \(columns ([a-z,]+)\))?", re.ASCII | re.DOTALL).fullmatch


def columns_of(reason: str) -> Columns | None:
    """The columns of a line that was refused for this reason; None if it is no reason of `bad_row_reason`."""
    found = _bad_row_reason(reason)
    return found and read_header((found[1] or ",".join(NEEDED)).encode())


def split_line(raw: bytes) -> list[str]:
    """The fields of a line; raise `InvalidEntry` if it is too long, no UTF-8, or its quotes are wrong."""
    if len(raw) > LONGEST_LINE and raw[-1] != _NEWLINE:
        raise InvalidEntry(f"longer than {LONGEST_LINE} bytes")
    try:
        text = raw.rstrip(b"\r\n").decode()
    except UnicodeDecodeError as bad:
        raise InvalidEntry(f"byte {bad.start + 1} is not UTF-8") from None
    if '"' not in text:
        return text.split(",")
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as bad:
        raise InvalidEntry(f"quotes: {bad}") from None


def tick_of(fields: list[str], columns: Columns) -> TickValues:
    """The values of a tick, as in `ticks:{p}` without seq; raise `InvalidEntry` for the first bad field."""
    if len(fields) != len(columns.names):
        raise InvalidEntry(f"{len(fields)} columns instead of {len(columns.names)}")
    ticker, ts = fields[columns.ticker], fields[columns.ts]
    if not is_ticker(ticker):
        raise InvalidEntry(f"ticker {ticker[:64]!r} is not allowed")
    price = _number("price", fields[columns.price])
    if price == "0":
        raise InvalidEntry("price 0 is not above 0")
    volume = "" if columns.volume is None else fields[columns.volume]
    return ticker, price, epoch_ms(ts), SOURCE, volume and _number("volume", volume), "", ""


def _number(name: str, text: str) -> str:
    if _is_canonical(text) is not None:
        return text
    try:
        return canonical_decimal(text)
    except InvalidEntry as bad:
        raise InvalidEntry(f"{name} {bad}") from None


def epoch_ms(text: str) -> str:
    """Return a time as epoch milliseconds: digits are that already, all else is ISO-8601 (UTC without an offset).

    Raise `InvalidEntry` before 1970, from 10^14 ms on, and for any other text.
    """
    if text.isdigit() and text.isascii():
        if len(text) > _MOST_DIGITS_OF_MS:
            raise InvalidEntry(f"ts {text[:64]!r} has more than {_MOST_DIGITS_OF_MS} digits")
        return text if text[0] != "0" else str(int(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidEntry(f"ts {text[:64]!r} is neither ISO-8601 nor epoch milliseconds") from None
    ms = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MILLISECOND
    if not 0 <= ms < 10**_MOST_DIGITS_OF_MS:
        raise InvalidEntry(f"ts {text[:64]!r} is out of range")
    return str(ms)
