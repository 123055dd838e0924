"""The live table: it fits whatever the terminal's size."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from rich.console import Console
from rich.text import Text
from tickstream_client import Alert, Market

from services.admin.board import Board, Price
from services.admin.processes import State
from services.admin.table import Caption, aligned, frame, health, services_line

NOW = datetime(2026, 2, 14, 21, 38, tzinfo=UTC)
CAPTION = Caption(
    "tickstream · simulated · 40 tickers · 12.5 updates/s",
    (Text("fetcher ✓ · analyzer 2/3"), Text("XNYS closed (weekend), opens Mon 14:30 UTC, in 1 d")),
    "ws://127.0.0.1:8001/ws/stocks/ · Ctrl-C stops",
)


def board(tickers: int) -> Board:
    found = Board()
    for index in range(tickers):
        ticker = f"T{index:02}"
        found.prices[ticker] = Price(ticker, Decimal("401.32"), Decimal("399.8"), NOW - timedelta(seconds=3), 1)
        found.alerts[ticker] = Alert("", ticker, "bearish", Decimal("400"), None, NOW - timedelta(minutes=2), 1)
    return found


def drawn(found: Board, width: int, height: int) -> list[str]:
    console = Console(file=StringIO(), width=width, height=height, color_system=None)
    console.print(frame(found, CAPTION, width, height, NOW))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [10, 20, 30, 45, 80, 200])
@pytest.mark.parametrize("height", [1, 2, 5, 10, 24, 60])
def test_frame_never_exceeds_the_terminal(width: int, height: int) -> None:
    lines = drawn(board(40), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_what_does_not_fit_is_counted() -> None:
    lines = drawn(board(40), 80, 20)
    rows = [line for line in lines if line.startswith("T")]
    assert f"… and {40 - len(rows)} more" in lines[-1]
    assert len(lines) == 20


def test_wide_terminal_shows_price_average_alert_and_ages() -> None:
    (row,) = [line for line in drawn(board(1), 80, 24) if line.startswith("T00")]
    assert row.split() == ["T00", "401.32", "▲", "3", "s", "399.8", "bearish", "400", "2", "min", "ago"]


def test_narrow_terminal_keeps_ticker_and_price() -> None:
    (row,) = [line for line in drawn(board(1), 20, 24) if line.startswith("T00")]
    assert "401.32 ▲" in row
    assert "399.8" not in row


def test_column_that_would_be_cut_is_left_out() -> None:
    found = board(1)
    found.prices["T00"] = replace(found.prices["T00"], ticker="A" * 32, price=Decimal("999999999999.99999999"))
    heads = next(line for line in drawn(found, 80, 24) if line.startswith("ticker"))
    assert heads.split() == ["ticker", "price", "age", "SMA"]
    assert "999999999999.99999999 ▲" in "".join(drawn(found, 80, 24))


def test_price_that_should_have_been_renewed_is_marked_with_a_word() -> None:
    found = board(2)
    found.prices["T01"] = replace(found.prices["T01"], at=NOW - timedelta(minutes=4))
    fresh, late = (line for line in drawn(found, 80, 24) if line.startswith("T"))
    assert "late" not in fresh
    assert "late 4 min" in late


def test_health_tells_what_is_away_and_the_market() -> None:
    found = board(1)
    assert health(found, NOW).plain == "connecting …"
    found.is_connected = True
    assert not health(found, NOW)
    assert health(found, NOW, well="connected").plain == "connected"
    found.market = Market("XNYS", "closed", "weekend", next_open=datetime(2026, 2, 16, 14, 30, tzinfo=UTC))
    closed = "XNYS closed (weekend), opens Mon 14:30 UTC, in 1 d"
    assert health(found, NOW).plain == closed
    found.stale_since = NOW
    assert (
        health(found, NOW, well="connected").plain == "Redis away since 21:38:00 UTC · XNYS closed (weekend), opens Mon 14:30 UTC, in 1 d"
    )


def test_point_stands_below_point() -> None:
    texts = [aligned(Decimal(number), 2) for number in ("401.32", "78.5", "7")]
    assert texts == ["401.32", "78.5 ", "7   "]
    assert aligned(None, 2) == ""
    assert aligned(Decimal(7), 0) == "7"


def test_scaled_services_are_counted() -> None:
    states = [("fetcher", State.RUNNING), ("analyzer-1", State.RUNNING), ("analyzer-2", State.WAITING), ("persister", State.WAITING)]
    assert services_line(states) == "fetcher ✓ · analyzer 1/2 · persister ✗"
    assert services_line([("fetcher", State.FINISHED)]) == "fetcher finished"
