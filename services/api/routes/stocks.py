"""`/api/stocks`: the latest values."""

from fastapi import APIRouter, HTTPException, Request, Response

from services.api import json_text
from services.api.answers import json_or_unchanged
from services.api.models import Stock, problems
from services.api.parameters import Ticker
from services.api.sources import Asked

router = APIRouter(prefix="/api/stocks", tags=["stocks"])


@router.get("", response_model=list[Stock], responses=problems(503))
async def latest_of_all(request: Request, sources: Asked) -> Response:
    """The latest value of every ticker, by ticker."""
    return json_or_unchanged(request, json_text.array(map(json_text.stock, await sources.latest.all())))


@router.get("/{ticker}", response_model=Stock, responses=problems(404, 422, 503))
async def latest_of_one(request: Request, ticker: Ticker, sources: Asked) -> Response:
    """The latest value of a ticker."""
    event = await sources.latest.one(ticker)
    if event is None:
        raise HTTPException(404, f"{ticker} never had a price here")
    return json_or_unchanged(request, json_text.stock(event).encode())
