"""`/api/days`: how the day of each of many tickers went so far, for a list that shows them all."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator
from pydantic.json_schema import WithJsonSchema

from services.api import json_text
from services.api.answers import json_answer
from services.api.models import Day, problems
from services.api.sources import Asked
from shared.events import TICKER

MOST_TICKERS = 100
MOST_POINTS = 100
RECENT = timedelta(days=4)
"""Longer than a weekend: what was traded last is looked for there first."""

LIST = re.compile(f"{TICKER}(?:,{TICKER})*", re.ASCII)
LIST_SCHEMA = {"type": "string", "pattern": f"^{TICKER}(,{TICKER}){{0,{MOST_TICKERS - 1}}}$", "examples": ["AAPL,MSFT"]}

router = APIRouter(prefix="/api/days", tags=["history"])


def _names(text: str) -> str:
    if not LIST.fullmatch(text):
        raise ValueError("must be tickers with a comma between them, such as AAPL,MSFT")
    if text.count(",") >= MOST_TICKERS:
        raise ValueError(f"must be {MOST_TICKERS} tickers at most")
    return text


Tickers = Annotated[
    str, AfterValidator(_names), WithJsonSchema(LIST_SCHEMA), Query(description=f"With a comma between them, {MOST_TICKERS} at most.")
]
Points = Annotated[int, Query(ge=0, le=MOST_POINTS, description="At most so many points of each day.")]


@router.get("", response_model=list[Day], responses=problems(422, 503))
async def days(tickers: Tickers, sources: Asked, points: Points = 0) -> Response:
    """Of each ticker the day in UTC of its newest tick, the same that the newest `1d` bar is of; by ticker.

    A ticker that never had a tick is left out. `open` is that of the bar. The points are prices that held at moments evenly
    spaced from the open until the newest tick, oldest first; a tick that held at several of them is one point.
    """
    asked = list(dict.fromkeys(tickers.split(",")))
    rows = await sources.database.long.rows("days", asked, datetime.now(UTC) - RECENT, points)
    return json_answer(json_text.array(map(json_text.day, rows)))
