"""What the library and the system raise when a connection ends or cannot be opened, as a parting."""

import os
import re

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from tickstream_client.messages import NotAMessage
from tickstream_client.parting import NO_GATEWAY, Parting, judge_answer, judge_close, printable

Ended = (OSError, WebSocketException)
"""What is raised where nothing but the network is asked."""

_ERRNO = re.compile(r"\[Errno (\d+)\]")


def parting_of(error: Exception) -> Parting:
    """Why it ended, in words, and what follows from it."""
    match error:
        case NotAMessage():
            return NO_GATEWAY
        case ConnectionClosed():
            close = error.rcvd or error.sent
            return judge_close(close.code, close.reason) if close else Parting("connection lost")
        case InvalidStatus():
            answer = error.response
            body = (answer.body or b"").decode(errors="replace").strip()
            return judge_answer(answer.status_code, body, answer.headers.get("Retry-After", ""))
        case _:
            return Parting(printable(_words(error)))


def _words(error: Exception) -> str:
    """What the system says; asyncio puts the address in place of it, and one such text per address of a name."""
    text = str(error)
    numbers = error_numbers(text) if "Connect call failed" in text else []
    if numbers:
        return os.strerror(numbers[0]).lower()
    return (error.strerror if isinstance(error, OSError) else None) or text or type(error).__name__


def error_numbers(text: str) -> list[int]:
    """The numbers in the text of an `OSError` that stands for several: a name that has several addresses."""
    return [int(number) for number in _ERRNO.findall(text)]
