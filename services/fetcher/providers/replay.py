"""Rows of a CSV file, one line at a time: each line after the header is one `Row`, one `BadRow`, or no row at all.

What a line is depends on its bytes, the header, PARTITIONS and TICKERS alone, so that every pass numbers the rows alike.
No row at all are blank lines and, when TICKERS is set, lines with a well-formed ticker that is not in it.
A quoted field may hold commas, but no line break: a line of the file is a line of the table.
"""

import csv
import re
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import islice
from typing import BinaryIO, NamedTuple

from shared.errors import InvalidEntry
from shared.events import PRICE, canonical_decimal, is_ticker
from shared.partitions import partition_of

LONGEST_LINE = 65_536
"""Bytes; of a longer line no more is ever in memory."""
LINES_A_SLICE = 32
NEEDED = ("ticker", "price", "ts")
OPTIONAL = ("volume",)
_ENOUGH_OF_A_PAYLOAD = 4_097
"""`append` cuts at 4 096 bytes; one more shows that there was more."""
_TICKERS_REMEMBERED = 100_000

_NEWLINE = 0x0A
_BOM = b"\xef\xbb\xbf"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MOST_DIGITS_OF_MS = 14

_is_canonical = re.compile(PRICE, re.ASCII).fullmatch


class Row(NamedTuple):
    """A good line: the fields of its tick as in `ticks:{p}`, without seq."""

    partition: int
    line: int
    tick: tuple[str, str, str, str, str, str, str]


class BadRow(NamedTuple):
    """A line to dead-letter; `payload` is its text, bytes beyond ASCII escaped, long ones cut."""

    partition: int
    line: int
    reason: str
    payload: str


class Columns(NamedTuple):
    """Where the header puts each value; `volume` is None in a file without it."""

    width: int
    ticker: int
    price: int
    ts: int
    volume: int | None


def read_header(raw: bytes) -> Columns:
    """Read line 1; raise `InvalidEntry` that says what is wrong with it."""
    try:
        names = [name.strip() for name in _split(raw.removeprefix(_BOM))]
    except InvalidEntry as bad:
        raise InvalidEntry(f"line 1: {bad}") from None
    missing = [name for name in NEEDED if name not in names]
    unknown = [name for name in names if name not in NEEDED + OPTIONAL]
    if missing or unknown or len(set(names)) < len(names):
        wrong = f"{missing[0]} is missing" if missing else f"column {unknown[0][:64]!r} is unknown" if unknown else "a name is doubled"
        raise InvalidEntry(f"line 1: the header must be ticker,price,ts[,volume], but {wrong}")
    volume = names.index("volume") if "volume" in names else None
    return Columns(len(names), names.index("ticker"), names.index("price"), names.index("ts"), volume)


class Reader:
    """One pass over a file. `line` is the last line read, `others` how many lines were of tickers not asked for."""

    def __init__(self, file: BinaryIO, partitions: int, tickers: Collection[str] | None) -> None:
        """Read the header of `file`, which stands at its beginning; raise `InvalidEntry` if it is not one."""
        self._file = file
        self._partitions = partitions
        self._wanted = None if tickers is None else frozenset(tickers)
        self._places: dict[str, int | None] = {}
        self._is_inside_long_line = False
        self._columns = read_header(file.readline(LONGEST_LINE + 1))
        self.line = 1
        self.others = 0

    def slices(self) -> Iterator[list[Row | BadRow]]:
        """Yield the rows of a few hundred lines at a time, so that the caller can do other things in between."""
        pieces = iter(lambda: self._file.readline(LONGEST_LINE + 1), b"")
        while some := list(islice(pieces, LINES_A_SLICE)):
            yield [row for piece in some if (row := self._read(piece)) is not None]

    def _read(self, piece: bytes) -> Row | BadRow | None:
        is_complete = piece[-1] == _NEWLINE
        if self._is_inside_long_line:
            self._is_inside_long_line = not is_complete
            return None
        self.line += 1
        self._is_inside_long_line = len(piece) > LONGEST_LINE and not is_complete
        if piece.isspace() and not self._is_inside_long_line:
            return None
        try:
            fields = _split(piece)
        except InvalidEntry as bad:
            return BadRow(0, self.line, f"line {self.line}: {bad}", _payload(piece))
        return self._row(fields, piece)

    def _row(self, fields: list[str], piece: bytes) -> Row | BadRow | None:
        columns = self._columns
        ticker = fields[columns.ticker] if len(fields) > columns.ticker else ""
        partition = self._place(ticker)
        if partition is None:
            self.others += 1
            return None
        try:
            return Row(partition, self.line, _tick(fields, columns))
        except InvalidEntry as bad:
            return BadRow(partition, self.line, f"line {self.line}: {bad}", _payload(piece))

    def _place(self, ticker: str) -> int | None:
        """The partition of a line with this ticker text; None if it is no row."""
        try:
            return self._places[ticker]
        except KeyError:
            is_other = self._wanted is not None and ticker not in self._wanted and is_ticker(ticker)
            place = None if is_other else partition_of(ticker, self._partitions)
            if len(ticker) <= 32 and len(self._places) < _TICKERS_REMEMBERED:
                self._places[ticker] = place
            return place


def _split(raw: bytes) -> list[str]:
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


def _tick(fields: list[str], columns: Columns) -> tuple[str, str, str, str, str, str, str]:
    if len(fields) != columns.width:
        raise InvalidEntry(f"{len(fields)} columns instead of {columns.width}")
    ticker, ts = fields[columns.ticker], fields[columns.ts]
    if not is_ticker(ticker):
        raise InvalidEntry(f"ticker {ticker[:64]!r} is not allowed")
    price = _number("price", fields[columns.price])
    if price == "0":
        raise InvalidEntry("price 0 is not above 0")
    volume = "" if columns.volume is None else fields[columns.volume]
    return ticker, price, epoch_ms(ts), "replay", volume and _number("volume", volume), "", ""


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


class Pacing:
    """When a row is due if time runs `speed` times as fast as it did; the first row asked about is due at once."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._origin: tuple[int, float] | None = None

    def wait_seconds(self, ts_ms: int, now: float) -> float:
        """Return how long after `now` (seconds) the row of event time `ts_ms` is due; 0 or less: it is."""
        if self._origin is None:
            self._origin = ts_ms, now
        first_ms, started = self._origin
        return started + (ts_ms - first_ms) / 1000 / self._speed - now


def _payload(piece: bytes) -> str:
    # Whoever lists dead letters decodes them as UTF-8 and may store them where a NUL is not allowed.
    return piece[:_ENOUGH_OF_A_PAYLOAD].rstrip(b"\r\n").decode("ascii", "backslashreplace").replace("\x00", "\\x00")


def digest(file: BinaryIO, tickers: Collection[str] | None) -> Iterator[str | None]:
    """Hash a file and TICKERS a mebibyte at a time: yield None after each, then the default REPLAY_ID."""
    found = sha256()
    while block := file.read(1 << 20):
        found.update(block)
        yield None
    if tickers is not None:
        found.update(b"\0" + ",".join(sorted(tickers)).encode())
    yield f"replay-{found.hexdigest()[:16]}"
