"""A Finnhub of one's own: its REST rules, its quota, its market hours, and every way in which it can go wrong.

What is documented or was seen on the real one is enforced, so that code which gets along with this one gets along there;
the official client is what proves it. By hand: `python -m tests.fakes.finnhub --help`.
"""

from tests.fakes.finnhub.faults import (
    Fault,
    Huge,
    body,
    cut,
    gzip_bomb,
    huge,
    limited,
    reset,
    silence,
    status,
    trickle,
)
from tests.fakes.finnhub.market_hours import NYSE_HOLIDAYS, Holiday
from tests.fakes.finnhub.quotes import Quote
from tests.fakes.finnhub.server import Call, FakeFinnhub

__all__ = [
    "NYSE_HOLIDAYS",
    "Call",
    "FakeFinnhub",
    "Fault",
    "Holiday",
    "Huge",
    "Quote",
    "body",
    "cut",
    "gzip_bomb",
    "huge",
    "limited",
    "reset",
    "silence",
    "status",
    "trickle",
]
