"""The board: what a client of the gateway knows."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.admin.board import age_text, summary, text_of
from tests.unit.admin.told import Told

AT = "2026-02-14T21:38:21.950+00:00"


def stock(ticker: str, price: str, *, sma: str = "null", alert: str | None = None) -> str:
    return f'{{"ticker":"{ticker}","price":{price},"sma":{sma},"alert":{json.dumps(alert)},"ts":"{AT}","seq":1}}'


def update(*stocks: str, alerts: str = "", **more: Any) -> str:
    extra = "".join(f',"{name}":{json.dumps(value)}' for name, value in more.items())
    return f'{{"type":"stock_update","timestamp":"{AT}","stocks":[{",".join(stocks)}],"alerts":[{alerts}]{extra}}}'


def alert(ticker: str, direction: str, price: str) -> str:
    return f'{{"id":"1-a.0.{ticker}","ticker":"{ticker}","direction":"{direction}","price":{price},"sma":1,"ts":"{AT}","seq":1}}'


@pytest.mark.parametrize("text", ["255.78", "0.00000001", "999999999999.99999999", "7"])
def test_numbers_keep_their_characters(text: str) -> None:
    board = Told()
    board.on_message(update(stock("AAPL", text, sma=text)), 0)
    assert text_of(board.prices["AAPL"].price) == text
    assert text_of(board.prices["AAPL"].sma) == text


def test_direction_is_that_of_the_last_different_price() -> None:
    board, directions = Told(), []
    for price in ("10", "11", "11", "10.5", "10.5"):
        board.on_message(update(stock("AAPL", price)), 0)
        directions.append(board.prices["AAPL"].direction)
    assert directions == [0, 1, 1, -1, -1]


def test_snapshot_replaces_all_tickers_and_is_no_update() -> None:
    board = Told()
    board.on_message(update(stock("AAPL", "1"), stock("OLD", "1")), 0)
    board.on_message(update(stock("AAPL", "2"), snapshot=True), 1)
    assert list(board.prices) == ["AAPL"]
    assert board.updates == 2


def test_snapshot_in_parts_is_one() -> None:
    board = Told()
    board.on_message(update(stock("OLD", "1")), 0)
    board.on_message(update(stock("A", "1"), snapshot=True, more=True), 1)
    board.on_message(update(stock("B", "1"), snapshot=True), 1)
    assert set(board.prices) == {"A", "B"}


def test_alerts_are_kept_per_ticker_and_the_last_one_at_all() -> None:
    board = Told()
    board.on_message(update(stock("A", "1"), alerts=",".join([alert("A", "bullish", "1"), alert("B", "bearish", "2")])), 0)
    assert (board.alerts["A"].direction, board.alerts["B"].direction) == ("bullish", "bearish")
    assert board.last_alert == board.alerts["B"]


def test_other_messages_are_no_prices() -> None:
    board = Told()
    stale = f'{{"type":"status","stale":true,"since":"{AT}"}}'
    for message in ('{"type":"market_status","status":"open"}', '{"type":"pong","cursor":"x"}', stale):
        board.on_message(message, 0)
    assert board.is_stale
    assert not board.prices


def test_rate_forgets_what_is_older_than_ten_seconds() -> None:
    board = Told()
    board.on_message(update(stock("A", "1"), stock("B", "1")), 0)
    board.on_message(update(stock("A", "2")), 9)
    assert board.updates_per_second(9.5) == pytest.approx(0.3)
    assert board.updates_per_second(10.5) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s"), (0, "0 s"), (59.9, "59 s"), (60, "1 min"), (7200, "2 h"), (86400, "1 d"), (14 * 366 * 86400, "14 y")]
)
def test_age_is_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert age_text(now - timedelta(seconds=seconds), now) == text


def test_summary_names_the_last_alert_and_what_is_away() -> None:
    board = Told()
    board.on_message(update(stock("MSFT", "401.32"), alerts=alert("MSFT", "bullish", "401.32")), 0)
    assert summary(board, 152, 10) == "1 tickers, 152 updates in 10 s, last alert MSFT bullish 401.32"
    board.lose("connection refused")
    assert summary(board, 0, 10).endswith(", gateway away: connection refused")
    assert board.prices["MSFT"].price == Decimal("401.32")
