"""Follows the gateways as any client would, and keeps a board up to date."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import NoReturn
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from services.admin.board import Board, NotAMessage, printable
from services.admin.parting import Parting, error_numbers, judge_answer, judge_close
from shared.backoff import Backoff
from shared.runtime import wait_or_stop

OPEN_SECONDS = 5.0
CLOSE_SECONDS = 1.0
"""Somebody waits for the end of the command, also when the gateway does not answer."""
PING = '{"action":"ping"}'

Hear = Callable[[str | None], None]
"""Called with each message after the board took it, and with None after a connection was opened or ended."""


async def follow(
    urls: Sequence[str], board: Board, ready: asyncio.Event, stop: asyncio.Event, hear: Hear = lambda message: None
) -> str | None:
    """Feed `board` until `stop`, from the next of the gateways whenever one goes away; `ready` is set by the first message.

    Return None after `stop`, or the reason for which coming back is of no use.
    """
    backoff = Backoff(0.1, 2)
    for url in cycle(urls):
        parting = await _follow_one(url, board, ready, backoff, hear)
        board.on_parting(parting.reason)
        hear(None)
        if parting.is_final:
            return parting.reason
        if await wait_or_stop(stop, parting.hint_seconds or backoff.next_seconds()):
            break
    return None


async def _follow_one(url: str, board: Board, ready: asyncio.Event, backoff: Backoff, hear: Hear) -> Parting:
    """Follow one gateway as long as it is there; return why it went away."""
    try:
        # A proxy for outgoing traffic has no business between us and our own gateway.
        async with connect(
            _resuming(url, board.cursor), proxy=None, compression=None, open_timeout=OPEN_SECONDS, close_timeout=CLOSE_SECONDS
        ) as gateway:
            board.on_connect()
            # Answered after the first message and all that goes with it: then a snapshot is complete.
            await gateway.send(PING)
            await _listen(gateway, board, ready, backoff, hear)
    except NotAMessage:
        return Parting("what answers there is no gateway of tickstream", is_final=True)
    except (OSError, WebSocketException) as error:
        return _parting_of(error)


async def _listen(gateway: ClientConnection, board: Board, ready: asyncio.Event, backoff: Backoff, hear: Hear) -> NoReturn:
    while True:
        message = await gateway.recv(decode=True)
        was_connected = board.is_connected
        board.on_message(message, time.monotonic())
        ready.set()
        backoff.reset()
        if not was_connected:
            hear(None)
        hear(message)


def _resuming(url: str, cursor: str) -> str:
    """The URL that asks for the alerts since `cursor` as well."""
    return f"{url}{'&' if '?' in url else '?'}since={quote(cursor)}" if cursor else url


def _parting_of(error: OSError | WebSocketException) -> Parting:
    match error:
        case ConnectionClosed():
            close = error.rcvd or error.sent
            return judge_close(close.code, printable(close.reason)) if close else Parting("connection lost")
        case InvalidStatus():
            answer = error.response
            body = printable((answer.body or b"").decode(errors="replace").strip())
            return judge_answer(answer.status_code, body, answer.headers.get("Retry-After", ""))
        case TimeoutError():
            return Parting(f"no answer within {OPEN_SECONDS:g} s")
        case _:
            return Parting(printable(_words(error)))


def _words(error: Exception) -> str:
    """What the system says; asyncio puts the address in place of it, and one such text per address of a name."""
    text = str(error)
    numbers = error_numbers(text) if "Connect call failed" in text else []
    if numbers:
        return os.strerror(numbers[0]).lower()
    return (error.strerror if isinstance(error, OSError) else None) or text or type(error).__name__
