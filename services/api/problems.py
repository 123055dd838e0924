"""What went wrong, as the RFC 9457 problem documents of the contract. No text of an exception that was not foreseen gets out."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from services.api.unavailable import Unavailable

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 5
log = structlog.get_logger(__name__)


class BadParameter(Exception):
    """A parameter that is wrong together with what the tables hold, or with another parameter."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(parameter, message)
        self.parameter = parameter
        self.message = message


def problem(
    request: Request,
    status: int,
    detail: str,
    *,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    down: Sequence[str] = (),
) -> Response:
    """A problem document about the request."""
    body: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": request.url.path,
        "request_id": request.scope.get("request_id", ""),
    }
    if down:
        body["down"] = down
    if errors:
        body["errors"] = errors
    return Response(msgspec.json.encode(body), status, {"Cache-Control": "no-store", **(headers or {})}, MEDIA_TYPE)


def unavailable(request: Request, detail: str, down: Sequence[str] = ()) -> Response:
    """503: worth another try soon."""
    return problem(request, 503, detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)}, down=down)


def answer_with_problems(app: FastAPI) -> None:
    """Let every error of the app be a problem document."""
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_parameters)
    app.add_exception_handler(BadParameter, _on_bad_parameter)
    app.add_exception_handler(Unavailable, _on_unavailable)
    app.add_exception_handler(Exception, _on_fault)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    details = {404: f"there is nothing at {request.url.path}", 405: "this service only reads: GET"}
    detail = error.detail if error.detail != HTTPStatus(error.status_code).phrase else details.get(error.status_code, error.detail)
    headers = {"Allow": "GET, HEAD"} if error.status_code == 405 else error.headers
    return problem(request, error.status_code, detail, headers=headers)


async def _on_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _bad([{"parameter": str(detail["loc"][-1]), "message": _message(detail)} for detail in error.errors()], request)


async def _on_bad_parameter(request: Request, error: Exception) -> Response:
    assert isinstance(error, BadParameter)
    return _bad([{"parameter": error.parameter, "message": error.message}], request)


def _bad(errors: Sequence[Mapping[str, str]], request: Request) -> Response:
    names = ", ".join(dict.fromkeys(error["parameter"] for error in errors))
    return problem(request, 422, f"wrong parameter: {names}", errors=errors)


def _message(detail: Mapping[str, Any]) -> str:
    return str(detail["msg"]).removeprefix("Value error, ")


async def _on_unavailable(request: Request, error: Exception) -> Response:
    assert isinstance(error, Unavailable)
    log.warning("cannot be asked", server=error.what, reason=error.reason, path=request.url.path)
    return unavailable(request, f"{error.what} cannot be asked now")


async def _on_fault(request: Request, error: Exception) -> Response:
    """The error itself is logged by `services.api.requests`, which gets it after this."""
    return problem(request, 500, "this is a fault of the service; its log tells more under the request_id")
