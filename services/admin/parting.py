"""What the end of a connection to a gateway means: why it ended, whether to come back, and when. Pure.

Source: the table of close codes in docs/websocket.md.
"""

import re
from dataclasses import dataclass
from http import HTTPStatus

NEVER = (1002, 1007, 1009, 4400, 4403)
ONLY_WITH_A_NEW_TOKEN = 4401
"""There is no other token to try than the one that was refused."""

WAIT_OUT = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
"""The answers of the 400s that another try may change."""

MOST_HINT_SECONDS = 60.0

_HINT = re.compile(r"(?:; )?reconnect in (\d{1,6}(?:\.\d{1,3})?) s$")
_ERRNO = re.compile(r"\[Errno (\d+)\]")


@dataclass(frozen=True)
class Parting:
    """The end of a connection, or of the try to open one."""

    reason: str
    is_final: bool = False
    """Another try would end the same way."""
    hint_seconds: float | None = None
    """When the gateway asks us to come back."""


def judge_close(code: int, text: str) -> Parting:
    """Read a close frame: its code and its reason."""
    hint = _HINT.search(text)
    reason = f"{_HINT.sub('', text) or 'closed'}, code {code}"
    seconds = min(float(hint[1]), MOST_HINT_SECONDS) if hint else None
    return Parting(reason, is_final=code in (*NEVER, ONLY_WITH_A_NEW_TOKEN), hint_seconds=seconds)


def judge_answer(status: int, body: str, retry_after: str) -> Parting:
    """Read an HTTP answer to the handshake that is no upgrade."""
    words = " ".join(body.split())[:80]
    is_final = 400 <= status < 500 and status not in WAIT_OUT
    seconds = min(float(retry_after), MOST_HINT_SECONDS) if retry_after.isascii() and retry_after.isdigit() else None
    return Parting(f"HTTP {status}{f', {words}' if words else ''}", is_final=is_final, hint_seconds=seconds)


def error_numbers(text: str) -> list[int]:
    """The numbers in the text of an `OSError` that stands for several: a name that has several addresses."""
    return [int(number) for number in _ERRNO.findall(text)]
