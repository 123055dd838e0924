"""What a board knows beyond prices: the market, which prices are late, what is away and why, and where to resume."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from tickstream_client import Market

from services.admin.board import Price, alert_text, is_late, market_text, trouble
from tests.unit.admin.told import Told

NOW = datetime(2026, 2, 14, 21, 38, 22, 104000, tzinfo=UTC)
OPEN = Market("XNYS", "open", "", next_close=datetime(2026, 2, 14, 21, 0, tzinfo=UTC) + timedelta(hours=3))


def iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")


def update(at: datetime = NOW, *, alerts: tuple[str, ...] = (), **more: Any) -> str:
    stock = {"ticker": "AAPL", "price": 1, "sma": None, "alert": None, "ts": iso(at), "seq": 1}
    found = [
        {"id": name, "ticker": "AAPL", "direction": "bullish", "price": 401.32, "sma": 399.8, "ts": iso(at), "seq": 1} for name in alerts
    ]
    return json.dumps({"type": "stock_update", "timestamp": iso(at), "snapshot": False, "stocks": [stock], "alerts": found} | more)


def price(age_seconds: float, *gaps_seconds: float) -> Price:
    return Price("AAPL", Decimal(1), None, NOW - timedelta(seconds=age_seconds), 1, gaps_seconds)


@pytest.mark.parametrize(
    ("age_seconds", "gaps_seconds", "late"),
    [
        (9, (1, 1), False),
        (11, (1, 1), True),
        (1799, (600, 600), False),
        (1801, (600, 600), True),
        (179, (), False),
        (181, (), True),
        (179, (60_000, 60), False),
        (181, (60_000, 60), True),
        (181, (60, 60_000), True),
    ],
)
def test_price_is_late_when_it_is_three_times_older_than_usual(age_seconds: float, gaps_seconds: tuple[float, ...], late: bool) -> None:
    assert is_late(price(age_seconds, *gaps_seconds), OPEN, NOW) is late
    assert is_late(price(age_seconds, *gaps_seconds), None, NOW) is late


@pytest.mark.parametrize("market", [Market("XNYS", "closed", "weekend"), Market("XNYS", "pre", ""), Market("", "open", "replay")])
def test_nothing_is_late_while_nothing_is_due(market: Market) -> None:
    assert not is_late(price(1e9), market, NOW)


def test_usual_time_between_prices_is_learned_from_event_times() -> None:
    board = Told()
    for seconds in (0, 5, 5, 25):
        board.on_message(update(NOW + timedelta(seconds=seconds)), 0)
    assert board.prices["AAPL"].gaps_seconds == (20, 5)


def test_market_status_is_kept_and_told_in_words() -> None:
    board = Told()
    board.on_message(
        '{"type":"market_status","exchange":"XNYS","status":"closed","reason":"holiday: Presidents\' Day",'
        '"next_open":"2026-02-17T14:30:00.000+00:00","next_close":null,"ts":"2026-02-14T21:38:22.104+00:00"}',
        0,
    )
    assert board.market is not None
    assert market_text(board.market, NOW) == "XNYS closed (holiday: Presidents' Day), opens Tue 14:30 UTC, in 2 d"
    assert market_text(OPEN, NOW) == "XNYS open, closes Sun 00:00 UTC, in 2 h"
    assert market_text(Market("", "open", "simulated"), NOW) == "market open (simulated)"


def test_trouble_names_its_true_reason() -> None:
    board, troubles = Told(), []
    steps: tuple[Callable[[], None], ...] = (
        lambda: None,
        lambda: board.lose("connection refused"),
        lambda: board.on_message(update(), 0),
        lambda: board.on_message(f'{{"type":"status","stale":true,"since":"{iso(NOW)}"}}', 0),
        lambda: board.on_message(f'{{"type":"status","stale":false,"since":"{iso(NOW)}"}}', 0),
        lambda: board.on_message('{"type":"error","code":"too_many_tickers","message":"at most 10\\u001b[2J"}', 0),
    )
    for step in steps:
        step()
        troubles.append(trouble(board))
    assert troubles == [
        "connecting …",
        "gateway away: connection refused",
        "",
        "Redis away since 21:38:22 UTC",
        "",
        "the gateway refuses: at most 10·[2J",
    ]


def test_new_connection_forgets_what_the_old_one_said_of_redis() -> None:
    board = Told()
    board.on_message(f'{{"type":"status","stale":true,"since":"{iso(NOW)}"}}', 0)
    board.lose("connection lost")
    board.on_message(update(), 0)
    assert trouble(board) == ""


def test_alert_as_a_line() -> None:
    board = Told()
    board.on_message(update(alerts=("a",)), 0)
    assert alert_text(board.recent_alerts[0]) == "2026-02-14 21:38:22.104 AAPL bullish 401.32, SMA 399.8"
