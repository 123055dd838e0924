"""The tick that a dead letter stands for, if it stands for one. Pure.

Each kind of letter has a payload of its own: the JSON of an entry of `ticks:{p}`, the values of a tick that was ahead of
time, a line of a replayed file, an answer of a provider. What the letter does not tell may be given with it.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from shared.csv_ticks import SOURCE, columns_of, epoch_ms, split_line
from shared.deadletters import FUTURE_REASON, PAYLOAD_BYTES, Letter
from shared.errors import InvalidEntry
from shared.events import Tick, canonical_decimal, canonical_price, parse_tick
from shared.partitions import partition_of

Fields = Mapping[str, str]
"""Fields of a tick by name, as text that is not judged yet."""

GIVEN = ("ticker", "price", "ts", "source", "volume", "quote_ts")
"""Fields that an operator may give."""
NEEDED = ("ticker", "price", "ts", "source")
_VALUES = Tick._fields[1:]
_SOME_SEQ = "1"
"""The real one is given by the call that appends."""

_answer_reason = re.compile(r"([a-z\-]+) ([^ ]{1,32}): .*", re.DOTALL).fullmatch
_seq_reason = re.compile(r"seq \d+ (?:is not above|was never assigned).*", re.DOTALL).fullmatch


def tick_in(letter: Letter, partitions: int, given: Fields | None = None) -> Tick:
    """The tick to append for a letter, with `given` fields in place of its own; raise `InvalidEntry` that says why there is none."""
    if letter.is_cut:
        raise InvalidEntry(f"its payload was cut at {PAYLOAD_BYTES} bytes")
    tick = _tick({**fields_of(letter), **(given or {})})
    place = partition_of(tick.ticker, partitions)
    if place != letter.partition:
        raise InvalidEntry(f"{tick.ticker} belongs to partition {place}, the letter lies in {letter.partition}; replay the row from a file")
    return tick


def ticker_of(letter: Letter) -> str:
    """The ticker that a letter names; empty for none."""
    try:
        return fields_of(letter).get("ticker", "")
    except InvalidEntry:
        return ""


def fields_of(letter: Letter) -> Fields:
    """What a letter tells of its tick; raise `InvalidEntry` if it is of no kind that can be one."""
    if letter.stream == "ticks":
        return _of_entry(letter)
    if letter.reason == FUTURE_REASON:
        return dict(zip(_VALUES, letter.payload.split(","), strict=False))
    if letter.reason.startswith("line "):
        return _of_line(letter)
    if found := _answer_reason(letter.reason):
        return {"source": found[1], "ticker": found[2], **_of_answer(letter.payload)}
    raise InvalidEntry("this version knows no such letters")


def _of_entry(letter: Letter) -> Fields:
    if _seq_reason(letter.reason):
        raise InvalidEntry("its seq was refused: it may be the copy of a tick that was processed")
    entry = _object(letter.payload)
    return {name: str(value) for name, value in entry.items() if name in _VALUES}


def _of_line(letter: Letter) -> Fields:
    columns = columns_of(letter.reason)
    fields = split_line(letter.payload.encode())
    if columns is None or len(fields) != len(columns.names):
        raise InvalidEntry("its line has the wrong number of columns")
    return {"source": SOURCE, **dict(zip(columns.names, fields, strict=True))}


def _of_answer(payload: str) -> Fields:
    """Price and time of a quote; when it was asked for, which is the event time, no answer tells."""
    try:
        answer = _object(payload)
    except InvalidEntry:
        return {}
    price, seconds = str(answer.get("c", "")), str(answer.get("t", ""))
    quote = {"price": price, "quote_ts": f"{seconds}000"}
    return quote if seconds.isdigit() else {}


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        raise InvalidEntry("its payload is not JSON") from None
    if not isinstance(found, dict):
        raise InvalidEntry("its payload is not a JSON object")
    return found


def _tick(fields: Fields) -> Tick:
    for name in NEEDED:
        if not fields.get(name):
            raise InvalidEntry(f"{name} is missing (--set {name}=… gives it)")
    values = {name: fields.get(name, "") for name in Tick._fields}
    values |= {"seq": _SOME_SEQ, "price": canonical_price(values["price"]), "ts": epoch_ms(values["ts"])}
    if values["volume"]:
        values["volume"] = canonical_decimal(values["volume"])
    return parse_tick(values)
