"""`/api/stocks/{ticker}/ticks`: the history of a ticker, in pages or as a file."""

import csv
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from io import StringIO
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from services.api import json_text
from services.api.answers import json_answer
from services.api.database import Lane
from services.api.keyset import Place, encode_cursor
from services.api.models import TickPage, problems
from services.api.parameters import MOST_ROWS, ROWS, Cursor, End, Start, Ticker, place_behind
from services.api.requests import CutOff
from services.api.sources import Asked
from services.api.spans import BEGIN_OF_TIME
from services.api.unavailable import Unavailable

CHUNK_ROWS = 2000
COLUMNS = ("ticker", "price", "ts", "source", "volume")

router = APIRouter(prefix="/api/stocks", tags=["history"])


class Format(StrEnum):
    """How the ticks are written."""

    JSON = "json"
    CSV = "csv"


OfFormat = Annotated[Format, Query(description="`csv`: every tick of the span as a file, in one answer.")]
MostTicks = Annotated[
    int | None, Query(ge=1, le=MOST_ROWS, description=f"At most so many items; {ROWS} if not given, but every one in a file.")
]
CSV_CONTENT = {"text/csv": {"schema": {"type": "string"}}}
ANSWERS: dict[int | str, dict[str, Any]] = {200: {"description": "A page, or a file", "content": CSV_CONTENT}, **problems(422, 503)}


@router.get("/{ticker}/ticks", response_model=TickPage, responses=ANSWERS)
async def ticks(
    ticker: Ticker,
    sources: Asked,
    start: Start = None,
    end: End = None,
    limit: MostTicks = None,
    cursor: Cursor = None,
    format: OfFormat = Format.JSON,  # the contract's name
) -> Response:
    """The ticks of a ticker, newest first."""
    span = Span(ticker, start or BEGIN_OF_TIME, place_behind(cursor, end))
    if format is Format.CSV:
        return await as_file(sources.database.long, span, limit)
    rows = await span.page(sources.database.pages, (limit or ROWS) + 1)
    return json_answer(page_of(rows, limit or ROWS, json_text.tick))


class Span:
    """The ticks of a ticker from a time on, up to a place."""

    def __init__(self, ticker: str, start: Any, place: Place) -> None:
        self.ticker = ticker
        self._start = start
        self._place = place

    async def page(self, lane: Lane, rows: int) -> Sequence[Any]:
        """So many rows at the place."""
        return await lane.rows("ticks", self.ticker, self._start, *self._place, rows)

    def after(self, row: Any) -> "Span":
        """What comes after a row."""
        return Span(self.ticker, self._start, place_of(row))


def place_of(row: Any) -> Place:
    """The place of a row in the order."""
    return Place(row["ts"], row["incarnation"], row["partition"], row["seq"])


def page_of(rows: Sequence[Any], limit: int, text: Any) -> bytes:
    """A page of at most `limit` items, of rows that were asked for with one more: it tells whether there is a next page."""
    following = encode_cursor(place_of(rows[limit - 1])) if len(rows) > limit else None
    return json_text.page(map(text, rows[:limit]), following)


async def as_file(lane: Lane, span: Span, limit: int | None) -> Response:
    """A file of any length, in constant memory. The first rows are read before the answer begins: it may still be an error."""
    rows = await span.page(lane, min(limit or CHUNK_ROWS, CHUNK_ROWS))
    headers = {"Content-Disposition": f'attachment; filename="{span.ticker.replace(":", "_")}-ticks.csv"', "Cache-Control": "no-store"}
    chunks = _chunks(lane, span, rows, is_all=limit is not None)
    return StreamingResponse(chunks, headers=headers, media_type="text/csv; charset=utf-8")


async def _chunks(lane: Lane, span: Span, rows: Sequence[Any], *, is_all: bool) -> AsyncIterator[bytes]:
    """Each chunk is a query of its own: while a slow client reads, no connection and no snapshot of the tables is held."""
    yield ",".join(COLUMNS).encode() + b"\r\n"
    while rows:
        yield _lines(rows)
        if is_all or len(rows) < CHUNK_ROWS:
            return
        span = span.after(rows[-1])
        try:
            rows = await span.page(lane, CHUNK_ROWS)
        except Unavailable as error:
            raise CutOff from error


def _lines(rows: Sequence[Any]) -> bytes:
    text = StringIO()
    csv.writer(text).writerows((row["ticker"], row["price"], json_text.time_text(row["ts"]), row["source"], row["volume"]) for row in rows)
    return text.getvalue().encode()
