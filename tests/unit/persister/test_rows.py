"""Entries as lines of COPY."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.persister.rows import NOWHERE, Position, encode, received, timestamp
from shared.incarnations import End, Ended, Head
from shared.testing.entries import flat, tick_entry

HEAD = Head("2-b", (), {"ticks": 100, "enriched": 100, "events": 100})


def tick(seq: int, /, **changed: str) -> list[str]:
    fields = {"seq": str(seq), "ticker": "AAPL", "price": "1.5", "ts": "1700000000123", "source": "replay"}
    return tick_entry(**(fields | changed))


def test_a_tick_becomes_a_line_in_the_order_of_the_columns() -> None:
    batch = encode("ticks", 3, [("7-0", tick(1, volume="12", quote_ts="1700000000000"))], NOWHERE, HEAD)
    assert batch.lines == [
        "2-b\t3\t1\t7-0\tAAPL\t1.5\t2023-11-14 22:13:20.123+00\treplay\t12\t2023-11-14 22:13:20.000+00\t1970-01-01 00:00:00.007+00\n"
    ]
    assert batch.position == Position("2-b", "7-0", 1, 1)


def test_an_empty_value_becomes_null() -> None:
    fields = {"seq": "1", "ticker": "KO", "price": "7", "ts": "1", "source": "replay", "tick_id": "6-0", "sma": "", "alert": ""}
    batch = encode("enriched", 0, [("7-0", flat(fields))], NOWHERE, HEAD)
    assert batch.lines[0] == "2-b\t0\t1\t7-0\t6-0\tKO\t7\t\\N\t\\N\t1970-01-01 00:00:00.001+00\treplay\t1970-01-01 00:00:00.007+00\n"


def test_an_entry_is_labelled_with_the_incarnation_it_was_written_in() -> None:
    ended = Ended("1-a", End(2, "6-1", 2), End(2, "6-1", 2), End(0, "0-0", 0))
    head = Head("2-b", (ended,), HEAD.last_seq)
    batch = encode("ticks", 0, [("6-0", tick(1)), ("6-1", tick(2)), ("7-0", tick(3))], NOWHERE, head)
    assert [line.partition("\t")[0] for line in batch.lines] == ["1-a", "1-a", "2-b"]
    assert batch.position.incarnation == "2-b"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"price": "NaN"}, "price 'NaN' is not allowed"),
        ({"price": "1\t2"}, "price '1\\t2' is not allowed"),
        ({"ticker": "aapl"}, "ticker 'aapl' is not allowed"),
        ({"ts": "99999999999999999"}, "ts '99999999999999999' is not allowed"),
        ({"source": "x\n\\."}, "source 'x\\n\\\\.' is not allowed"),
        ({"seq": "101"}, "seq 101 was never assigned, the newest is 100"),
        ({"seq": "1"}, "seq 1 is not above 1, the last one"),
    ],
)
def test_a_bad_entry_becomes_an_event_and_the_rest_is_stored(changed: dict[str, str], reason: str) -> None:
    batch = encode("ticks", 0, [("6-0", tick(1)), ("6-1", tick(2, **changed)), ("6-2", tick(2))], NOWHERE, HEAD)
    assert [line.split("\t")[2] for line in batch.lines] == ["1", "2"]
    assert [(event.kind, event.detail["entry_id"], event.detail["reason"]) for event in batch.events] == [("rejected", "6-1", reason)]
    assert batch.position == Position("2-b", "6-2", 2, 3)


def test_a_hole_in_the_ticks_is_a_gap_with_its_range_and_counts_as_passed() -> None:
    batch = encode("ticks", 0, [("6-0", tick(5))], Position("2-b", "1-0", 1, 1), HEAD)
    assert [(event.kind, event.first_seq, event.last_seq) for event in batch.events] == [("gap", 2, 4)]
    assert batch.position.passed == 5


def test_a_tick_that_cannot_be_read_leaves_no_gap() -> None:
    batch = encode("ticks", 0, [("6-0", tick(1)), ("6-1", tick(2, price="NaN")), ("6-2", tick(3))], NOWHERE, HEAD)
    assert [event.kind for event in batch.events] == ["rejected"]
    assert batch.position == Position("2-b", "6-2", 3, 3)


def test_a_hole_in_the_enriched_stream_is_a_dead_letter_and_no_gap() -> None:
    fields = {"seq": "5", "ticker": "KO", "price": "7", "ts": "1", "source": "replay", "tick_id": "6-0", "sma": "6.5", "alert": "bullish"}
    batch = encode("enriched", 0, [("7-0", flat(fields))], Position("2-b", "1-0", 1, 1), HEAD)
    assert batch.events == []


def test_an_event_of_a_function_is_copied_with_its_time() -> None:
    fields = {
        "seq": "1",
        "kind": "period",
        "stream": "enriched",
        "incarnation": "2-b",
        "first_seq": "9",
        "last_seq": "",
        "detail": '{"to":7}',
        "ts": "17",
    }
    (event,) = encode("events", 0, [("7-0", flat(fields))], NOWHERE, HEAD).events
    assert (event.kind, event.stream, event.first_seq, event.last_seq, event.detail, event.at_ms) == (
        "period",
        "enriched",
        9,
        None,
        {"to": 7},
        17,
    )


def test_a_strangers_event_is_noted_as_rejected() -> None:
    (event,) = encode("events", 0, [("7-0", ["x", "y"])], NOWHERE, HEAD).events
    assert event.kind == "rejected"


@given(st.integers(0, 10**14 - 1))
def test_a_timestamp_is_the_moment_itself(ms: int) -> None:
    assert datetime.fromisoformat(timestamp(str(ms))) == datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)


def test_the_time_of_receipt_is_in_the_entry_id() -> None:
    assert received("1700000000123-45") == "2023-11-14 22:13:20.123+00"


def test_an_id_beyond_any_calendar_is_received_in_the_last_year_there_is() -> None:
    assert received("18446744073709551615-1") == received("99999999999999-0") == "5138-11-16 09:46:39.999+00"
