"""`tail`: what its arguments mean, how an entry looks as a line, and in which order the past is shown."""

import json
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.admin.arguments import WrongInput
from services.admin.entry_lines import HEADS, json_line, text_line, ticker_of
from services.admin.following import Shown, id_order, in_order
from services.admin.tail_request import BIGGEST, Request, read_request, read_start
from shared.testing.entries import flat, tick_entry

TICK = tick_entry(seq="7", ticker="BRK.B", price="498.01", ts="1795367980825", source="simulated", volume="330")
ENRICHED = flat(
    {"seq": "7", "ticker": "KO", "price": "78.5", "ts": "1795367980825", "source": "simulated", "tick_id": "1-0", "sma": "78.496",
     "alert": "bullish"}
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("0", "0-0"),
        ("0-0", "0-0"),
        ("1795346662034-7", "1795346662034-6"),
        ("1795346662034-0", f"1795346662033-{BIGGEST}"),
        ("1795346662034", f"1795346662033-{BIGGEST}"),
        ("2026-11-22T14:30:00Z", f"1795357799999-{BIGGEST}"),
        ("2026-11-22T15:30:00.034+01:00", f"1795357800033-{BIGGEST}"),
        ("2026-11-22 14:30", f"1795357799999-{BIGGEST}"),
        ("2026-11-22", f"1795305599999-{BIGGEST}"),
        ("1969-01-01", "0-0"),
        (f"{BIGGEST}-{BIGGEST}", f"{BIGGEST}-{BIGGEST - 1}"),
    ],
)
def test_start_is_the_id_before_the_first_entry_that_is_meant(text: str, after: str) -> None:
    assert read_start(text) == after


@pytest.mark.parametrize("text", ["yesterday", "1-", "-1", "1-2-3", "$", "12:00", f"{BIGGEST + 1}", "0-99999999999999999999", "²"])
def test_start_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(WrongInput, match="--from"):
        read_start(text)


def test_without_a_start_only_new_entries_are_asked_for() -> None:
    assert read_request("ticks", "", "", as_json=False) == Request("ticks", "", None, False)


def test_columns_stand_under_their_heads() -> None:
    tick = text_line("ticks", 3, "1-0", TICK, is_coloured=False)
    assert tick == "2026-11-22 17:19:40.825  3       7  BRK.B    498.01        330  simulated"
    enriched = text_line("enriched", 0, "1-0", ENRICHED, is_coloured=False)
    assert enriched == "2026-11-22 17:19:40.825  0       7  KO        78.5       78.496     ▲ bullish"
    assert HEADS["enriched"].index("alert") == enriched.index("▲")
    assert HEADS["ticks"].index("source") == tick.index("simulated")
    assert max(map(len, (tick, enriched))) <= 80


def test_alerts_are_coloured_only_where_colours_are_wanted() -> None:
    assert text_line("enriched", 0, "1-0", ENRICHED, is_coloured=True).endswith("\x1b[32m▲ bullish\x1b[0m")


def test_shed_ticks_are_told() -> None:
    entry = tick_entry(seq="7", ticker="A", price="1", ts="1", source="finnhub", shed="12")
    assert text_line("ticks", 0, "1-0", entry, is_coloured=False).endswith("finnhub  12 shed before it")


def test_json_has_the_fields_as_they_are_and_where_they_stand() -> None:
    fields = json.loads(json_line("enriched", 2, "5-1", [*ENRICHED, "later", "x", "id", "theirs"]))
    assert fields == {
        "id": "5-1", "partition": 2, "seq": "7", "ticker": "KO", "price": "78.5", "ts": "1795367980825", "source": "simulated",
        "tick_id": "1-0", "sma": "78.496", "alert": "bullish", "later": "x",
    }  # fmt: skip


@pytest.mark.parametrize("entry", [["foo", "\x1b[31mbar\n"], ["ticker", "\x1b[31m", "ticker", "B"], ENRICHED])
def test_what_is_no_event_is_shown_raw_and_steers_no_terminal(entry: list[str]) -> None:
    text = text_line("ticks", 0, "5-1", entry, is_coloured=False)
    assert text.startswith("5-1  0 no event (")
    assert text.isprintable()
    assert json.loads(text.partition("): ")[2]) == entry
    found = json.loads(json_line("ticks", 0, "5-1", entry))
    assert (found["id"], found["partition"], found["entry"]) == ("5-1", 0, entry)
    assert found["invalid"]


def test_ticker_of_anything() -> None:
    assert [ticker_of(entry) for entry in (TICK, ["foo", "bar"], ["ticker", "X"])] == ["BRK.B", "", "X"]


async def shown(partition: int, ids: list[tuple[int, int]]) -> AsyncIterator[Shown]:
    for ms, sequence in ids:
        yield partition, f"{ms}-{sequence}", []


@given(st.lists(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11))).map(sorted), max_size=5))
async def test_past_is_merged_in_the_order_of_ids(partitions: list[list[tuple[int, int]]]) -> None:
    sources = [shown(number, ids) for number, ids in enumerate(partitions)]
    merged = [(id_order(entry_id), partition) async for partition, entry_id, _ in in_order(sources)]
    assert merged == sorted(((ms, sequence), number) for number, ids in enumerate(partitions) for ms, sequence in ids)
