"""Logs of every service: one line per event on standard error, JSON unless a terminal reads it; secrets never get there.

Redaction works on the finished line, on the root handler, so that it also holds for tracebacks and for libraries.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO
from urllib.parse import unquote

import structlog
from pydantic import SecretStr

if TYPE_CHECKING:
    from shared.settings import Settings

# To the last @ before the path: a password may hold one.
_USERINFO = re.compile(r"(?<=://)[^/?#\s\"']*(?=@)")
_TOKEN = re.compile(r"(?i)\b(token|api[_-]?key|password)=[^&\s\"']+")
HIDDEN = "***"

NOISY_LIBRARIES = ("httpx", "httpcore", "websockets", "asyncio")
"""They log whole URLs or every connection at INFO."""


class _Redactor(logging.Formatter):
    """Hides known secrets, the user part of every URL, and what looks like a token in a query."""

    def __init__(self, inner: logging.Formatter, secrets: tuple[str, ...]) -> None:
        super().__init__()
        self._inner = inner
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        return redact(self._inner.format(record), self._secrets)


def redact(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Return `text` without the given secrets, without user and password of URLs, without tokens in queries."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return _TOKEN.sub(rf"\1={HIDDEN}", _USERINFO.sub(HIDDEN, text))


def secrets_of(values: Mapping[str, object]) -> tuple[str, ...]:
    """Return the texts that must never be shown: whole secrets, and the passwords within URLs; longest first."""
    secrets = [value.get_secret_value() for value in values.values() if isinstance(value, SecretStr)]
    found = {form for secret in secrets for password in _passwords(secret) for form in _forms(password)}
    return tuple(sorted((form for form in found if len(form) > 3), key=len, reverse=True))


def _passwords(secret: str) -> list[str]:
    _, is_url, rest = secret.partition("://")
    if not is_url:
        return [secret]
    userinfo, _, _ = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")
    return [userinfo.partition(":")[2], *re.findall(r"(?i)[?&]password=([^&#]*)", rest)]


def _forms(password: str) -> set[str]:
    """A password as it may stand in a finished line: as it is, decoded, as `repr` writes it, and each of them in JSON."""
    forms = {password, unquote(password)}
    forms |= {repr(form)[1:-1] for form in forms}
    return forms | {json.dumps(form)[1:-1] for form in forms}


def configure_logging(service: str, settings: "Settings", output: TextIO | None = None) -> None:
    """Send structlog and the standard library's loggers through one handler on `output` (default: standard error)."""
    output = output or sys.stderr
    as_text = settings.log_format == "text" or (settings.log_format is None and output.isatty())
    before: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _name_service(service),
    ]
    last: list[structlog.typing.Processor]
    if as_text:
        last = [structlog.dev.ConsoleRenderer(colors=output.isatty(), exception_formatter=structlog.dev.plain_traceback)]
    else:
        last = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    formatter = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=[remove_meta, *last])
    handler = logging.StreamHandler(output)
    handler.setFormatter(_Redactor(formatter, secrets_of(dict(settings))))
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)
    for library in NOISY_LIBRARIES:
        logging.getLogger(library).setLevel(logging.WARNING)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _name_service(service: str) -> structlog.typing.Processor:
    def add(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    return add
