"""`examples/paper_trader` beside the real pipeline: however often it is killed, it makes the trades of one that never was."""

import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from tickstream_client import Alert

from examples.paper_trader.trader import Book
from services.admin.embedded import find_free_port
from tests.e2e.pipeline import ROOT, Pipeline, Service, random_moments, until
from tests.examples.running import outcome, speed, started

TRADER = str(ROOT / "examples/paper_trader/trader.py")
TICKERS = ("SYN.A", "SYN.D", "EVEN", "JPM:X", "FLAT-1", "FLAT-2")
"""Without those whose prices are so odd that the cash would run out: then the order of two tickers' trades would matter."""


def alert(ticker: str, direction: str, price: str) -> Alert:
    return Alert("a.0.1", ticker, direction, Decimal(price), Decimal(1), datetime(2026, 2, 14, tzinfo=UTC), 1)


def uninterrupted() -> tuple[Book, list[str]]:
    """The book after all alerts, and the trades, of one that saw them as they came."""
    book = Book()
    alerts = [
        Alert("", event.ticker, event.alert, Decimal(event.price), None, datetime.fromtimestamp(int(event.ts) / 1000, UTC), event.seq)
        for _, event in outcome().alerts
        if event.ticker in TICKERS
    ]
    trades = [line for each in alerts if (line := book.trade(each))]
    return book, trades


def test_a_book_counts_shares_and_cash_exactly(tmp_path: Path) -> None:
    book = Book(prices={"AAPL": Decimal("251"), "MSFT": Decimal("1")})
    assert book.trade(alert("AAPL", "bearish", "250.1")) == ""
    assert book.trade(alert("AAPL", "bullish", "250.3")) == "2026-02-14 00:00 buy 3 AAPL at 250.3"
    assert book.trade(alert("AAPL", "bullish", "1")) == ""
    assert book.trade(alert("MSFT", "bullish", "1001")) == ""
    assert str(book) == "4 alerts, cash 99249.10, shares 753.00, profit 2.10"
    book.save(tmp_path / "book.json")
    stored = Book.load(tmp_path / "book.json")
    assert stored == book
    assert stored.trade(alert("AAPL", "bearish", "252.3")) == "2026-02-14 00:00 sell 3 AAPL at 252.3"
    assert (stored.cash, stored.shares) == (Decimal("100006.0"), {"MSFT": 0})


def trading(pipeline: Pipeline, folder: Path) -> AbstractContextManager[Service]:
    """The bot."""
    return started(folder, sys.executable, TRADER, f"ws://127.0.0.1:{pipeline.port}", *TICKERS, "--book", "book.json")


async def test_killed_at_any_moment_it_makes_the_trades_of_one_that_never_was(playing: Pipeline, tmp_path: Path) -> None:
    book, trades = uninterrupted()
    path, seen = tmp_path / "book.json", list[str]()

    async def until_alerts(count: int) -> None:
        async def has_come() -> bool:
            return path.exists() and Book.load(path).alerts >= count

        await playing.until(has_come, f"{count} alerts")

    playing.start("gateway")
    playing.start("analyzer")
    chance = random_moments("paper trader")
    with trading(playing, tmp_path) as bot:
        await until_alerts(0)
        playing.start("fetcher", REPLAY_SPEED=speed(3))
        await until_alerts(chance.randrange(1, book.alerts // 3))
    seen += trades_in(bot)
    with trading(playing, tmp_path) as bot:
        await until_alerts(chance.randrange(book.alerts // 3, 2 * book.alerts // 3))
    seen += trades_in(bot)
    with trading(playing, tmp_path) as bot:
        await playing.until(has_begun(bot), "the last bot to begin")
        await until_alerts(book.alerts)
        bot.process.send_signal(signal.SIGINT)
        assert await bot.finish() == 0
    seen += trades_in(bot)
    found = Book.load(path)
    assert (found.alerts, found.cash, found.shares) == (book.alerts, book.cash, book.shares)
    assert bot.text.splitlines()[-1] == str(found)
    # What was saved but not printed when the bot was killed is printed by nobody.
    assert not set(seen) - set(trades)
    assert len(seen) == len(set(seen))
    assert "Traceback" not in bot.text


def has_begun(bot: Service) -> Callable[[], Awaitable[bool]]:
    """A condition: Ctrl-C is heeded."""

    async def has() -> bool:
        return "Trading from" in bot.text

    return has


def trades_in(bot: Service) -> list[str]:
    """The trades that it printed, whole lines alone."""
    return [line for line in bot.text.rpartition("\n")[0].splitlines() if " buy " in line or " sell " in line]


@pytest.mark.parametrize(("arguments", "code", "text"), [((), 0, "`make run` starts it"), (("aapl",), 1, "not a ticker: 'aapl'")])
async def test_it_says_what_is_wrong(tmp_path: Path, arguments: tuple[str, ...], code: int, text: str) -> None:
    with started(tmp_path, sys.executable, TRADER, f"ws://127.0.0.1:{find_free_port()}", *arguments) as bot:

        async def has_said() -> bool:
            return text in bot.text

        await until(has_said, text)
        if not code:
            bot.process.send_signal(signal.SIGINT)
        assert await bot.finish() == code
    assert "Traceback" not in bot.text
