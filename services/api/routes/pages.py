"""The dashboard, the documentation page and their files: from this host alone, with no way to anything else."""

import mimetypes
from pathlib import Path

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.staticfiles import StaticFiles

from services.api.answers import REVALIDATE, json_or_unchanged
from services.api.gateway_address import gateway_url, origin_of
from services.api.sources import Asked, Sources
from shared.version import version

CLIENT = "feed.js"
"""What pages of anybody may load, which a browser lets them only if it is told so."""

FOLDER = Path(__file__).parents[1] / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'{images}; connect-src 'self'{gateway}; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
CONTENT_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
"""Not left to the machine: its own list may lack one, or call scripts plain text, and then `nosniff` forbids them."""

for _ending, _content_type in CONTENT_TYPES.items():
    mimetypes.add_type(_content_type, _ending)

router = APIRouter(include_in_schema=False)
files = StaticFiles(directory=FOLDER)


@router.get("/")
async def dashboard(request: Request, sources: Asked) -> Response:
    """The dashboard."""
    return await _page(request, "dashboard/index.html", f" {gateway}" if (gateway := origin_of(_gateway(request, sources))) else "")


@router.get("/ops")
async def ops(request: Request) -> Response:
    """The ops view: where it is stuck."""
    return await _page(request, "ops/index.html")


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The documentation. The pictures of its style sheet are within the sheet."""
    return await _page(request, "docs/rest.html", images=" data:")


@router.get("/docs/events")
async def events(request: Request) -> Response:
    """The documentation of streams and WebSocket."""
    return await _page(request, "docs/events.html")


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The OpenAPI document, made from these routes. A file: making it would double the time of every start."""
    return await _file(request, "contract/openapi.json")


@router.get("/asyncapi.json")
async def asyncapi(request: Request) -> Response:
    """The AsyncAPI document, made from the contract's models."""
    return await _file(request, "contract/asyncapi.json")


@router.get("/schemas/{path:path}")
async def schemas(request: Request, path: str) -> Response:
    """A JSON Schema of the contract."""
    return await _file(request, f"contract/{path}")


@router.get("/config.json")
async def config(request: Request, sources: Asked) -> Response:
    """What the dashboard has to know."""
    known = {"gateway": _gateway(request, sources), "sma_period": sources.settings.sma_period, "version": version()}
    return json_or_unchanged(request, msgspec.json.encode(known))


@router.get("/static/{path:path}")
async def static(request: Request, path: str) -> Response:
    """A file of the pages."""
    response = await _file(request, path)
    if path == CLIENT:
        response.headers["Access-Control-Allow-Origin"] = "*"
    return response


async def _page(request: Request, name: str, gateway: str = "", images: str = "") -> Response:
    response = await _file(request, name)
    response.headers["Content-Security-Policy"] = POLICY.format(gateway=gateway, images=images)
    return response


async def _file(request: Request, path: str) -> Response:
    response = await files.get_response(path, request.scope)
    response.headers["Cache-Control"] = REVALIDATE
    return response


def _gateway(request: Request, sources: Sources) -> str:
    """For whom a proxy with TLS stands before us, the proxy says so; the claim changes nothing but its own answer."""
    is_secure = "https" in (request.url.scheme, request.headers.get("X-Forwarded-Proto"))
    settings = sources.settings
    return gateway_url(settings.gateway_public_url, request.headers.get("Host", ""), settings.gateway_port, is_secure=is_secure)
