"""Follows the gateways as any client would, and keeps a board up to date."""

import asyncio
import time
from collections.abc import Callable, Sequence

from tickstream_client import Market, Refused, Status, subscribe
from tickstream_client.subscription import Token

from services.admin.board import Board

LONGEST_WAIT_SECONDS = 1.0
"""Between two tries: somebody is looking."""

UNAUTHORIZED = 4401
TOKEN_ADVICE = "set GATEWAY_TOKEN, or GATEWAY_TOKEN_FILE, to a token that it takes"

Hear = Callable[[str | None], None]
"""Called with each message as it comes, and with None after the board has changed."""


async def follow(urls: Sequence[str], board: Board, ready: asyncio.Event, hear: Hear = lambda message: None, *, token: Token = None) -> str:
    """Feed `board` until cancelled, from the next of the gateways whenever one goes away; `ready` is set by the first message.

    Return the reason for which coming back is of no use.
    """

    def on_status(status: Status) -> None:
        board.on_status(status)
        if status.is_connected:
            ready.set()
        hear(None)

    def on_market(market: Market) -> None:
        board.on_market(market)
        hear(None)

    # A proxy for outgoing traffic has no business between us and our own gateway, which may be asked often.
    subscription = subscribe(
        urls,
        token=token,
        proxy=None,
        longest_wait_seconds=LONGEST_WAIT_SECONDS,
        on_status=on_status,
        on_market=on_market,
        on_message=hear,
    )
    try:
        async with subscription:
            async for update in subscription:
                board.on_update(update, time.monotonic())
                hear(None)
                if update.is_snapshot:
                    # Answered after all that goes with a snapshot: then it is complete.
                    await subscription.ping()
    except Refused as refused:
        return f"{refused.reason}; {TOKEN_ADVICE}" if refused.code == UNAUTHORIZED else refused.reason
    raise AssertionError("a subscription that nobody closes goes on")
