"""The kinds of values: text that matches one of the pipeline's own patterns, exact numbers, fields that are left out."""

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from shared.events import BIGGEST_PRICE, ENRICHED_PATTERNS, PRICE, TICK_PATTERNS

FIELD_ORDER = "x-field-order"
"""Keyword of our own: JSON has no order of fields, an entry of a stream has."""


class NumberText(str):
    """The characters of a JSON number that is no integer: `json.loads(text, parse_float=NumberText)` keeps what a float would lose."""


@dataclass(frozen=True)
class Matching:
    """Text that matches all of a pattern, as `shared.events` does: ASCII alone, and no line end behind it."""

    pattern: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(schema), "pattern": f"^(?:{self.pattern})$"}

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        # The lookup of `re.fullmatch` costs several times what the match does.
        return re.compile(self.pattern, re.ASCII)

    def _checked(self, text: str) -> str:
        if self._compiled.fullmatch(text) is None:
            raise ValueError(f"{text[:64]!r} does not match {self.pattern}")
        return text


@dataclass(frozen=True)
class LeftOut:
    """Of a field that is left out where it has no value: null is refused, and no schema offers it."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._given, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        with_null = handler(schema)
        given: list[JsonSchemaValue] = [each for each in with_null["anyOf"] if each != {"type": "null"}]
        return given[0]

    def _given(self, value: object) -> object:
        if value is None:
            raise ValueError("null where the field is left out")
        return value


def _exact(value: object) -> Decimal:
    """A number by its characters: as a stream spells it, no exponent, no trailing zeros."""
    if isinstance(value, bool) or not isinstance(value, int | NumberText):
        raise ValueError("not a JSON number")
    if re.fullmatch(PRICE, str(value), re.ASCII) is None and str(value) != str(BIGGEST_PRICE):
        raise ValueError(f"the number {str(value)[:64]} is not spelled as the contract says")
    return Decimal(value)


def _above_zero(value: object) -> Decimal:
    number = _exact(value)
    if not 0 < number < BIGGEST_PRICE:
        raise ValueError(f"the number {number} is not above 0 and below 1e12")
    return number


Price = Annotated[
    Decimal,
    BeforeValidator(_above_zero),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": int(BIGGEST_PRICE)}),
]
Average = Annotated[Decimal, BeforeValidator(_exact), WithJsonSchema({"type": "number", "minimum": 0, "maximum": int(BIGGEST_PRICE)})]

ISO_TIME = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}\+00:00"
INCARNATION = r"\d{1,17}-[0-9a-f]{8}"
CURSOR = r"[A-Za-z0-9_\-]{1,4096}"

Ticker = Annotated[str, Matching(TICK_PATTERNS["ticker"])]
Source = Annotated[str, Matching(TICK_PATTERNS["source"])]
TimeMs = Annotated[str, Matching(TICK_PATTERNS["ts"])]
EntryId = Annotated[str, Matching(ENRICHED_PATTERNS["tick_id"])]
Time = Annotated[str, Matching(ISO_TIME)]
Cursor = Annotated[str, Matching(CURSOR)]


class Described(BaseModel):
    """A part of the contract. Readers ignore fields they do not know; who judges ours forbids them."""

    model_config = ConfigDict(strict=True, frozen=True)
