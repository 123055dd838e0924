"""`tickstream deadletters retry`: what has become a tick is appended, once; what has not stays, and it is said why.

A letter is appended and deleted by one call. After a lost answer, a crash, or beside another retry the same command again
finds the letter, or finds that it is gone; nothing is ever appended twice.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from functools import partial

from redis.asyncio import Redis

from services.admin.deadletter import tick_in
from services.admin.deadletters_access import Progress, Stopped, insist, run_command
from services.admin.deadletters_lines import LONGEST_KIND, kind_of, safe
from services.admin.deadletters_list import no_such_letter
from services.admin.deadletters_request import Selection
from services.admin.deadletters_selected import choose, chosen_pages
from services.admin.settings import StatusSettings
from shared import streams
from shared.deadletters import Letter
from shared.errors import InvalidEntry, TransientError
from shared.events import Tick
from shared.redis.deadletters import Retried, retry

MOST_REASONS = 10
"""Reasons that are said letter by letter; then they are only counted."""


def retry_letters(settings: StatusSettings, selection: Selection, given: Mapping[str, str]) -> int:
    """Retry what was selected, `given` fields in place of a letter's own; return 0, or 1 if any letter stays or is not there."""
    return run_command(settings, partial(_retry, settings.stream_cap, selection, given))


async def _retry(cap: int, selection: Selection, given: Mapping[str, str], redis: Redis, partitions: int, stop: asyncio.Event) -> int:
    report = _Report(is_by_name=bool(selection.names))
    try:
        chosen = await choose(redis, selection, partitions)
        looked_at = 0
        async for number, letters in chosen_pages(redis, chosen, stop, report.progress):
            for letter in letters:
                if isinstance(letter, Letter):
                    await _retry_one(redis, letter, partitions, given, cap, stop, report)
                else:
                    report.missing(no_such_letter(letter))
            looked_at += number
            report.progress.show(looked_at, chosen.total)
    except Stopped:
        report.stopped()
    return report.end()


async def _retry_one(
    redis: Redis, letter: Letter, partitions: int, given: Mapping[str, str], cap: int, stop: asyncio.Event, report: "_Report"
) -> None:
    try:
        tick = tick_in(letter, partitions, given)
    except InvalidEntry as error:
        report.stays(letter, str(error))
        return
    match await insist(partial(_append, redis, letter, tick, cap), stop, report.progress):
        case Retried.FUTURE:
            report.stays(letter, f"ts {tick.ts} is more than 5 s ahead of the clock of Redis")
        case Retried.GONE:
            report.gone()
        case _:
            report.appended(letter, tick)


async def _append(redis: Redis, letter: Letter, tick: Tick, cap: int) -> Retried:
    """As `retry`; a full stream is waited out as Redis itself is."""
    answer = await retry(redis, letter, tick, cap=cap)
    if answer is Retried.FULL:
        raise TransientError(f"{streams.ticks(letter.partition)} is full (STREAM_CAP {cap}), its readers must make room")
    return answer


class _Report:
    """What became of each letter: single ones are told by name, many by number."""

    def __init__(self, *, is_by_name: bool) -> None:
        self.progress = Progress("looked at")
        self._is_by_name = is_by_name
        self._appended = self._gone = 0
        self._missing = 0
        self._is_stopped = False
        self._reasons: Counter[str] = Counter()

    def appended(self, letter: Letter, tick: Tick) -> None:
        self._appended += 1
        if self._is_by_name:
            self.progress.say(f"{letter.name}: appended {tick.ticker} {tick.price} to {streams.ticks(letter.partition)}")

    def stays(self, letter: Letter, reason: str) -> None:
        if self._is_by_name or self._reasons.total() < MOST_REASONS:
            self.progress.say(f"{letter.name}: stays, {safe(reason)}")
        self._reasons[kind_of(reason)[:LONGEST_KIND]] += 1

    def gone(self) -> None:
        """Gone between reading and retrying: by somebody else, or by a try of ours whose answer was lost."""
        self._gone += 1

    def missing(self, text: str) -> None:
        self._missing += 1
        self.progress.say(text)

    def stopped(self) -> None:
        self._is_stopped = True

    def end(self) -> int:
        """Say what was done; return the exit code."""
        stay = self._reasons.total()
        gone = f", {self._gone} gone meanwhile (retried or dropped, maybe by a try whose answer was lost)" if self._gone else ""
        stopped = "; stopped, the same command goes on from here" if self._is_stopped else ""
        self.progress.say(f"{self._appended} appended, {stay} stay{'s' if stay == 1 else ''}{gone}{stopped}")
        if stay > MOST_REASONS:
            for reason, count in self._reasons.most_common(MOST_REASONS):
                self.progress.say(f"{count:>7}  {reason}")
        return int(bool(stay or self._missing or self._is_stopped))
