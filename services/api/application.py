"""The FastAPI application: routes, errors, and what stands around every request."""

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp

from services.api.problems import answer_with_problems
from services.api.requests import REQUEST_ID, Observed
from services.api.routes import alerts, bars, days, gaps, health, market, pages, pipeline, stocks, ticks
from services.api.sources import Sources
from shared.version import version

SMALLEST_COMPRESSED_BYTES = 1024
COMPRESSION = 5
"""Close to the best ratio for a third of its time."""


def make_application(sources: Sources) -> ASGIApp:
    """What the server calls."""
    app = with_routes()
    app.state.sources = sources
    answer_with_problems(app)
    app.add_middleware(GZipMiddleware, minimum_size=SMALLEST_COMPRESSED_BYTES, compresslevel=COMPRESSION)
    if sources.settings.api_cors_origins:
        origins = list(sources.settings.api_cors_origins)
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["GET", "HEAD"], expose_headers=["ETag", REQUEST_ID])
    return Observed(app)


def with_routes() -> FastAPI:
    """The routes, and nothing behind them: enough to be described."""
    app = FastAPI(title="tickstream", version=version(), docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    for module in (stocks, ticks, bars, gaps, days, alerts, market, pipeline, health, pages):
        app.include_router(module.router)
    return app
