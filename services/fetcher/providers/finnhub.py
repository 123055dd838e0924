"""What Finnhub answers to `GET /quote`: a price that may be published, or the reason why not.

Nothing is taken on trust: known symbols answer zeros at times, errors come with status 200 and as plain text, and a web
page of some proxy is no quote. Source: https://finnhub.io/docs/api/quote and the threads of finnhubio/Finnhub-API.
"""

import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, NamedTuple

from shared.errors import InvalidEntry
from shared.events import BIGGEST_PRICE, MOST_DECIMALS, canonical_price

PER_MINUTE = 60
PER_SECOND = 30
"""What the free plan allows; https://finnhub.io/docs/api/rate-limit."""

KEY_HEADER = "X-Finnhub-Token"
"""Never as `?token=`: a URL ends up in the logs of others."""

FUTURE_SECONDS = 300
"""How far ahead of our clock the provider's may be."""
LONGEST_RESET_SECONDS = 120.0

_WHOLE_SECONDS = re.compile(r"\d{1,11}", re.ASCII)
_LAST_DECIMAL = Decimal(1).scaleb(-MOST_DECIMALS)


class Outcome(StrEnum):
    """What became of a call."""

    OK = "ok"
    UNKNOWN = "unknown"
    ZERO = "zero"
    MALFORMED = "malformed"
    OLDER = "older"
    LIMITED = "limited"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    UNEXPECTED = "unexpected"


class Quote(NamedTuple):
    """A price as the provider gave it."""

    price: str
    """Canonical decimal text."""
    quote_ts: str
    """The provider's own time, epoch milliseconds."""


class Refusal(NamedTuple):
    """Why there is no price."""

    outcome: Outcome
    reason: str
    payload: str = ""
    """What was answered, if that was no quote."""
    retry_after_seconds: float | None = None
    """When the provider will answer again, if it said so."""


class _Number(str):
    """The characters of a JSON number."""

    __slots__ = ()


def read_answer(status: int, headers: Mapping[str, str], body: bytes, now: float) -> Quote | Refusal:
    """Judge an answer that came at `now` (epoch seconds); `headers` by lower-case name."""
    if status != 200:
        return _refuse_status(status, headers, now)
    try:
        return _read_quote(headers, body, now)
    except InvalidEntry as invalid:
        return _refuse_content(str(invalid), body, headers, now)


def _refuse_status(status: int, headers: Mapping[str, str], now: float) -> Refusal:
    match status:
        case 401:
            return Refusal(Outcome.UNAUTHORIZED, "the key is refused (401)")
        case 403:
            return Refusal(Outcome.FORBIDDEN, "not in the plan of this key (403)")
        case 429:
            return Refusal(Outcome.LIMITED, "too many calls (429)", retry_after_seconds=_reset_seconds(headers, now))
        case _ if status >= 500:
            return Refusal(Outcome.SERVER_ERROR, f"status {status}")
        case _:
            return Refusal(Outcome.UNEXPECTED, f"status {status}")


def _reset_seconds(headers: Mapping[str, str], now: float) -> float | None:
    reset = headers.get("x-ratelimit-reset", "")
    if not _WHOLE_SECONDS.fullmatch(reset) or not now < int(reset) <= now + LONGEST_RESET_SECONDS:
        return None
    return int(reset) - now


def _refuse_content(reason: str, body: bytes, headers: Mapping[str, str], now: float) -> Refusal:
    """Content that is no quote: mostly an error that came with status 200, else something to keep as evidence."""
    text = body.decode("utf-8", "backslashreplace")
    said = text[:300].lower()
    if "api limit" in said:
        return Refusal(Outcome.LIMITED, "too many calls", retry_after_seconds=_reset_seconds(headers, now))
    if "invalid api key" in said:
        return Refusal(Outcome.UNAUTHORIZED, "the key is refused")
    if "have access to this resource" in said:
        return Refusal(Outcome.FORBIDDEN, "not in the plan of this key")
    return Refusal(Outcome.MALFORMED, reason, payload=text)


def _read_quote(headers: Mapping[str, str], body: bytes, now: float) -> Quote | Refusal:
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise InvalidEntry(f"content type {kind[:64]!r} instead of JSON")
    answer = _read_json(body)
    price, seconds = _number(answer, "c"), _number(answer, "t")
    if not _WHOLE_SECONDS.fullmatch(seconds):
        raise InvalidEntry(f"t {seconds[:64]!r} is no time in whole seconds")
    is_zero = _is_zero(price)
    if is_zero and int(seconds) == 0 and answer.get("d") is None:
        return Refusal(Outcome.UNKNOWN, "the provider does not know this symbol")
    if is_zero or int(seconds) == 0:
        return Refusal(Outcome.ZERO, "c is 0" if is_zero else "t is 0")
    if int(seconds) > now + FUTURE_SECONDS:
        raise InvalidEntry(f"t {seconds} is in the future")
    return Quote(_price(price), f"{int(seconds)}000")


def _read_json(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body.decode(), parse_float=_Number, parse_int=_Number, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise InvalidEntry("not JSON") from None
    if not isinstance(answer, dict):
        raise InvalidEntry("not a JSON object")
    return answer


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _number(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, _Number):
        raise InvalidEntry(f"{name} is {'missing' if name not in answer else 'no number'}")
    return value


def _is_zero(number: str) -> bool:
    return not re.search("[1-9]", number.lower().partition("e")[0])


def _price(number: str) -> str:
    """Canonical text; decimals beyond the eighth are the noise of the provider's binary floats."""
    try:
        value = Decimal(number)
    except InvalidOperation:
        raise InvalidEntry(f"c {number[:64]!r} is no price") from None
    if len(number) <= 64 and _LAST_DECIMAL <= value < BIGGEST_PRICE:
        decimals = -int(value.as_tuple().exponent)  # a number within these bounds is finite: no letter stands for its exponent
        number = str(value.quantize(_LAST_DECIMAL)) if decimals > MOST_DECIMALS else number
    return canonical_price(number)
