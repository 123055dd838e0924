"""`tickstream deadletters drop`: deletes letters for good, after asking. Dropping what is gone is harmless."""

import asyncio
import sys
from functools import partial

import typer
from redis.asyncio import Redis

from services.admin.deadletters_access import Progress, Stopped, insist, run_command, say
from services.admin.deadletters_list import no_such_letter
from services.admin.deadletters_request import Selection
from services.admin.deadletters_selected import Chosen, choose, chosen_pages
from services.admin.settings import StatusSettings
from shared.deadletters import Letter
from shared.redis.deadletters import drop


class _Plan:
    """What is to be dropped, found before anybody is asked."""

    def __init__(self) -> None:
        self.chosen: Chosen | None = None
        self.letters = 0
        self.missing = 0


def drop_letters(settings: StatusSettings, selection: Selection, *, is_confirmed: bool) -> int:
    """Drop what was selected; return 0, or 1 if a name is not there, the answer is no, or it was stopped."""
    plan = _Plan()
    code = run_command(settings, partial(_count, selection, plan))
    if code or plan.chosen is None or not plan.letters:
        return code or int(bool(plan.missing))
    if not is_confirmed and not _is_agreed(plan.letters):
        say("nothing dropped")
        return 1
    return run_command(settings, partial(_drop, plan.chosen)) or int(bool(plan.missing))


def can_ask() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _is_agreed(letters: int) -> bool:
    try:
        return typer.confirm(f"Delete {letters} dead letter{'' if letters == 1 else 's'} for good?", err=True)
    except typer.Abort:
        return False


async def _count(selection: Selection, plan: _Plan, redis: Redis, partitions: int, stop: asyncio.Event) -> int:
    progress = Progress("looked at")
    looked_at = 0
    try:
        plan.chosen = await choose(redis, selection, partitions)
        async for number, letters in chosen_pages(redis, plan.chosen, stop, progress):
            for letter in letters:
                if isinstance(letter, Letter):
                    plan.letters += 1
                else:
                    plan.missing += 1
                    progress.say(no_such_letter(letter))
            looked_at += number
            progress.show(looked_at, plan.chosen.total)
    except Stopped:
        progress.say("stopped, nothing dropped")
        return 1
    if not plan.letters and not plan.missing:
        progress.say("no such dead letters")
    return 0


async def _drop(chosen: Chosen, redis: Redis, partitions: int, stop: asyncio.Event) -> int:
    progress, dropped, looked_at, end = Progress("looked at"), 0, 0, ""
    try:
        async for number, found in chosen_pages(redis, chosen, stop, progress):
            letters = [letter for letter in found if isinstance(letter, Letter)]
            if letters:
                ids = [letter.entry_id for letter in letters]
                await insist(partial(drop, redis, letters[0].partition, ids), stop, progress)
                dropped += len(letters)  # not what was answered: after a lost answer that is 0, and they are gone
            looked_at += number
            progress.show(looked_at, chosen.total)
    except Stopped:
        end = "; stopped, the others stay"
    progress.say(f"{dropped} dropped{end}")
    return int(bool(end))
