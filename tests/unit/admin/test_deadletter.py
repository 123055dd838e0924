"""Which tick a dead letter of each kind stands for, and why another one stands for none."""

import io
import json

import pytest

from services.admin.deadletter import GIVEN, fields_of, tick_in, ticker_of
from services.admin.deadletters_lines import Kinds, json_line, kind_of, prospect, text_line, total_line, whole_letter
from services.admin.deadletters_request import Filter
from services.fetcher.providers.replay import BadRow, Reader
from shared.deadletters import FUTURE_REASON, Letter
from shared.errors import InvalidEntry
from shared.sequence import SequenceCheck

TS = "1771105101950"


def letter(reason: str, payload: str, *, stream: str = "", partition: int = 0) -> Letter:
    return Letter(partition, "1795346662034-0", stream, "1795346662000-0" if stream else "", reason, payload, "1795346662034")


def of_entry(reason: str = "field seq is missing", **fields: str) -> Letter:
    return letter(reason, json.dumps(fields), stream="ticks")


def of_line(data: bytes) -> Letter:
    """The letter of the only row of a file."""
    (row,) = [row for rows in Reader(io.BytesIO(data), 1, None).slices() for row in rows]
    assert isinstance(row, BadRow)
    return letter(row.reason, row.payload)


def complaint(refused: Letter, **given: str) -> str:
    with pytest.raises(InvalidEntry) as error:
        tick_in(refused, 1, given)
    return str(error.value)


@pytest.mark.parametrize(
    ("payload", "values"),
    [
        (f"AAPL,12.5,{TS},finnhub,7,1771105101000,3", ("AAPL", "12.5", TS, "finnhub", "7", "1771105101000", "3")),
        (f"AAPL,12.5,{TS},simulated", ("AAPL", "12.5", TS, "simulated", "", "", "")),
    ],
    ids=["whole", "as an earlier version wrote it"],
)
def test_a_tick_that_was_ahead_of_time_is_that_tick(payload: str, values: tuple[str, ...]) -> None:
    assert tick_in(letter(FUTURE_REASON, payload), 1)[1:] == values


def test_an_entry_without_seq_is_a_tick_in_canonical_text() -> None:
    entry = of_entry(ticker="AAPL", price="12.50", ts="2026-02-14T21:38:21.950Z", source="mine", volume="7.0", colour="red")
    assert tick_in(entry, 1)[1:] == ("AAPL", "12.5", TS, "mine", "7", "", "")


def test_an_entry_whose_seq_was_refused_stays_because_it_may_be_a_copy() -> None:
    check = SequenceCheck(9)
    for seq in (5, 99):
        with pytest.raises(InvalidEntry) as refusal:
            check.advance(seq, 10)
        entry = of_entry(str(refusal.value), seq=str(seq), ticker="AAPL", price="1", ts=TS, source="mine")
        assert "may be the copy of a tick" in complaint(entry)


def test_a_line_is_read_by_the_columns_of_its_file() -> None:
    refused = of_line(f"ticker,volume,ts,price\nAAPL,7,{TS},-1\n".encode())
    assert tick_in(refused, 1, {"price": "3"})[1:] == ("AAPL", "3", TS, "replay", "7", "", "")


@pytest.mark.parametrize("header", ["ticker,price,ts,volume", "ticker,price,ts"])
def test_a_line_that_is_still_no_tick_says_why_and_a_value_mends_it(header: str) -> None:
    refused = of_line(f"{header}\nAAPL,x,{TS}{',' if 'volume' in header else ''}\n".encode())
    assert complaint(refused) == "'x' is not a number"
    assert tick_in(refused, 1, {"price": "12.50"}).price == "12.5"


def test_a_line_that_was_torn_off_is_never_taken_for_a_shorter_one() -> None:
    assert complaint(of_line(b"ticker,price,ts,volume\nAAPL,12.5,17711\n")) == "its line has the wrong number of columns"


def test_an_answer_of_a_provider_lacks_its_event_time_which_may_be_given() -> None:
    answer = letter("finnhub BRK.B: t 9999999999 is in the future", '{"c": 497.55, "t": 1771105101, "d": null}')
    assert complaint(answer) == "ts is missing (--set ts=… gives it)"
    assert tick_in(answer, 1, {"ts": TS})[1:] == ("BRK.B", "497.55", TS, "finnhub", "", "1771105101000", "")
    assert ticker_of(letter("finnhub AAPL: not JSON", "<html>")) == "AAPL"


def test_a_payload_that_was_cut_is_no_tick_whatever_is_given() -> None:
    everything = dict(zip(GIVEN, ("AAPL", "1", TS, "mine", "1", TS), strict=True))
    assert tick_in(letter("finnhub AAPL: not JSON", "x" * 4095), 1, everything).ticker == "AAPL"
    assert complaint(letter("finnhub AAPL: not JSON", "x" * 4096), **everything) == "its payload was cut at 4096 bytes"


def test_a_tick_of_another_partition_stays_because_one_call_writes_one_partition() -> None:
    refused = letter(FUTURE_REASON, f"AAPL,1,{TS},mine", partition=1)
    with pytest.raises(InvalidEntry, match="AAPL belongs to partition 0, the letter lies in 1"):
        tick_in(refused, 2)


@pytest.mark.parametrize(
    "refused",
    [
        letter("", ""),
        letter("price is not a number", "AAPL,x,1"),
        letter("line 7: ", ""),
        letter("line x: what", "AAPL,1,1"),
        letter("line 7: bad (columns ticker)", "AAPL"),
        letter("bad", "[1]", stream="ticks"),
        letter("bad", "[" * 4000, stream="ticks"),
        letter("bad", "{}", stream="ticks"),
        letter("bad", "", stream="ticks"),
        of_entry(ticker="aapl", price="1", ts=TS, source="mine"),
        of_entry(ticker="AAPL", price="NaN", ts=TS, source="mine"),
        of_entry(ticker="AAPL", price="1", ts="soon", source="mine"),
        of_entry(ticker="AAPL", price="1", ts=TS, source="Mine!"),
        of_entry(ticker="AAPL", price="1", ts=TS, source="mine", shed="many"),
    ],
)
def test_whatever_else_lies_there_is_told_not_raised(refused: Letter) -> None:
    assert complaint(refused)
    assert prospect(refused, 1).startswith("not possible: ")
    assert ticker_of(refused) in ("", "AAPL", "aapl")


def test_nothing_of_a_stranger_steers_the_terminal() -> None:
    nasty = letter("bad \x1b[2J\x07\u202e", "\x1b]0;title\x07\r\n", stream="ticks\x1b")
    for shown in (text_line(nasty, None), *whole_letter(nasty, 1).splitlines(), json_line(nasty), kind_of(nasty.reason)):
        assert shown.isprintable()
    assert "\\x1b]0;title\\x07\\r\\n" in whole_letter(nasty, 1)


def test_a_line_of_the_list_fits_the_terminal() -> None:
    shown = text_line(letter("line 12: price 'x' is not a number, and more and more words", "", partition=63), 80)
    assert shown == "63:1795346662034-0   2026-11-22 11:24:22  line 12: price 'x' is not a number, a…"
    assert len(shown) == 80


def test_an_id_that_is_no_time_is_shown_all_the_same() -> None:
    assert "unknown" in text_line(Letter(0, "18446744073709551615-1", "", "", "bad", "", ""), None)


def test_reasons_are_counted_without_what_differs_from_letter_to_letter() -> None:
    kinds = Kinds()
    for number in range(3):
        kinds.add(letter(f"line {number}: price 'x{number}' is not a number", ""))
    kinds.add(letter('line 9: price "it\'s" is not a number', ""))
    kinds.add(letter(FUTURE_REASON, ""))
    assert kinds.lines() == ["      4  line N: price '…' is not a number", "      1  ts is more than N s in the future"]


def test_a_stranger_cannot_fill_the_memory_with_reasons() -> None:
    kinds = Kinds()
    for number in range(3000):
        kinds.add(letter("x" * (number // 60) + "y" * (number % 60), ""))
    assert len(kinds.counts) == 1001
    assert sum(int(line.split()[0]) for line in kinds.lines()) == 3000


def test_what_is_not_there_any_more_is_said() -> None:
    assert total_line(1, 1, 0) == "1 dead letter"
    assert total_line(30, 20, 2) == "30 dead letters, the newest 20 shown; 2 older ones fell off, a partition keeps the newest 100000"


def test_a_filter_takes_reasons_in_any_case_and_tickers_of_every_kind() -> None:
    early = letter(FUTURE_REASON, f"AAPL,1,{TS},mine")
    assert Filter(reason="IN THE future", ticker="AAPL").takes(early)
    assert not Filter(ticker="KO").takes(early)
    assert not Filter(reason="line").takes(early)
    assert fields_of(early)["ticker"] == "AAPL"
