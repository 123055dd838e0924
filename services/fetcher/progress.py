"""How far a replay is: a bar on a terminal, a log line every ten seconds otherwise."""

import logging
import sys
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

import structlog

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

log = structlog.get_logger(__name__)

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_FRAMES = 0.2


class ProgressReport(AbstractContextManager["ProgressReport"]):
    """Counts of one pass over a file of `total_bytes`; `what` names the pass."""

    def __init__(self, what: str, total_bytes: int, is_terminal: bool | None = None) -> None:
        self._what = what
        self._total_bytes = total_bytes
        self._started = self._said_at = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty() if is_terminal is None else is_terminal:
            self._bar, self._task = _bar(what, total_bytes)

    def __enter__(self) -> Self:
        if self._bar is not None:
            terminal = sys.stderr
            self._bar.start()
            # The bar has put itself in front of the terminal; log lines that went around it would be written into it.
            self._redirect_logs(terminal, sys.stderr)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            in_front = sys.stderr
            self._bar.stop()
            self._redirect_logs(in_front, sys.stderr)

    def update(self, bytes_read: int, rows: int = 0, rejected: int = 0) -> None:
        """Say how far it is, if it is time to; cheap otherwise."""
        now = time.monotonic()
        if now - self._said_at < (SECONDS_BETWEEN_LINES if self._bar is None else SECONDS_BETWEEN_FRAMES):
            return
        self._said_at = now
        if self._bar is not None:
            self._bar.update(self._task, completed=bytes_read, counts=self._counts(rows, rejected, now), refresh=True)
            return
        percent = 100 * bytes_read // max(1, self._total_bytes)
        log.info(f"{self._what} at {percent} %", rows=rows, rejected=rejected, rows_per_second=self._rows_per_second(rows, now))

    def _redirect_logs(self, before: TextIO, after: TextIO) -> None:
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is before:
                handler.setStream(after)

    def _rows_per_second(self, rows: int, now: float) -> int:
        return round(rows / max(0.001, now - self._started))

    def _counts(self, rows: int, rejected: int, now: float) -> str:
        if not rows:
            return ""
        return f"{rows:,} rows, {self._rows_per_second(rows, now):,}/s" + (f", {rejected:,} rejected" if rejected else "")


def _bar(what: str, total_bytes: int) -> "tuple[Progress, TaskID]":
    # Imported only where there is a terminal: 15 ms and some megabytes.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)
    return bar, bar.add_task(what, total=total_bytes, counts="")
