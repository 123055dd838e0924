"""The market that is played end to end, and what the pipeline must have made of it.

Five real tickers, the daily closes of bokeh-sampledata (public domain, 2000 to 2013). Beside them synthetic ones: they hit
the partitions that the real ones leave out, and hold what a real market seldom shows: flat stretches, prices that rest on
their average, the smallest price and the biggest. Some lines of the file are no ticks.
"""

import csv
import gzip
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from importlib.util import find_spec
from itertools import count, groupby, islice
from pathlib import Path
from random import Random
from typing import NamedTuple
from zlib import crc32

from shared.testing.oracle import expect

PERIOD = 5
BARS = 12_154
SYNTHETIC_TICKS = 800
EVERY = 3
"""Of the bars of each ticker one in so many is played, and of the synthetic ticks a part as big: all the years, in a third of the time."""

FIRST, LAST = datetime(2000, 3, 1, 21, tzinfo=UTC), datetime(2013, 3, 1, 21, tzinfo=UTC)
SPAN_SECONDS = (LAST - FIRST).total_seconds()
"""Event time from the first tick to the last: a replay at this speed takes a second."""

HEADER = "ticker,price,ts,volume"


class Quote(NamedTuple):
    """A good line of the file: when it happened, and its text."""

    at: datetime
    ticker: str
    price: str
    ts: str
    volume: str

    @property
    def line(self) -> str:
        """The line as it stands in the file."""
        return ",".join(self[1:])


class Event(NamedTuple):
    """What must have become of a good line, in its partition; `ts` in epoch milliseconds, empty text is no value."""

    seq: int
    ticker: str
    price: str
    ts: str
    volume: str
    sma: str
    alert: str


@dataclass(frozen=True)
class Outcome:
    """What the pipeline must hold after the whole file."""

    events: tuple[tuple[Event, ...], ...]
    """Per partition, in order."""
    windows: dict[str, list[str]]
    sides: dict[str, int]
    deadletters: dict[str, str]
    """Payload to what its reason must say."""

    @property
    def partitions(self) -> int:
        """PARTITIONS."""
        return len(self.events)

    @property
    def ticks(self) -> int:
        """How many good lines there are."""
        return sum(map(len, self.events))

    @property
    def latest(self) -> dict[str, Event]:
        """Ticker to its last event."""
        return {event.ticker: event for events in self.events for event in events}

    @property
    def alerts(self) -> list[tuple[int, Event]]:
        """Partition and event of every alert, per partition in order."""
        return [(p, event) for p, events in enumerate(self.events) for event in events if event.alert]


def real_bars() -> Iterator[Quote]:
    """The daily closes, ticker by ticker; the package is not imported, only its data are read."""
    package = find_spec("bokeh_sampledata")
    assert package is not None, "bokeh-sampledata is not installed; `make test` installs it"
    assert package.origin is not None
    with gzip.open(Path(package.origin).with_name("_data") / "stocks.csv.gz", "rt", encoding="ascii") as file:
        for bar in csv.DictReader(file):
            at = datetime.fromisoformat(f"{bar['Date']}T21:00:00+00:00")
            # Noted as the exchange's clock had it, five hours behind: the offset must be honoured.
            yield Quote(at, bar["Ticker"], bar["Close"], f"{bar['Date']}T16:00:00-05:00", bar["Volume"])


def walk(random: Random) -> Iterator[str]:
    """A random walk in cents, written with both decimals even where they are zeros."""
    cents = 10_000
    while True:
        cents = max(1, cents + random.randint(-30, 30))
        yield f"{cents // 100}.{cents % 100:02d}"


def few_values(random: Random) -> Iterator[str]:
    """So few prices that they rest on their average again and again."""
    while True:
        yield random.choice(("9.5", "10", "10", "10.5"))


def flat_stretches(random: Random) -> Iterator[str]:
    """A move, then a price that stays for longer than the window is: only a kept side knows where it came from."""
    cents = 5_000
    while True:
        cents += random.choice((-25, -1, 1, 25))
        cents = min(9_000, max(1_000, cents))
        for _ in range(random.choice((1, 1, PERIOD - 1, PERIOD, PERIOD + 1, 3 * PERIOD))):
            yield str(Decimal(cents) / 100)


def smallest(random: Random) -> Iterator[str]:
    """Up to nine times the smallest price there is."""
    while True:
        yield f"0.0000000{random.randint(1, 9)}"


def biggest(random: Random) -> Iterator[str]:
    """All twenty digits that a price may have; an average of any bigger ones would be rounded to thirteen before the point."""
    while True:
        yield f"999999999999.9999990{random.randint(0, 9)}"


SHAPES: dict[str, Callable[[Random], Iterator[str]]] = {
    "SYN.A": walk,
    "SYN.D": walk,
    "EVEN": few_values,
    "JPM:X": few_values,
    "FLAT-1": flat_stretches,
    "FLAT-2": flat_stretches,
    "TINY": smallest,
    "HUGE": biggest,
}


def thinned(bars: Iterable[Quote], every: int) -> Iterator[Quote]:
    """Of each ticker one bar in so many."""
    for _, its in groupby(bars, key=lambda bar: bar.ticker):
        yield from islice(its, 0, None, every)


def synthetic_ticks(ticks: int) -> Iterator[Quote]:
    """So many of each synthetic ticker, spread evenly over the years of the real ones; the same on every machine."""
    for ticker, shape in SHAPES.items():
        random = Random(ticker)
        step = (LAST - FIRST) / ticks
        for number, price in zip(range(ticks), shape(random), strict=False):
            at = FIRST + step * number
            yield Quote(at, ticker, price, epoch_ms(at), "" if number % 3 else str(random.randint(0, 999)))


BAD_LINES = (
    "AAPL,0,2005-01-03T16:00:00-05:00,1",
    "MSFT,-1.5,2005-01-03T16:00:00-05:00,1",
    "IBM,NaN,2005-01-03T16:00:00-05:00,1",
    "GOOG,1000000000000,2005-01-03T16:00:00-05:00,1",
    "FB,1.123456789,2005-01-03T16:00:00-05:00,1",
    "SYN.A,twelve,2005-01-03T16:00:00-05:00,1",
    "SYN.D,12,yesterday,1",
    "EVEN,12,2005-01-03T16:00:00-05:00,-5",
    "lower,12,2005-01-03T16:00:00-05:00,1",
    ",12,2005-01-03T16:00:00-05:00,1",
    "TINY,12",
    "TINY,12,2005-01-03T16:00:00-05:00,1,surplus",
)
"""Lines that are no ticks, each for a reason of its own."""


class Recording(NamedTuple):
    """The file: its text, its ticks in order, and what must be dead-lettered (payload to what the reason must say)."""

    text: str
    quotes: tuple[Quote, ...]
    deadletters: dict[str, str]


@cache
def recording(ticks: int | None = None, every: int = EVERY) -> Recording:
    """The file of the market, thinned, or of its first ticks. Bad lines and an empty one stand spread among the good ones."""
    bars = list(real_bars())
    assert len(bars) == BARS
    return record(sorted([*thinned(bars, every), *synthetic_ticks(SYNTHETIC_TICKS // every)], key=lambda quote: quote.at)[:ticks])


def record(quotes: Iterable[Quote]) -> Recording:
    """A file of these ticks and of every bad line."""
    quotes = sorted(quotes, key=lambda quote: quote.at)
    lines = [quote.line for quote in quotes]
    strangers = [*BAD_LINES, ""]
    step = len(lines) // len(strangers)
    for number, stranger in enumerate(strangers):
        lines.insert((number + 1) * step, stranger)
    lines.insert(0, HEADER)
    numbers = {line: number for number, line in zip(count(1), lines, strict=False)}
    return Recording("\n".join(lines) + "\n", tuple(quotes), {line: f"line {numbers[line]}: " for line in BAD_LINES})


@cache
def outcome(partitions: int, ticks: int | None = None, every: int = EVERY) -> Outcome:
    """What the pipeline must hold after that file."""
    return expect_of(recording(ticks, every), partitions)


def expect_of(file: Recording, partitions: int) -> Outcome:
    """What the pipeline must hold after the whole of a file."""
    prices = [canonical(quote.price) for quote in file.quotes]
    expected = expect(zip((quote.ticker for quote in file.quotes), prices, strict=True), PERIOD)
    events: list[list[Event]] = [[] for _ in range(partitions)]
    for quote, judged in zip(file.quotes, expected.judged, strict=True):
        mine = events[crc32(quote.ticker.encode()) % partitions]
        volume = canonical(quote.volume) if quote.volume else ""
        mine.append(Event(len(mine) + 1, quote.ticker, judged.price, epoch_ms(quote.at), volume, judged.sma, judged.alert))
    assert all(events), "every partition must be hit"
    return Outcome(tuple(map(tuple, events)), expected.windows, expected.sides, file.deadletters)


def canonical(number: str) -> str:
    """The one text of a number: no exponent, no trailing zeros."""
    plain = f"{Decimal(number):f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def epoch_ms(at: datetime) -> str:
    """Epoch milliseconds of a moment."""
    return str((at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1))
