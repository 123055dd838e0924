"""What the routes ask, handed to them by the application."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from services.api.database import Database
from services.api.latest import Latest
from services.api.pipeline import Pipeline
from services.api.settings import ApiSettings


@dataclass(frozen=True)
class Sources:
    """Settings, Redis, PostgreSQL, and both together as operators ask for them."""

    settings: ApiSettings
    latest: Latest
    database: Database
    pipeline: Pipeline


async def _sources(request: Request) -> Sources:
    sources: Sources = request.app.state.sources
    return sources


Asked = Annotated[Sources, Depends(_sources)]
