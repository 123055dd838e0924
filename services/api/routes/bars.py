"""`/api/stocks/{ticker}/bars`: open, high, low and close of intervals."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response

from services.api import json_text
from services.api.answers import json_answer
from services.api.database import Database
from services.api.models import BarSeries, problems
from services.api.parameters import End, Start, Ticker
from services.api.problems import BadParameter
from services.api.sources import Asked
from services.api.spans import BEGIN_OF_TIME, END_OF_TIME, Interval, align_down, align_up

BARS = 1000
MOST_BARS = 10_000

router = APIRouter(prefix="/api/stocks", tags=["history"])

OfInterval = Annotated[Interval, Query(description="How long a bar is.")]


@router.get("/{ticker}/bars", response_model=BarSeries, responses=problems(422, 503))
async def bars(
    ticker: Ticker, sources: Asked, interval: OfInterval = Interval.ONE_MINUTE, start: Start = None, end: End = None
) -> Response:
    """The bars that begin within the span, oldest first, aligned to UTC; each is of its whole interval.

    Intervals without a tick are left out. Without `start`: the 1 000 intervals up to the newest tick. A span may hold
    10 000 intervals from its first to its last tick.
    """
    length = interval.duration
    begin = align_up(start or BEGIN_OF_TIME, length)
    until = align_up(end or END_OF_TIME, length)
    newest = await sources.database.pages.value("newest_tick", ticker, begin, until)
    if newest is None:
        return json_answer(json_text.series(()))
    last = align_down(newest, length)
    if start is None:
        begin = max(begin, last - (BARS - 1) * length)
    else:
        await _check_length(sources.database, ticker, interval, begin, last)
    rows = await sources.database.long.rows("bars", ticker, begin, last + length, length)
    return json_answer(json_text.series(map(json_text.bar, rows)))


async def _check_length(database: Database, ticker: str, interval: Interval, begin: datetime, last: datetime) -> None:
    if last - begin < MOST_BARS * interval.duration:
        return
    oldest = await database.pages.value("oldest_tick", ticker, begin, last)
    if oldest is not None and last - align_down(oldest, interval.duration) >= MOST_BARS * interval.duration:
        raise BadParameter("start", f"more than {MOST_BARS} intervals of {interval} lie between it and the last tick; take a longer one")
