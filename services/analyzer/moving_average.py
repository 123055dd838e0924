"""The simple moving average of a ticker's last prices, exact to the last digit."""

from collections import deque
from collections.abc import Iterable
from decimal import Decimal

_SIX_PLACES = Decimal("0.000001")
_SIX_PLACES_LENGTH = len(".000000")
"""A text with at most so much from its point on needs no rounding, which most averages of prices in cents do not."""


class Window:
    """The last `period` prices of a ticker and their sum.

    The bounds of the contract (twelve digits, eight decimals, period 500) keep every sum within the 28 digits of the
    default decimal context, so that adding and taking away leaves no error.
    """

    __slots__ = ("divisor", "period", "prices", "total")

    def __init__(self, period: int, prices: Iterable[Decimal] = ()) -> None:
        self.period = period
        self.divisor = Decimal(period)
        self.prices = deque(prices)
        self.total = sum(self.prices, Decimal(0))

    def push(self, price: Decimal) -> bool:
        """Take in the newest price, the oldest one leaves a full window; return whether there are enough for an average."""
        prices = self.prices
        prices.append(price)
        if len(prices) > self.period:
            self.total += price - prices.popleft()
            return True
        self.total += price
        return len(prices) == self.period

    def average_text(self) -> str:
        """The average of a warm window in six places, half-even, without trailing zeros.

        Rounding to 28 digits and then to six places is rounding once: an exact quotient that is no tie is at least
        10^-8 / 500 away from one.
        """
        text = str(self.total / self.divisor)
        if len(text) - text.find(".") > _SIX_PLACES_LENGTH or "E" in text:
            text = str(Decimal(text).quantize(_SIX_PLACES))
        return text.rstrip("0").rstrip(".") if text[-1] == "0" and "." in text else text
