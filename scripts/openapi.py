"""The OpenAPI document of the REST service, made from its routes."""

from fastapi.openapi.utils import get_openapi

from scripts.json_schemas import Document
from services.api.application import with_routes
from services.api.models import Problem


def openapi_document() -> Document:
    """Every path of the contract, and the problem that any of them may answer with."""
    app = with_routes()
    document = get_openapi(title=app.title, version=app.version, routes=app.routes, summary="Read-only REST of a market-data pipeline")
    schemas = document["components"]["schemas"]
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem
    return document
