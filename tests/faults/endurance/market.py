"""The rows that are played: every one has an event time of its own, so that each is known again wherever it turns up."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

from shared.partitions import partition_of
from shared.settings import DEFAULT_TICKERS
from shared.testing.oracle import Judge

FIRST_TS_MS = 1_700_000_000_000
"""Of the first row; each later one is a millisecond younger. Long past: a row of the future would be refused."""
TICKERS = (*DEFAULT_TICKERS.split(","), "FLAT-1", "FLAT-2", "EVEN")
STEPS: dict[str, Sequence[int]] = {"FLAT-1": (0, 0, 0, 0, 0, 0, -25, 25), "FLAT-2": (0, 0, 0, 0, 0, 0, -1, 1), "EVEN": (-1, 0, 1)}
"""In cents: some rest for longer than the window, or on their average, where only a kept side knows the way."""
ANY_STEP = range(-30, 31)
BAD_ROW_EVERY = 997


class Event(NamedTuple):
    """What must have become of a row, in its partition; empty text is no value."""

    ts: str
    ticker: str
    price: str
    sma: str
    alert: str


@dataclass
class Market:
    """Makes the rows of one episode after the other, and knows what must become of them."""

    seed: int
    partitions: int
    period: int
    events: list[list[Event]] = field(init=False)
    """Per partition, in order: the event of seq n stands at n − 1."""
    bad_rows: int = 0
    _made: int = 0

    def __post_init__(self) -> None:
        self.events = [[] for _ in range(self.partitions)]
        self._chance = Random(f"{self.seed}:market")
        self._cents = {ticker: self._chance.randint(1_000, 50_000) for ticker in TICKERS}
        self._judge = Judge(self.period)

    @property
    def rows(self) -> int:
        """Good rows so far, over all partitions."""
        return sum(map(len, self.events))

    def write_episode(self, path: Path, rows: int) -> None:
        """Write the next `rows` good rows as a file to replay, with a bad one among them now and then."""
        with path.open("w", encoding="ascii") as file:
            file.write("ticker,price,ts\n")
            file.writelines(self._lines(rows))

    def _lines(self, rows: int) -> Iterator[str]:
        for _ in range(rows):
            self._made += 1
            if self._made % BAD_ROW_EVERY == 0:
                self.bad_rows += 1
                yield f"AAPL,none,{FIRST_TS_MS + self._made}\n"
            ticker = self._chance.choice(TICKERS)
            price, ts = self._next_price(ticker), str(FIRST_TS_MS + self._made)
            judged = self._judge.judge(ticker, price)
            self.events[partition_of(ticker, self.partitions)].append(Event(ts, ticker, price, judged.sma, judged.alert))
            yield f"{ticker},{price},{ts}\n"

    def _next_price(self, ticker: str) -> str:
        step = self._chance.choice(STEPS.get(ticker, ANY_STEP))
        self._cents[ticker] = min(90_000, max(100, self._cents[ticker] + step))
        whole, cents = divmod(self._cents[ticker], 100)
        return f"{whole}.{cents:02d}".rstrip("0").rstrip(".")
