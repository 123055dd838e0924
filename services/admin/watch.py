"""`tickstream watch`: the prices of a gateway as any client gets them. Asks nothing but the gateway, changes nothing."""

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich.console import Console
from tickstream_client import Market
from tickstream_client.address import complete
from tickstream_client.subscription import Token
from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from services.admin.addresses import gateway_url
from services.admin.arguments import WrongInput, check_ticker
from services.admin.board import Board, alert_text, market_text, trouble
from services.admin.feed import Hear, follow
from services.admin.foreground import ignore_suspension
from services.admin.interrupts import run_until_interrupted
from services.admin.screen import LiveTable, PlainScreen, can_draw
from services.admin.settings import WatchSettings
from services.admin.table import Caption, frame, health
from shared.logging import redact

ONCE_SECONDS = 8.0
"""Longer than a gateway waits for a token before it says that it wants one."""
EVERY_LINE = 100_000
"""A height that holds any number of tickers."""


class Watch:
    """A gateway, what is known of it, and where that is shown."""

    def __init__(self, url: str, token: Token = None) -> None:
        self.url = url
        self._token = token
        self.board = Board()
        self.shown_url = redact(url)

    async def follow(self, hear: Hear) -> str:
        """Follow the gateway; as `feed.follow`."""
        return await follow([self.url], self.board, asyncio.Event(), hear, token=self._token)

    def caption(self) -> Caption:
        """What stands around the table."""
        rate = f"{self.board.updates_per_second(asyncio.get_running_loop().time()):.1f} updates/s"
        return self._caption(rate, f"{self.shown_url} · Ctrl-C ends")

    def still_caption(self) -> Caption:
        """As `caption`, for a table that does not move."""
        return self._caption(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC", self.shown_url)

    def _caption(self, fact: str, footer: str) -> Caption:
        title = f"tickstream watch · {len(self.board.prices)} tickers · {fact}"
        return Caption(title, (health(self.board, datetime.now(UTC), well="connected"),), footer)


def url_of(settings: WatchSettings, given: str, tickers: str) -> str:
    """The URL to connect to: the given one or that of the settings, with the tickers in its query. Raise `WrongInput`."""
    url = given or gateway_url(settings.gateway_host, settings.gateway_port)
    try:
        parse_uri(url)
    except (InvalidURI, ValueError):
        raise WrongInput(f"--url {redact(url)}: not a WebSocket URL, such as {gateway_url('127.0.0.1', 8001)}") from None
    try:
        complete(url)
    except ValueError as error:
        raise WrongInput(f"--url {redact(url)}: {error}") from None
    names = [name.strip() for name in tickers.split(",") if name.strip()]
    for name in names:
        check_ticker("--tickers", name)
    return f"{url}{'&' if '?' in url else '?'}tickers={','.join(names)}" if names else url


def run_watch(url: str, token: Token, *, once: bool, as_json: bool) -> int:
    """Show what the gateway at `url` sends, until Ctrl-C or, with `once`, the first snapshot; return the exit code."""
    return run_until_interrupted(lambda stop: _watch(Watch(url, token), stop, once=once, as_json=as_json))


async def _watch(watch: Watch, stop: asyncio.Event, *, once: bool, as_json: bool) -> int:
    lines = Lines(watch, stop, as_json=as_json)
    if once:
        return await _show_once(watch, lines, stop)
    if can_draw() and not as_json:
        ignore_suspension()
        return await _show(watch, LiveTable(Console(highlight=False), stop), stop, lambda message: None)
    return await _show(watch, lines, stop, lines.hear)


class Lines(PlainScreen):
    """Lines for who has no terminal: each alert, what the connection and the market are when that changes, and a summary.

    With `as_json` the messages of the gateway and nothing else.
    """

    def __init__(self, watch: Watch, is_gone: asyncio.Event, *, as_json: bool) -> None:
        super().__init__(is_gone)
        self.as_json = as_json
        self._watch = watch
        self._alerted = 0
        self._state = ""
        self._market: Market | None = None

    def say(self, text: str) -> None:
        """Without a name before it: nobody else speaks."""
        if not self.as_json:
            self.print(text)

    def hear(self, message: str | None) -> None:
        """Tell what is new."""
        for line in self._news():
            self.say(line)
        # The answer to a question that only we asked is no news.
        if self.as_json and message is not None and not is_answer(message):
            self.print(message)

    def _news(self) -> Iterator[str]:
        board, now = self._watch.board, datetime.now(UTC)
        state, before = trouble(board) or f"connected to {self._watch.shown_url}", self._state
        if state != before:
            self._state = state
            yield state
        if board.market and board.market != self._market:
            self._market = board.market
            yield market_text(board.market, now)
        if board.alerted > self._alerted:
            self._alerted = board.alerted
            yield from map(alert_text, board.recent_alerts)


def is_answer(message: str) -> bool:
    """Whether a message answers our ping: what was sent before has come."""
    return bool(json.loads(message)["type"] == "pong")


async def _show(watch: Watch, screen: LiveTable | Lines, stop: asyncio.Event, hear: Hear) -> int:
    """Show until a signal, a reader that went away, or a gateway that says never to come back."""
    following = asyncio.create_task(watch.follow(hear), name="follow")
    showing = asyncio.create_task(screen.show(watch.board, watch.caption, stop), name="show")
    try:
        await asyncio.wait((following, showing), return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
        await showing
    return await _end(watch, following)


async def _end(watch: Watch, following: asyncio.Task[str]) -> int:
    """End the following; 1, and the reason on standard error, if the gateway said never to come back."""
    following.cancel()
    await asyncio.wait((following,))
    refusal = None if following.cancelled() else following.result()
    if refusal is not None:
        print(f"{watch.shown_url} refuses: {refusal}", file=sys.stderr)
    return 0 if refusal is None else 1


async def _show_once(watch: Watch, lines: Lines, stop: asyncio.Event) -> int:
    """Show the first snapshot, complete with what goes with it."""
    messages: list[str] = []
    answered = asyncio.Event()

    def hear(message: str | None) -> None:
        if message is not None and not answered.is_set():
            messages.append(message)
            if is_answer(message):
                answered.set()

    following = asyncio.create_task(watch.follow(hear), name="follow")
    waiting = [asyncio.create_task(event.wait()) for event in (answered, stop)]
    await asyncio.wait((following, *waiting), timeout=ONCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    if code := await _end(watch, following):
        return code
    if answered.is_set():
        _print_snapshot(watch, lines, messages)
    elif not stop.is_set():
        print(_no_gateway(watch), file=sys.stderr)
        return 1
    return 0


def _print_snapshot(watch: Watch, lines: Lines, messages: Sequence[str]) -> None:
    if lines.as_json:
        for message in messages:
            lines.hear(message)
        return
    console = Console(highlight=False)
    # Not printed by the console itself: it ends the process with 1 when the reader has gone.
    with console.capture() as captured:
        console.print(frame(watch.board, watch.still_caption(), console.width, EVERY_LINE, datetime.now(UTC)))
    lines.print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _no_gateway(watch: Watch) -> str:
    reason = watch.board.away_because or f"no first message within {ONCE_SECONDS:g} s: it hangs, or its Redis is away"
    advice = "start one with `make run`, or name another with --url, or with GATEWAY_HOST and GATEWAY_PORT"
    return f"no gateway answers at {watch.shown_url} ({reason}); {advice}"
