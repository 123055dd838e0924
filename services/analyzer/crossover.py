"""When a price crosses its moving average.

The classic rule compares price and average at two moments and fires again and again while a price rests on its average.
Here a side is remembered: equality keeps the side, and only the turn to the other side is a crossover
(docs/decisions/0004-crossover-keeps-its-side.md).
"""

from decimal import Decimal

from services.analyzer.moving_average import Window

ABOVE, ON, BELOW = 1, 0, -1
"""Where a price stands off its average. No side was taken yet: ON."""

BULLISH = "bullish"
BEARISH = "bearish"
NO_ALERT = ""


def side_of(price: Decimal, window: Window) -> int:
    """The side of `price` off the average of a warm window; compared with the sum, which is exact, not with the quotient."""
    scaled = price * window.divisor
    total = window.total
    return ABOVE if scaled > total else BELOW if scaled < total else ON


def crossover(before: int, now: int) -> str:
    """The alert for a side that was `before` and is `now`. The first side of a ticker is no alert, nor is equality."""
    if ON in (before, now) or now == before:
        return NO_ALERT
    return BULLISH if now == ABOVE else BEARISH
