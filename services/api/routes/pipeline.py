"""`/api/pipeline`: where it is stuck."""

from fastapi import APIRouter, Response

from services.api.pipeline_models import Pipeline
from services.api.sources import Asked

router = APIRouter(prefix="/api/pipeline", tags=["operations"])


@router.get("", response_model=Pipeline)
async def pipeline(sources: Asked) -> Response:
    """Rate, lag, age and holders of each partition, dead letters, who holds trimming, and the gateways.

    Always 200: `down` names the servers that do not answer, and the rest is told.
    """
    return Response(await sources.pipeline.answer(), headers={"Cache-Control": "no-store"}, media_type="application/json")
