"""Every code the gateway closes a connection with, and whether the client may come back."""

from collections.abc import Callable
from enum import Enum, auto
from random import random
from typing import NamedTuple

FIRST_HINT_SECONDS = 1.0
LAST_HINT_SECONDS = 5.0


class Reconnect(Enum):
    """What a client does after the close."""

    AFTER_HINT = auto()
    WITH_NEW_TOKEN = auto()
    NEVER = auto()


class CloseCode(NamedTuple):
    """One row of the contract's table."""

    code: int
    reconnect: Reconnect
    meaning: str


GOING_AWAY = CloseCode(1001, Reconnect.AFTER_HINT, "going away")
PROTOCOL_ERROR = CloseCode(1002, Reconnect.NEVER, "protocol error")
NOT_UTF8 = CloseCode(1007, Reconnect.NEVER, "not UTF-8")
MESSAGE_TOO_BIG = CloseCode(1009, Reconnect.NEVER, "message too big")
FAULT = CloseCode(1011, Reconnect.AFTER_HINT, "fault")
RESTART = CloseCode(1012, Reconnect.AFTER_HINT, "restart")
TRY_LATER = CloseCode(1013, Reconnect.AFTER_HINT, "try later")
BAD_MESSAGES = CloseCode(4400, Reconnect.NEVER, "bad messages")
UNAUTHORIZED = CloseCode(4401, Reconnect.WITH_NEW_TOKEN, "unauthorized")
FORBIDDEN = CloseCode(4403, Reconnect.NEVER, "forbidden")
SLOW_CONSUMER = CloseCode(4408, Reconnect.AFTER_HINT, "slow consumer")
TOO_MANY_REQUESTS = CloseCode(4429, Reconnect.AFTER_HINT, "too many requests")

CLOSE_CODES = (
    GOING_AWAY, PROTOCOL_ERROR, NOT_UTF8, MESSAGE_TOO_BIG, FAULT, RESTART, TRY_LATER,
    BAD_MESSAGES, UNAUTHORIZED, FORBIDDEN, SLOW_CONSUMER, TOO_MANY_REQUESTS,
)  # fmt: skip


def reason(close: CloseCode, jitter: Callable[[], float] = random, *, last_hint_seconds: float = LAST_HINT_SECONDS) -> str:
    """Return the text of the close frame: the meaning, and where a return is welcome the seconds to wait, `last_hint_seconds` at most.

    Each client gets seconds of its own: a crowd that is closed at one moment must not come back at one moment.
    """
    if close.reconnect is not Reconnect.AFTER_HINT:
        return close.meaning
    return f"{close.meaning}; reconnect in {hint_seconds(jitter, last_hint_seconds):.1f} s"


def hint_seconds(jitter: Callable[[], float] = random, last_hint_seconds: float = LAST_HINT_SECONDS) -> float:
    """How long one client is asked to wait, `last_hint_seconds` at most; `jitter` gives 0 to 1."""
    return FIRST_HINT_SECONDS + (last_hint_seconds - FIRST_HINT_SECONDS) * jitter()
