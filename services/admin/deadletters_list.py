"""`tickstream deadletters list` and `show`: what lies there, newest first over all partitions. Reads only."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from heapq import heapify, heappop, heapreplace
from shutil import get_terminal_size

from redis.asyncio import Redis

from services.admin.deadletters_access import run_command, say
from services.admin.deadletters_lines import HEAD, Kinds, json_line, text_line, total_line, whole_letter
from services.admin.deadletters_request import Filter, Name
from services.admin.following import id_order
from services.admin.output import is_on_terminal, leave
from services.admin.settings import StatusSettings
from shared.deadletters import Letter
from shared.redis.deadletters import fallen_off, find, newest_first

Order = tuple[int, int]


def list_letters(settings: StatusSettings, wanted: Filter, *, limit: int, as_json: bool) -> int:
    """Print letters, and how many there are of each reason; return the exit code."""
    return run_command(settings, partial(_list, wanted, limit, as_json))


def show_letter(settings: StatusSettings, name: Name) -> int:
    """Print all there is to know of a letter; return the exit code, 1 if it is not there."""
    return run_command(settings, partial(_show, name))


async def _show(name: Name, redis: Redis, partitions: int, stop: asyncio.Event) -> int:
    letter = await find(redis, *name)
    if letter is None:
        say(no_such_letter(name))
        return 1
    print(whole_letter(letter, partitions))
    return 0


def no_such_letter(name: Name) -> str:
    """What is said of a letter that is not there."""
    return f"{name[0]}:{name[1]}: no such letter; it may have been retried or dropped"


async def _list(wanted: Filter, limit: int, as_json: bool, redis: Redis, partitions: int, stop: asyncio.Event) -> int:
    places = wanted.places(partitions)
    width = get_terminal_size().columns if is_on_terminal() else None
    kinds, found = Kinds(), 0
    try:
        if width is not None and not as_json:
            print(HEAD)
        async for letter in merged([newest_first(redis, p) for p in places]):
            if stop.is_set() or (as_json and found >= limit):
                break
            if wanted.takes(letter):
                found += 1
                kinds.add(letter)
                if found <= limit:
                    print(json_line(letter) if as_json else text_line(letter, width), flush=found == limit)
        if not as_json:
            lost = sum([await fallen_off(redis, p) for p in places])
            print("", total_line(found, min(found, limit), lost), *kinds.lines(), sep="\n", flush=True)
    except BrokenPipeError:
        leave(stop)
    return 0


async def merged(sources: list[AsyncIterator[Letter]]) -> AsyncIterator[Letter]:
    """Merge sources, each newest first, holding a page of each."""
    heads: list[tuple[Order, int, Letter]] = []
    for number, source in enumerate(sources):
        if (first := await anext(source, None)) is not None:
            heads.append((_newest(first), number, first))
    heapify(heads)
    while heads:
        _, number, letter = heads[0]
        yield letter
        if (following := await anext(sources[number], None)) is None:
            heappop(heads)
        else:
            heapreplace(heads, (_newest(following), number, following))


def _newest(letter: Letter) -> Order:
    """What sorts the newest first."""
    ms, sequence = id_order(letter.entry_id)
    return -ms, -sequence
