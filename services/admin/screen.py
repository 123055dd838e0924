"""Where `up` and `watch` show what they see: a live table on a terminal, plain lines elsewhere."""

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from services.admin.board import Board, summary
from services.admin.foreground import is_in_background
from services.admin.log_files import LogFiles
from services.admin.output import is_on_terminal, leave
from services.admin.table import Caption, frame
from shared.runtime import wait_or_stop

SUMMARY_SECONDS = 10.0
FRAME_SECONDS = 0.25
NAME_WIDTH = 11
SAID_LINES = 12
"""Lines of our own that are shown again after a resize."""

_LEVEL = re.compile(r'"level": ?"(?P<json>\w+)"|\[(?P<text>debug|info|warning|error|critical)\s*\]')
_SERIOUS = ("warning", "error", "critical")


class Screen(Protocol):
    """What `up` needs of a screen."""

    is_gone: asyncio.Event
    """Set when nobody can read any more: the terminal or the reading end of the pipe was closed."""

    def say(self, text: str) -> None:
        """Show a line of `up` itself."""

    def log(self, name: str, line: str) -> None:
        """Take a line that the process `name` wrote."""

    async def show(self, board: Board, caption: Callable[[], Caption], stop: asyncio.Event) -> None:
        """Show the prices until `stop`."""


@dataclass
class PlainScreen:
    """Lines on standard output: our own, those of all processes, and a summary now and then."""

    is_gone: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, text: str) -> None:
        self.log("up", text)

    def log(self, name: str, line: str) -> None:
        self.print(f"{name:<{NAME_WIDTH}} | {line}")

    def print(self, line: str) -> None:
        """Write a line as it is."""
        try:
            print(line, flush=True)
        except OSError:
            leave(self.is_gone)

    async def show(self, board: Board, caption: Callable[[], Caption], stop: asyncio.Event) -> None:
        seen, started = board.updates, time.monotonic()
        while not await wait_or_stop(stop, SUMMARY_SECONDS):
            self.say(summary(board, board.updates - seen, time.monotonic() - started))
            seen, started = board.updates, time.monotonic()


class LiveTable:
    """A table on a terminal, and our own lines above it."""

    def __init__(self, console: Console, is_gone: asyncio.Event) -> None:
        self.is_gone = is_gone
        self._console = console
        self._said: deque[Text] = deque(maxlen=SAID_LINES)

    def say(self, text: str) -> None:
        """Show a line of our own."""
        self._said.append(Text(text))
        self._print(self._said[-1])

    def _print(self, text: Text) -> None:
        try:
            self._console.print(text, soft_wrap=True)
        except OSError:
            leave(self.is_gone)

    async def show(self, board: Board, caption: Callable[[], Caption], stop: asyncio.Event) -> None:
        """Draw the prices again and again until `stop`."""
        try:
            while not stop.is_set():
                await self._show_until_resized(board, caption, stop)
                if not stop.is_set():
                    # The terminal has wrapped the old frame in its own way; only an empty one is sure to be clean.
                    self._console.clear()
                    for text in self._said:
                        self._print(text)
        except OSError:
            leave(self.is_gone)

    async def _show_until_resized(self, board: Board, caption: Callable[[], Caption], stop: asyncio.Event) -> None:
        size = self._console.size
        # Drawn by us, in the thread of all else: a thread of its own would draw a board that is being changed.
        with Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
            drawn = None
            while self._console.size == size and not stop.is_set():
                now = datetime.now(UTC)
                # Ages are told in seconds: between two of them a frame without a new price would be the same again.
                due = board.updates, now.replace(microsecond=0)
                if due != drawn:
                    drawn = due
                    # The last line stays free: a terminal that scrolls by one line would leave the first one behind.
                    live.update(frame(board, caption(), size.width, size.height - 1, now), refresh=True)
                await wait_or_stop(stop, FRAME_SECONDS)


class LiveScreen(LiveTable):
    """What the processes write goes to files, and only what is serious is shown above the table."""

    def __init__(self, console: Console, logs: LogFiles) -> None:
        super().__init__(console, asyncio.Event())
        self._logs = logs
        self._was_serious: dict[str, bool] = {}

    def log(self, name: str, line: str) -> None:
        """Take a line that the process `name` wrote."""
        self._logs.write(name, line)
        # A line without a level, of a traceback for instance, belongs to the line before.
        self._was_serious[name] = is_serious = is_serious_line(line, before=self._was_serious.get(name, False))
        if is_serious:
            self._print(Text(f"{name}: {line}", style="yellow"))


def is_serious_line(line: str, *, before: bool) -> bool:
    """Whether a log line, JSON or text, is a warning or worse; `before` for one that has no level."""
    found = _LEVEL.search(line)
    return (found["json"] or found["text"]) in _SERIOUS if found else before


def can_draw() -> bool:
    """Whether a table can be drawn on standard output."""
    return is_on_terminal() and not is_in_background()


def open_screen(data_dir: Path) -> Screen:
    """The screen that fits standard output."""
    if not can_draw():
        return PlainScreen()
    return LiveScreen(Console(highlight=False), LogFiles(data_dir / "logs"))
