"""`/healthz`: whether Redis and PostgreSQL answer."""

import asyncio
from collections.abc import Awaitable

import structlog
from fastapi import APIRouter, Request, Response

from services.api.answers import json_answer
from services.api.models import Healthy, problems
from services.api.problems import unavailable
from services.api.sources import Asked

ANSWER_SECONDS = 2.0
log = structlog.get_logger(__name__)
router = APIRouter(tags=["health"])


@router.get("/healthz", response_model=Healthy, responses=problems(503))
async def healthz(request: Request, sources: Asked) -> Response:
    """200, or 503 naming what is down."""
    asked = {"redis": sources.latest.ping(), "postgresql": sources.database.check(sources.settings.partitions)}
    answers = await asyncio.gather(*(_answers(name, question) for name, question in asked.items()))
    down = [name for name, is_up in zip(asked, answers, strict=True) if not is_up]
    if down:
        return unavailable(request, f"does not answer: {', '.join(down)}", down)
    response = json_answer(b'{"status":"ok"}')
    response.headers["Cache-Control"] = "no-store"
    return response


async def _answers(name: str, question: Awaitable[object]) -> bool:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await question
    except Exception as error:  # whatever it is, the server cannot be used
        log.debug("does not answer", server=name, reason=str(error) or type(error).__name__)
        return False
    return True
