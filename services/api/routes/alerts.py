"""`/api/alerts`: every crossover, with the prices it was judged by."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from services.api import json_text
from services.api.answers import json_answer
from services.api.models import AlertPage, problems
from services.api.parameters import ROWS, Cursor, Direction, End, Limit, Start, TickerFilter, place_behind
from services.api.routes.ticks import page_of
from services.api.sources import Asked
from services.api.spans import BEGIN_OF_TIME

router = APIRouter(prefix="/api/alerts", tags=["alerts"])


@router.get("", response_model=AlertPage, responses=problems(422, 503))
async def alerts(
    sources: Asked,
    ticker: TickerFilter = None,
    direction: Annotated[Direction | None, Query(description="Of this direction only.")] = None,
    start: Start = None,
    end: End = None,
    limit: Limit = ROWS,
    cursor: Cursor = None,
) -> Response:
    """The alerts, newest first. What is not known of the evidence is null."""
    directions = [direction] if direction else list(Direction)
    place = place_behind(cursor, end)
    arguments = (directions, start or BEGIN_OF_TIME, *place, limit + 1, sources.settings.sma_period)
    query = ("alerts_of_ticker", *arguments, ticker) if ticker else ("alerts", *arguments)
    return json_answer(page_of(await sources.database.pages.rows(*query), limit, json_text.alert))
