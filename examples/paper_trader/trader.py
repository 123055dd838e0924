"""A bot that trades on paper: it buys when a price crosses above its average and sells when it crosses below.

    .venv/bin/python examples/paper_trader/trader.py ws://127.0.0.1:8001 AAPL MSFT

Cash, shares and the cursor, which says up to where alerts were traded on, are one small file that is replaced as a whole. So the
bot may be killed at any moment: started again it goes on where the file stands, and no alert is missed or traded on twice.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from pathlib import Path

from tickstream_client import Alert, Gap, Refused, Status
from tickstream_client.sync import subscribe

CAPITAL, STAKE = Decimal(100_000), Decimal(1_000)  # to begin with, and for a purchase of whole shares


@dataclass
class Book:
    """What the bot owns, and up to where it has traded."""

    cursor: str | None = None
    alerts: int = 0
    cash: Decimal = CAPITAL
    shares: dict[str, int] = field(default_factory=dict)
    prices: dict[str, Decimal] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "Book":
        """Read the file; without one the bot begins."""
        if not path.exists():
            return cls()
        stored = json.loads(path.read_text(encoding="utf-8"))
        stored["prices"] = {ticker: Decimal(price) for ticker, price in stored["prices"].items()}
        return cls(**{**stored, "cash": Decimal(stored["cash"])})

    def save(self, path: Path) -> None:
        """Replace the file: whoever reads it after a crash finds the old book or the new one, never half of one."""
        new = path.with_name(f"{path.name}.new")
        with new.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file, default=str)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def trade(self, alert: Alert) -> str:
        """Buy or sell, if there is something to; return what was done."""
        self.alerts += 1
        if alert.direction == "bullish" and alert.ticker not in self.shares:
            self.shares[alert.ticker] = count = int(min(STAKE, self.cash) // alert.price)
        else:
            count = -self.shares.pop(alert.ticker, 0) if alert.direction == "bearish" else 0
        self.cash -= count * alert.price
        return f"{alert.ts:%Y-%m-%d %H:%M} {'buy' if count > 0 else 'sell'} {abs(count)} {alert.ticker} at {alert.price:f}" if count else ""

    def __str__(self) -> str:
        value = sum(count * self.prices[ticker] for ticker, count in self.shares.items())
        return f"{self.alerts} alerts, cash {self.cash:.2f}, shares {value:.2f}, profit {self.cash + value - CAPITAL:.2f}"


def tell(what: Status | Gap) -> None:
    """Say when there is no gateway, and when alerts may be missing."""
    if isinstance(what, Gap):
        print(f"Alerts until {what.until:%c} may be missing ({what.reason}): GET /api/alerts has them.", file=sys.stderr)
    elif what.reason:
        print(f"No gateway: {what.reason}. Waiting for one; `make run` starts it.", file=sys.stderr)


def trade(url: str, tickers: list[str] | None, path: Path) -> None:
    """Trade for ever."""
    book = Book.load(path)
    print(f"Trading from {path}: {book}", flush=True)
    for update in subscribe(url, tickers, since=book.cursor, on_gap=tell, on_status=tell):
        book.prices |= {stock.ticker: stock.price for stock in update.stocks}
        trades = [line for alert in update.alerts if (line := book.trade(alert))]
        book.cursor = update.cursor
        book.save(path)
        # Not before it is saved: after a crash what was not saved comes again.
        if trades:
            print(*trades, book, sep="\n", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="ws://127.0.0.1:8001", help="a gateway")
    parser.add_argument("tickers", nargs="*", help="all if there is none")
    parser.add_argument("--book", type=Path, default=Path("paper_trader.json"))
    arguments = parser.parse_args()
    try:
        trade(arguments.url, arguments.tickers or None, arguments.book)
    except KeyboardInterrupt:
        print(Book.load(arguments.book))
    except (Refused, ValueError) as error:
        sys.exit(f"{arguments.url}: {error}")
