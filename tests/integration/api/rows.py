"""Rows for the tables that the API reads."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

COLUMNS = {
    "ticks": ("incarnation", "partition", "seq", "entry_id", "ticker", "price", "ts", "source", "volume", "received"),
    "enriched": ("incarnation", "partition", "seq", "entry_id", "tick_id", "ticker", "price", "sma", "alert", "ts", "source", "received"),
}
INCARNATION = "1795346662034123-3fa9c1d2"
BEGIN = datetime(2026, 2, 14, 14, 30, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """So many seconds after the begin."""
    return BEGIN + timedelta(seconds=seconds)


def tick(
    seq: int,
    price: str = "10",
    *,
    ts: datetime | None = None,
    ticker: str = "AAPL",
    volume: str | None = None,
    incarnation: str = INCARNATION,
) -> tuple[Any, ...]:
    """A row of `ticks`, a second after the one before unless told otherwise."""
    size, when = Decimal(volume) if volume is not None else None, ts or at(seq)
    return (incarnation, 2, seq, f"{seq}-0", ticker, Decimal(price), when, "simulated", size, when)


def enriched(
    seq: int,
    price: str,
    sma: str | None = None,
    alert: str | None = None,
    *,
    ts: datetime | None = None,
    ticker: str = "AAPL",
    incarnation: str = INCARNATION,
) -> tuple[Any, ...]:
    """A row of `enriched`."""
    mean, when = Decimal(sma) if sma is not None else None, ts or at(seq)
    return (incarnation, 2, seq, f"{seq}-0", f"{seq}-0", ticker, Decimal(price), mean, alert, when, "simulated", when)
