"""The text of prices and times, the order of fields, and what is refused with which field named."""

import re
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidEntry
from shared.events import (
    Enriched,
    Tick,
    canonical_decimal,
    canonical_price,
    decimal_text,
    is_ticker,
    iso,
    parse_enriched,
    parse_tick,
    read_enriched,
    read_tick,
)

CONTRACT_PRICE = re.compile(r"(0|[1-9]\d{0,11})(\.\d{0,7}[1-9])?", re.ASCII)
PRICES = st.from_regex(CONTRACT_PRICE, fullmatch=True, alphabet="0123456789.")

TICK = Tick("812", "BRK.B", "255.78", "1771105101950", "finnhub", "1200.5", "1771105100000", "3")
ENRICHED = Enriched("812", "BRK.B", "255.78", "1771105101950", "finnhub", "1771105102104-0", "254.32", "bullish")


@given(PRICES)
def test_a_price_of_the_contract_is_its_own_canonical_text(text: str) -> None:
    if text == "0":
        with pytest.raises(InvalidEntry, match="not above 0"):
            canonical_price(text)
    else:
        assert canonical_price(text) == text


@given(PRICES.filter(lambda text: text != "0"), st.integers(0, 8), st.integers(-20, 20), st.booleans())
def test_however_a_price_is_written_its_canonical_text_is_the_same(text: str, zeros: int, exponent: int, has_sign: bool) -> None:
    padded = text + ("" if "." in text else ".") + "0" * zeros
    shifted = f"{Decimal(text).scaleb(-exponent):f}e{exponent}"
    for written in (padded, "0" + padded, shifted, shifted.upper(), "+" * has_sign + text):
        assert canonical_price(written) == text


@given(st.text(max_size=80) | st.decimals().map(str) | st.floats().map(str))
def test_whatever_comes_in_only_prices_of_the_contract_come_out(text: str) -> None:
    try:
        price = canonical_price(text)
    except InvalidEntry:
        return
    assert CONTRACT_PRICE.fullmatch(price)
    assert Decimal(price) == Decimal(text) > 0


@pytest.mark.parametrize(
    ("written", "text"),
    [("10.50", "10.5"), ("1e2", "100"), ("1E+2", "100"), ("007", "7"), (".5", "0.5"), ("5.", "5"), ("999999999999.99999999",) * 2],
)
def test_a_price_loses_exponent_and_needless_zeros(written: str, text: str) -> None:
    assert canonical_price(written) == text


NO_NUMBERS = ["", "NaN", "sNaN", "-NaN", "inf", "-Infinity", "-1", "1e12", "1000000000000", "1e309", "0.123456789", "1e-9", "1,5", "0x10"]
NO_NUMBERS += ["1_000", "１", "null", "12 USD", "<html>", "1" * 65, "0." + "0" * 70]


@pytest.mark.parametrize("written", NO_NUMBERS)
def test_what_is_no_price_is_refused_with_its_text(written: str) -> None:
    with pytest.raises(InvalidEntry) as refused:
        canonical_price(written)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("written", ["1e-999999999999", "-1e-999999999999", "1e999999999999", "0e999999999999"])
def test_a_huge_exponent_is_refused_without_writing_out_its_zeros(written: str) -> None:
    with pytest.raises(InvalidEntry):
        canonical_price(written)


@pytest.mark.parametrize("written", ["0", "0.00", "-0", "-0.0", "0e-999999999999", "0E+9"])
def test_a_volume_may_be_zero_however_it_is_written(written: str) -> None:
    assert canonical_decimal(written) == "0"


def test_a_decimal_with_more_than_eight_places_is_refused_and_trailing_zeros_do_not_count() -> None:
    assert decimal_text(Decimal("1.1234567800000")) == "1.12345678"
    with pytest.raises(InvalidEntry, match="more than 8 decimals"):
        decimal_text(Decimal("1.123456781"))


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000+00:00"),
        ("1771105102104", "2026-02-14T21:38:22.104+00:00"),
        (1771105102005, "2026-02-14T21:38:22.005+00:00"),
        (99999999999999, "5138-11-16T09:46:39.999+00:00"),
    ],
)
def test_times_are_the_contracts_text_with_three_digits_of_milliseconds(ms: int | str, text: str) -> None:
    assert iso(ms) == text


@pytest.mark.parametrize("ticker", ["A", "AAPL", "BRK.B", "BTC-USD", "BINANCE:BTCUSDT", "0700.HK", "A" * 32])
def test_well_formed_tickers_are_accepted(ticker: str) -> None:
    assert is_ticker(ticker)


@pytest.mark.parametrize("ticker", ["", "aapl", ".A", "A B", "A\n", "A\t", "A{0}", "É", "Ａ", "A" * 33, "A\0"])
def test_malformed_tickers_are_refused(ticker: str) -> None:
    assert not is_ticker(ticker)


def test_the_fields_of_both_streams_are_those_of_the_contract_in_its_order() -> None:
    assert Tick._fields == ("seq", "ticker", "price", "ts", "source", "volume", "quote_ts", "shed")
    assert Enriched._fields == ("seq", "ticker", "price", "ts", "source", "tick_id", "sma", "alert")


def test_a_good_entry_is_read_field_by_field_and_further_fields_are_no_fault() -> None:
    assert parse_tick({**TICK._asdict(), "later": "x"}) == TICK
    assert parse_enriched({**ENRICHED._asdict(), "later": "x"}) == ENRICHED


def test_optional_fields_may_be_empty() -> None:
    assert parse_tick(TICK._replace(volume="", quote_ts="", shed="")._asdict()).volume == ""
    assert parse_enriched(ENRICHED._replace(sma="", alert="")._asdict()).alert == ""
    assert parse_enriched(ENRICHED._replace(sma="0")._asdict()).sma == "0"


GOOD = {
    "seq": r"[1-9]\d{0,15}",
    "ticker": r"[A-Z0-9][A-Z0-9.:\-]{0,31}",
    "price": r"(?!0$)" + CONTRACT_PRICE.pattern,
    "ts": r"(0|[1-9]\d{0,13})",
    "source": r"[a-z][a-z0-9\-]{0,31}",
    "volume": rf"({CONTRACT_PRICE.pattern})?",
    "quote_ts": r"(0|[1-9]\d{0,13})?",
    "shed": r"\d{0,15}",
    "tick_id": r"\d{1,20}-\d{1,20}",
    "sma": rf"({CONTRACT_PRICE.pattern})?",
    "alert": "(bullish|bearish)?",
}
BAD = {
    "seq": ["", "0", "01", "-1", "1.0", "x", "1" * 17, "١"],
    "ticker": ["", "aapl", "A" * 33, "A B"],
    "price": ["", "0", "0.0", "1.0", "-1", "1e2", "NaN", "1" * 13, "0.123456789", "01"],
    "ts": ["", "-1", "00", "01", "1" * 15, "1.5", "yesterday", "١٢"],
    "source": ["", "Finnhub", "a_b", "9a", "a" * 33],
    "volume": ["-1", "1.0", "x"],
    "quote_ts": ["x", "00", "1" * 15],
    "shed": ["x", "-1", "1" * 16],
    "tick_id": ["", "1-١", "1", "1-", "-1", "1-1-1", "1" * 21 + "-0"],
    "sma": ["x", "1.0", "-1"],
    "alert": ["Bullish", "up", " "],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in Tick._fields for value in BAD[field]])
def test_a_bad_field_of_a_tick_is_named_with_its_value(field: str, value: str) -> None:
    with pytest.raises(InvalidEntry, match=rf"^{field} ") as refused:
        parse_tick({**TICK._asdict(), field: value})
    assert value[:64] in str(refused.value)


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in Enriched._fields for value in BAD[field]])
def test_a_bad_field_of_an_enriched_event_is_named(field: str, value: str) -> None:
    with pytest.raises(InvalidEntry, match=rf"^{field} "):
        parse_enriched({**ENRICHED._asdict(), field: value})


@pytest.mark.parametrize("field", Tick._fields)
def test_a_missing_field_of_a_tick_is_named(field: str) -> None:
    fields = TICK._asdict()
    del fields[field]
    with pytest.raises(InvalidEntry, match=rf"^field {field} is missing$"):
        parse_tick(fields)


@pytest.mark.parametrize("field", Enriched._fields)
def test_a_missing_field_of_an_enriched_event_is_named(field: str) -> None:
    fields = ENRICHED._asdict()
    del fields[field]
    with pytest.raises(InvalidEntry, match=rf"^field {field} is missing$"):
        parse_enriched(fields)


@pytest.mark.parametrize(("read", "event"), [(read_tick, TICK), (read_enriched, ENRICHED)])
def test_a_tab_in_a_name_does_not_pass_for_the_one_between_two_items(
    read: Callable[[list[str]], Tick | Enriched], event: Tick | Enriched
) -> None:
    """Else the entry has fewer values than it seems to, and whoever unpacks them fails again and again."""
    items = [item for pair in event._asdict().items() for item in pair]
    assert read(items) == event
    with pytest.raises(InvalidEntry, match=r"^field seq is missing$"):
        read(["\t".join(items[:2]), "\t".join(items[2:4]), *items[4:]])


def test_a_tab_in_a_field_does_not_pass_for_the_next_field() -> None:
    """The fields are judged as one line with tabs between them: a value with a tab must not shift the others."""
    shifted = {**TICK._asdict(), "seq": "812\tBRK.B", "ticker": "255.78", "price": "1771105101950", "ts": "finnhub", "source": ""}
    with pytest.raises(InvalidEntry, match=r"^seq '812\\tBRK.B'"):
        parse_tick(shifted)


def values_of(field: str) -> st.SearchStrategy[str]:
    good = [getattr(TICK, field, None) or getattr(ENRICHED, field)]
    nasty = st.text(alphabet="019.-\t\nAaé١ ", max_size=6)
    return st.sampled_from([*good * 6, *BAD[field]]) | nasty.flatmap(lambda tail: st.sampled_from([tail, good[0] + tail, tail + good[0]]))


def first_bad(fields: dict[str, str]) -> str | None:
    names = Tick._fields if "shed" in fields else Enriched._fields
    return next((name for name in names if not re.fullmatch(GOOD[name], fields[name], re.ASCII)), None)


@given(st.fixed_dictionaries({field: values_of(field) for field in Tick._fields}))
def test_a_tick_is_accepted_exactly_if_each_field_is_good_and_the_first_bad_one_is_named(fields: dict[str, str]) -> None:
    bad = first_bad(fields)
    if bad is None:
        assert parse_tick(fields) == Tick(**fields)
    else:
        with pytest.raises(InvalidEntry, match=rf"^{bad} "):
            parse_tick(fields)


@given(st.fixed_dictionaries({field: values_of(field) for field in Enriched._fields}))
def test_an_enriched_event_is_accepted_exactly_if_each_field_is_good(fields: dict[str, str]) -> None:
    bad = first_bad(fields)
    if bad is None:
        assert parse_enriched(fields) == Enriched(**fields)
    else:
        with pytest.raises(InvalidEntry, match=rf"^{bad} "):
            parse_enriched(fields)
