"""The letters that a retry or a drop is about: those that were there when it began, oldest first, read in pages."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

from redis.asyncio import Redis

from services.admin.deadletters_access import Progress, insist
from services.admin.deadletters_request import Name, Selection
from shared.deadletters import Letter
from shared.redis.deadletters import find, newest_id, number_of, oldest_first


@dataclass(frozen=True)
class Chosen:
    """A selection, and where each partition ended when it was made: what comes later is not meant."""

    selection: Selection
    ends: dict[int, str]
    total: int
    """Letters to look at."""


async def choose(redis: Redis, selection: Selection, partitions: int) -> Chosen:
    """Note where the partitions end now; raise `WrongInput` for one that is not there."""
    if selection.names:
        return Chosen(selection, {}, len(selection.names))
    places = selection.filter.places(partitions)
    ends = {p: end for p in places if (end := await newest_id(redis, p))}
    return Chosen(selection, ends, sum([await number_of(redis, p) for p in ends]))


async def chosen_pages(
    redis: Redis, chosen: Chosen, stop: asyncio.Event, progress: Progress
) -> AsyncIterator[tuple[int, list[Letter | Name]]]:
    """Yield how many letters were looked at, and those of them that are meant, of one partition.

    A name for which there is no letter stands for itself. Raise `Stopped` if that was asked for.
    """
    for name in chosen.selection.names:
        letter = await insist(partial(find, redis, *name), stop, progress)
        yield 1, [letter or name]
    for partition, end in chosen.ends.items():
        after = ""
        while page := await insist(partial(oldest_first, redis, partition, after, end), stop, progress):
            yield len(page), [letter for letter in page if chosen.selection.filter.takes(letter)]
            after = page[-1].entry_id
