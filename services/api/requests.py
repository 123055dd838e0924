"""Around every request: its id, its line in the log, its place in the metrics, and the headers that every answer has."""

import re
import time
from collections.abc import Iterable
from secrets import token_hex

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import metrics

REQUEST_ID = "X-Request-Id"
_SANE = re.compile(rb"[A-Za-z0-9._\-]{1,64}")
CLIENT_LEFT = 499
"""As nginx writes it down; nobody is sent it."""
NO_ROUTE = "other"
EVERY_ANSWER = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}

log = structlog.get_logger(__name__)


class CutOff(Exception):
    """The rest of an answer that began cannot be had: it ends without the mark of its end, so that nobody takes it for whole."""


class Observed:
    """The app, observed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; whatever the app raises is logged here, once, and goes no further."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        # The server leaves out the body of an answer to HEAD by itself; to routes it is a GET.
        scope = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        scope["request_id"] = _request_id(scope["headers"])
        answer = _Answer(send, scope["request_id"])
        with structlog.contextvars.bound_contextvars(request_id=scope["request_id"]):
            began = time.perf_counter()
            try:
                await self._app(scope, receive, answer.send)
            except ClientDisconnect:
                pass
            except CutOff as error:
                log.warning("file cut off", path=scope["path"], reason=str(error.__cause__))
            except Exception:
                log.exception("fault", path=scope["path"])
            finally:
                _note(scope, answer, time.perf_counter() - began)


class _Answer:
    """What is sent: given its headers, and remembered."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status = CLIENT_LEFT
        self.is_whole = False

    async def send(self, message: Message) -> None:
        """Pass on a message."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self._request_id
            for name, value in EVERY_ANSWER.items():
                headers.setdefault(name, value)
        await self._send(message)
        self.is_whole = self.is_whole or (message["type"] == "http.response.body" and not message.get("more_body"))


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The caller's, so that logs of both can be put side by side; our own if that could upset a log."""
    given = next((value for name, value in headers if name == REQUEST_ID.lower().encode()), b"")
    return given.decode() if _SANE.fullmatch(given) else token_hex(8)


def _note(scope: Scope, answer: _Answer, seconds: float) -> None:
    status = answer.status if answer.is_whole else CLIENT_LEFT
    route = getattr(scope.get("route"), "path", NO_ROUTE)
    metrics.API_REQUESTS.labels(route, str(status)).inc()
    metrics.API_REQUEST_SECONDS.labels(route).observe(seconds)
    tell = log.warning if status >= 500 else log.debug
    tell("request", path=scope["path"], route=route, status=status, ms=round(seconds * 1000, 1))
