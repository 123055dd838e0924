"""What /quote says of a symbol: the characters of its JSON, and a random walk that makes them up."""

from dataclasses import dataclass
from decimal import Decimal
from random import Random

TRADED = 0.75
"""How probable it is that there was a trade since the last call."""
STEP = 0.001
"""Standard deviation of a step, as a part of the price."""


@dataclass(frozen=True)
class Quote:
    """An answer. Numbers are the text that stands in the JSON; `t` is in epoch seconds; empty text: the same as `c`."""

    c: str
    t: int
    d: str = "null"
    dp: str = "null"
    h: str = ""
    l: str = ""  # noqa: E741 (the name of the field on the wire)
    o: str = ""
    pc: str = ""

    def json(self) -> bytes:
        """The body of the answer, in the order of the real one."""
        numbers = {"c": self.c, "d": self.d, "dp": self.dp, "h": self.h, "l": self.l, "o": self.o, "pc": self.pc, "t": str(self.t)}
        return ("{" + ",".join(f'"{name}":{text or self.c}' for name, text in numbers.items()) + "}").encode()


UNKNOWN = Quote(c="0", t=0)
"""What an unknown symbol answers, and a known one at times."""


class RandomWalk:
    """The prices of one symbol, in cents; the same seed and symbol walk the same way."""

    def __init__(self, seed: int, symbol: str) -> None:
        self._chance = Random(f"{seed}:{symbol}")
        self._previous_close = self._chance.randrange(2_000, 90_000)
        self._open = self._price = self._high = self._low = self._moved(self._previous_close)
        self._traded_at = 0

    def step(self, now: float) -> Quote:
        """Go on to `now`, in epoch seconds: often there was a trade, and price and `t` moved."""
        if not self._traded_at or self._chance.random() < TRADED:
            self._price = self._moved(self._price)
            self._high, self._low = max(self._high, self._price), min(self._low, self._price)
            self._traded_at = int(now)
        return self._quote()

    def _moved(self, price: int) -> int:
        return max(1, price + round(self._chance.gauss(0, price * STEP)))

    def _quote(self) -> Quote:
        change = self._price - self._previous_close
        return Quote(
            c=_dollars(self._price),
            d=_dollars(change),
            dp=_plain(round(Decimal(change * 100) / self._previous_close, 4)),
            h=_dollars(self._high),
            l=_dollars(self._low),
            o=_dollars(self._open),
            pc=_dollars(self._previous_close),
            t=self._traded_at,
        )


def _dollars(cents: int) -> str:
    return _plain(Decimal(cents) / 100)


def _plain(number: Decimal) -> str:
    """Without exponent and trailing zeros, as JSON numbers are commonly printed."""
    return f"{number.normalize():f}"
