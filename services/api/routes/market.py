"""`/api/market`: whether the exchange trades."""

from fastapi import APIRouter, HTTPException, Request, Response

from services.api import json_text
from services.api.answers import json_or_unchanged
from services.api.models import Market, problems
from services.api.sources import Asked

router = APIRouter(tags=["market"])


@router.get("/api/market", response_model=Market, responses=problems(404, 503))
async def market(request: Request, sources: Asked) -> Response:
    """What was said last of the exchange."""
    heard = await sources.latest.market()
    if heard.market is None:
        raise HTTPException(404, "nothing was said yet of the exchange")
    return json_or_unchanged(request, json_text.market(heard.market))
