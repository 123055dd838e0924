"""The parameters of the contract, read and described once for every route."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import AfterValidator, BeforeValidator
from pydantic.json_schema import WithJsonSchema

from services.api.keyset import MOST_CHARACTERS, Place, before, decode_cursor
from services.api.spans import END_OF_TIME, parse_time
from shared.events import TICKER

MOST_ROWS = 1000
ROWS = 100

TIME_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "date"},
        {"type": "integer", "minimum": -62_135_596_800_000, "maximum": 253_402_300_799_999},
    ],
}


class Direction(StrEnum):
    """Whither the price crossed its average."""

    BULLISH = "bullish"
    BEARISH = "bearish"


def _time(value: object) -> object:
    return parse_time(value) if isinstance(value, str) else value


def _a_cursor(text: str | None) -> str | None:
    if text is not None:
        decode_cursor(text)
    return text


Moment = Annotated[datetime, BeforeValidator(_time), WithJsonSchema(TIME_SCHEMA)]

Ticker = Annotated[str, Path(pattern=f"^{TICKER}$", description="Such as `AAPL` or `BRK.B`.")]
TickerFilter = Annotated[str | None, Query(pattern=f"^{TICKER}$", description="Of this ticker only.")]
Start = Annotated[Moment | None, Query(description="From this time on: ISO-8601 (UTC where it names no offset) or epoch milliseconds.")]
End = Annotated[Moment | None, Query(description="Before this time: ISO-8601 (UTC where it names no offset) or epoch milliseconds.")]
Limit = Annotated[int, Query(ge=1, le=MOST_ROWS, description="At most so many items.")]
Cursor = Annotated[
    str | None,
    AfterValidator(_a_cursor),
    Query(max_length=MOST_CHARACTERS, description="`next` of the page before. Opaque; the other parameters must stay the same."),
]


def place_behind(cursor: str | None, end: datetime | None) -> Place:
    """Where a page begins."""
    return decode_cursor(cursor) if cursor is not None else before(end or END_OF_TIME)
