"""What an entry becomes, and which are no events."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from tickstream_client.streams.events import Enriched, NoEvent, Tick, read_enriched, read_tick
from tickstream_client.streams.taking import count_lost

COMMON = {"seq": "7", "ticker": "BRK.B", "price": "10.5", "ts": "1771105101950", "source": "finnhub"}
TICK = {**COMMON, "volume": "3", "quote_ts": "1771105100000", "shed": "2"}
ENRICHED = {**COMMON, "tick_id": "1-1", "sma": "10.25", "alert": "bullish"}
TS = datetime(2026, 2, 14, 21, 38, 21, 950_000, UTC)


def test_an_entry_of_ticks_is_a_tick() -> None:
    quoted = datetime(2026, 2, 14, 21, 38, 20, tzinfo=UTC)
    assert read_tick(1, "i", "5-0", TICK) == Tick(1, "i", 7, "5-0", "BRK.B", Decimal("10.5"), TS, "finnhub", Decimal(3), quoted, 2)


def test_an_entry_of_enriched_is_an_enriched_event() -> None:
    event = read_enriched(1, "i", "5-0", ENRICHED)
    assert event == Enriched(1, "i", 7, "5-0", "BRK.B", Decimal("10.5"), Decimal("10.25"), "bullish", TS, "finnhub", "1-1")
    assert event.id == "i.1.7"


def test_an_empty_text_is_no_value() -> None:
    assert read_enriched(1, "i", "5-0", {**ENRICHED, "sma": "", "alert": ""}).sma is None
    assert read_tick(1, "i", "5-0", {**TICK, "volume": "", "quote_ts": "", "shed": ""}).quote_ts is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("seq", "-1"), ("seq", "x"), ("ticker", "aapl"), ("price", "0"), ("price", "1e3"), ("price", "NaN"), ("price", "٣"),
     ("ts", "9" * 16), ("ts", ""),
     ("sma", "x"), ("alert", "sideways"), ("price", "1_0")],
)  # fmt: skip
def test_a_bad_field_is_named(name: str, value: str) -> None:
    with pytest.raises(NoEvent, match=f"{name} .*is not allowed"):
        read_enriched(1, "i", "5-0", {**ENRICHED, name: value})


@pytest.mark.parametrize("name", ENRICHED)
def test_a_missing_field_is_named(name: str) -> None:
    with pytest.raises(NoEvent, match=f"field {name} is missing"):
        read_enriched(1, "i", "5-0", {key: value for key, value in ENRICHED.items() if key != name})


@pytest.mark.parametrize(
    ("first", "length", "at", "read", "lost"),
    [
        ("5-0", 6, "4-0", 4, 0),  # what everybody has read may go
        ("5-0", 6, "2-0", 2, 2),
        ("5-0", 6, "7-0", 2, 0),  # the entry where the group stands is there
        ("10-0", 1, "9-0", 3, 6),  # ids are numbers
        (None, 0, "4-0", 4, 6),
        (None, 0, "10-0", 10, 0),
        ("5-0", 6, "0-0", None, 0),  # somebody made the group without a count
    ],
)
def test_entries_that_went_unread_are_counted(first: str | None, length: int, at: str, read: int | None, lost: int) -> None:
    stream = {"first-entry": [first, []] if first else None, "entries-added": 10, "length": length}
    assert count_lost(stream, {"last-delivered-id": at, "entries-read": read}) == lost
