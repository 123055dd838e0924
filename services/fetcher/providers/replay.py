"""Rows of a CSV file, one line at a time: each line after the header is one `Row`, one `BadRow`, or no row at all.

What a line is depends on its bytes, the header, PARTITIONS and TICKERS alone, so that every pass numbers the rows alike.
No row at all are blank lines and, when TICKERS is set, lines with a well-formed ticker that is not in it.
A quoted field may hold commas, but no line break: a line of the file is a line of the table.
"""

from collections.abc import Collection, Iterator
from hashlib import sha256
from itertools import islice
from typing import BinaryIO, NamedTuple

from shared.csv_ticks import LONGEST_LINE, bad_row_reason, read_header, split_line, tick_of
from shared.errors import InvalidEntry
from shared.events import TickValues, is_ticker
from shared.partitions import partition_of

LINES_A_SLICE = 32
_ENOUGH_OF_A_PAYLOAD = 4_097
"""`append` cuts at 4 096 bytes; one more shows that there was more."""
_TICKERS_REMEMBERED = 100_000

_NEWLINE = 0x0A


class Row(NamedTuple):
    """A good line: the fields of its tick as in `ticks:{p}`, without seq."""

    partition: int
    line: int
    tick: TickValues


class BadRow(NamedTuple):
    """A line to dead-letter; `payload` is its text, bytes beyond ASCII escaped, long ones cut."""

    partition: int
    line: int
    reason: str
    payload: str


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
            fields = split_line(piece)
        except InvalidEntry as bad:
            return self._bad(0, bad, piece)
        return self._row(fields, piece)

    def _row(self, fields: list[str], piece: bytes) -> Row | BadRow | None:
        columns = self._columns
        ticker = fields[columns.ticker] if len(fields) > columns.ticker else ""
        partition = self._place(ticker)
        if partition is None:
            self.others += 1
            return None
        try:
            return Row(partition, self.line, tick_of(fields, columns))
        except InvalidEntry as bad:
            return self._bad(partition, bad, piece)

    def _bad(self, partition: int, bad: InvalidEntry, piece: bytes) -> BadRow:
        return BadRow(partition, self.line, bad_row_reason(self.line, str(bad), self._columns), _payload(piece))

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
