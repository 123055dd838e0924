"""What the end of a connection to a gateway means: why it ended, whether to come back, and when. Pure.

Source: the table of close codes in docs/websocket.md.
"""

import re
from dataclasses import dataclass
from http import HTTPStatus

NEVER = (1002, 1007, 1009, 4400, 4403)
UNAUTHORIZED = 4401

WAIT_OUT = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
"""The answers of the 400s that another try may change."""

MOST_HINT_SECONDS = 60.0
"""Whoever answers there, nobody is sent away for longer."""

_HINT = re.compile(r"(?:; )?reconnect in (\d{1,6}(?:\.\d{1,3})?) s$", re.ASCII)


class Refused(Exception):
    """A gateway said no in a way that another try would not change.

    `code` is its close code or HTTP status, None for what is no gateway; `reason` its words.
    """

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class Parting:
    """The end of a connection, or of the try to open one."""

    reason: str
    code: int | None = None
    """Close code or HTTP status, if there was one."""
    is_final: bool = False
    """Another try would end the same way."""
    hint_seconds: float | None = None
    """When the gateway asks us to come back."""


NO_GATEWAY = Parting("what answers there is no gateway of tickstream", is_final=True)


def judge_close(code: int, text: str) -> Parting:
    """Read a close frame: its code and its reason."""
    hint = _HINT.search(text)
    reason = f"{printable(_HINT.sub('', text)) or 'closed'}, code {code}"
    return Parting(reason, code, code in NEVER, min(float(hint[1]), MOST_HINT_SECONDS) if hint else None)


def judge_answer(status: int, body: str, retry_after: str) -> Parting:
    """Read an HTTP answer to the handshake that is no upgrade."""
    words = printable(" ".join(body.split()))[:80]
    is_final = 400 <= status < 500 and status not in WAIT_OUT
    seconds = min(float(retry_after), MOST_HINT_SECONDS) if retry_after.isascii() and retry_after.isdigit() else None
    return Parting(f"HTTP {status}{f', {words}' if words else ''}", status, is_final, seconds)


def printable(text: str) -> str:
    """A stranger's text as a terminal or a log may be given it: without the characters that would steer it."""
    return "".join(character if character.isprintable() else "·" for character in text)
