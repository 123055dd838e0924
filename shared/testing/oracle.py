"""The oracle: what the pipeline must have made of a sequence of ticks, computed the slow and obvious way.

It shares no code with the analyzer. Every average is summed anew from the prices themselves, with more digits than any
sum needs; the side is the last one at which the price stood off its average.
"""

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import NamedTuple

_EXACT = Context(prec=100, rounding=ROUND_HALF_EVEN)


class Judged(NamedTuple):
    """What is expected of one tick: average and alert as the stream has them (empty text: none)."""

    ticker: str
    price: str
    sma: str
    alert: str


class Expected(NamedTuple):
    """What is expected after a sequence of ticks."""

    judged: list[Judged]
    windows: dict[str, list[str]]
    sides: dict[str, int]


class Judge:
    """Judges ticks one after the other, from nothing."""

    def __init__(self, period: int) -> None:
        self._period = period
        self._windows: dict[str, list[str]] = {}
        self._sides: dict[str, int] = {}

    def judge(self, ticker: str, price: str) -> Judged:
        """What must become of the next tick."""
        window = self._windows[ticker] = [*self._windows.get(ticker, ()), price][-self._period :]
        sma, side = average_and_side(window, self._period)
        before = self._sides.get(ticker, 0)
        alert = ""
        if side != 0:
            if before != 0 and side != before:
                alert = "bullish" if side > 0 else "bearish"
            self._sides[ticker] = side
        return Judged(ticker, price, sma, alert)

    def expected(self, judged: list[Judged]) -> Expected:
        """What was judged so far, with windows and sides as they are after it."""
        return Expected(judged, dict(self._windows), dict(self._sides))


def expect(ticks: Iterable[tuple[str, str]], period: int) -> Expected:
    """Judge (ticker, price) pairs in order, from nothing."""
    judge = Judge(period)
    return judge.expected([judge.judge(ticker, price) for ticker, price in ticks])


def average_and_side(window: Sequence[str], period: int) -> tuple[str, int]:
    """Text of the average in six places, and on which side of the exact average the last price stands."""
    if len(window) < period:
        return "", 0
    total = Decimal(0)
    for price in window:
        total = _EXACT.add(total, Decimal(price))
    average = _EXACT.divide(total, Decimal(period))
    rounded = average.quantize(Decimal("1e-6"), rounding=ROUND_HALF_EVEN, context=_EXACT)
    text = f"{rounded:f}".rstrip("0").rstrip(".")
    difference = _EXACT.subtract(_EXACT.multiply(Decimal(window[-1]), Decimal(period)), total)
    return text or "0", (difference > 0) - (difference < 0)
