"""Tells operators what trimming finds: a stream that fills up and who holds it, and a group that was passed."""

import time
from collections import Counter

import structlog

from services.analyzer.fullness import Change, Fullness
from services.analyzer.measures import Measures
from shared.redis.log import Hold, Trimmed

log = structlog.get_logger(__name__)

SECONDS_BETWEEN_REPORTS = 10.0
"""A group that stands still is passed again and again."""


class StreamWatch:
    """Both streams of a held partition."""

    def __init__(self, partition: int, measures: Measures) -> None:
        self._log = log.bind(partition=partition)
        self._measures = measures
        self._fullness = {"ticks": Fullness(), "enriched": Fullness()}
        self._overrun: Counter[tuple[str, str]] = Counter()
        self._overrun_said_at = -SECONDS_BETWEEN_REPORTS

    def look(self, trimmed: Trimmed, cap: int) -> None:
        """Look at an answer of `trim`."""
        self._measures.note_trim(trimmed, cap)
        for stream, hold in trimmed.holds.items():
            self._tell(stream, hold, hold.needed / cap)
        for overrun in trimmed.overruns:
            self._overrun[overrun.stream, overrun.group] += overrun.entries
        now = time.monotonic()
        if self._overrun and now - self._overrun_said_at >= SECONDS_BETWEEN_REPORTS:
            self._tell_overruns()
            self._overrun_said_at = now

    def _tell_overruns(self) -> None:
        for (stream, group), entries in self._overrun.items():
            self._log.error("a group was passed, it has lost entries", stream=stream, group=group, entries=entries)
        self._overrun.clear()

    def _tell(self, stream: str, hold: Hold, ratio: float) -> None:
        fullness = self._fullness[stream]
        change = fullness.on_look(ratio, hold.group)
        if change is Change.FILLING:
            self._log.warning(
                "a stream fills up, a group is behind", stream=stream, held_by=hold.group, entries=hold.needed, stands_at=hold.entry_id,
                percent=round(100 * ratio), reached_percent=round(100 * fullness.level),
            )  # fmt: skip
        elif change is Change.BACK:
            self._log.info("a stream has room again", stream=stream, percent=round(100 * ratio), length=hold.length)
