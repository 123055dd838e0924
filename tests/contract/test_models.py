"""The models say what the pipeline's own code says: same patterns, same order, same codes and bounds."""

import json
import re
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from services.gateway import protocol
from services.gateway.protocol import Position, parse_command
from shared.contract import fields, messages
from shared.contract.entries import ENTRIES
from shared.contract.fields import ISO_TIME, NumberText
from shared.events import ENRICHED_PATTERNS, MARKET_PATTERNS, TICK_PATTERNS, Enriched, Market, Tick, iso
from shared.incarnations import Resolution
from tests.contract.judging import judge_command, judge_entry, judge_message
from tests.contract.recording import COMMANDS

PATTERNS = {"ticks": TICK_PATTERNS, "enriched": ENRICHED_PATTERNS, "market": MARKET_PATTERNS}
WRITTEN: dict[str, type[Tick] | type[Enriched] | type[Market]] = {"ticks": Tick, "enriched": Enriched, "market": Market}
TICK = dict(zip(TICK_PATTERNS, ("1", "AAPL", "1.5", "1771105101950", "simulated", "", "", ""), strict=True))
UPDATE = (
    '{"type":"stock_update","timestamp":"2026-02-14T21:38:22.104+00:00","cursor":"a","snapshot":true,"stocks":[{"ticker":"AAPL",'
    '"price":255.78,"sma":null,"alert":null,"ts":"2026-02-14T21:38:21.950+00:00","seq":812}],"alerts":[]}'
)


@pytest.mark.parametrize("stream", WRITTEN)
def test_entries_have_the_fields_that_are_written_in_their_order(stream: str) -> None:
    assert tuple(ENTRIES[stream].model_fields) == WRITTEN[stream]._fields == tuple(PATTERNS[stream])


@pytest.mark.parametrize("stream", PATTERNS)
def test_entries_are_judged_by_the_patterns_of_the_pipeline(stream: str) -> None:
    schema = ENTRIES[stream].model_json_schema()["properties"]
    assert {name: field["pattern"] for name, field in schema.items()} == {
        name: f"^(?:{pattern})$" for name, pattern in PATTERNS[stream].items()
    }


def test_bounds_and_codes_are_those_of_the_gateway() -> None:
    assert (messages.MOST_PER_MESSAGE, messages.MOST_TICKERS) == (protocol.MOST_PER_MESSAGE, protocol.MOST_TICKERS)
    assert set(get_args(messages.Error.model_fields["code"].annotation)) == set(protocol.ErrorCode)
    assert f"{{1,{protocol.MOST_CURSOR_CHARACTERS}}}" in fields.CURSOR
    assert re.fullmatch(fields.CURSOR, protocol.encode_cursor([Position("1795346662034123-3fa9c1d2", 9)] * 64))


def test_reasons_of_a_loss_are_those_of_the_gateway() -> None:
    schema = messages.StockUpdate.model_json_schema()["properties"]["reason"]
    assert set(schema["enum"]) == {"gap", Resolution.REWIND.name.lower(), Resolution.RESET.name.lower()}


@pytest.mark.parametrize("ms", [0, 1, 1771105101950, 253_402_300_799_999])
def test_times_are_spelled_as_the_pipeline_spells_them(ms: int) -> None:
    assert re.fullmatch(ISO_TIME, iso(ms))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ticker", "aapl"), ("ticker", "AAPL\n"), ("price", "0"), ("price", "1.50"), ("price", "1e3"), ("price", "٣"), ("ts", ""),
        ("seq", "0"), ("seq", 1), ("shed", "-1"), ("volume", None),
    ],
)  # fmt: skip
def test_value_that_no_entry_may_have_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=name):
        judge_entry("ticks", {**TICK, name: value})


def test_entry_with_a_field_more_or_in_another_order_is_refused() -> None:
    judge_entry("ticks", TICK)
    with pytest.raises(AssertionError, match="ticks: fields"):
        judge_entry("ticks", {**TICK, "venue": "X"})
    with pytest.raises(AssertionError, match="ticks: fields"):
        judge_entry("ticks", dict(reversed(TICK.items())))


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        ('"price":255.78', '"price":255.780'), ('"price":255.78', '"price":0'), ('"price":255.78', '"price":"255.78"'),
        ('"price":255.78', '"price":2.5e2'), ('"price":255.78', '"price":true'), ('"price":255.78', '"price":1000000000000'),
        ('"seq":812', '"seq":812.0'), ('"seq":812', '"seq":0'), ('"sma":null,', ""), ('"cursor":"a",', ""),
        ('"cursor":"a"', '"cursor":null'),
        ('"cursor":"a"', '"cursor":"a","more":true'), ('"cursor":"a"', '"cursor":"a+"'), ('"alerts":[]', '"alerts":[],"skipped":0'),
        ('"alerts":[]', '"alerts":[],"reason":"other"'), ('22.104+00:00"', '22.104Z"'), ('"alerts":[]', '"alerts":[],"more_of_it":1'),
        ('"ticker":"AAPL"', '"ticker":"AAPL","name":"Apple"'),
    ],
)  # fmt: skip
def test_message_that_is_not_of_the_contract_is_refused(what: str, instead: str) -> None:
    judge_message(UPDATE)
    assert what in UPDATE
    with pytest.raises(ValidationError):
        judge_message(UPDATE.replace(what, instead))


def test_numbers_are_the_characters_that_were_sent() -> None:
    for text in ("0.00000001", "999999999999.99999999", "12"):
        update = judge_message(UPDATE.replace("255.78", text))
        assert isinstance(update, messages.StockUpdate)
        assert f"{update.stocks[0].price:f}" == text
    assert NumberText("1.5") == "1.5"


@pytest.mark.parametrize("command", [each for kind in COMMANDS.values() for each in kind])
def test_gateway_understands_every_command_of_the_contract(command: dict[str, Any]) -> None:
    judge_command(json.dumps(command))
    assert type(parse_command(json.dumps(command))).__name__.lower() == command["action"]
