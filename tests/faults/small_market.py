"""A market of some five thousand ticks that can be played slowly, for as long as faults are to strike in mid-run, and then fast."""

from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from random import Random

from tests.e2e.market_data import FIRST, SHAPES, Outcome, Quote, Recording, epoch_ms, expect_of, record

TICKS_PER_TICKER = 600
STEP = timedelta(seconds=60)
"""Event time from a tick to the next one, over all tickers."""

SLOWLY = {"SOURCE": "replay", "REPLAY_SPEED": str(STEP.total_seconds() * 25)}
"""Variables of a fetcher: 25 ticks a second, which last for three minutes; each is a batch of its own."""
FAST = {"SOURCE": "replay", "REPLAY_SPEED": "0"}
"""Variables of a fetcher that plays the rest as fast as it goes."""


def quotes() -> Iterator[Quote]:
    """The synthetic tickers by turns: crossovers, flat stretches, prices on their average, in every partition of four."""
    for place, (ticker, shape) in enumerate(SHAPES.items()):
        for number, price in zip(range(TICKS_PER_TICKER), shape(Random(ticker)), strict=False):
            at = FIRST + STEP * (number * len(SHAPES) + place)
            yield Quote(at, ticker, price, epoch_ms(at), "" if number % 3 else str(number))


@cache
def small_recording() -> Recording:
    """The file."""
    return record(quotes())


@cache
def small_outcome(partitions: int) -> Outcome:
    """What the pipeline must hold after it."""
    return expect_of(small_recording(), partitions)
