"""Dead letters as they lie in Redis: read in pages, and each one retried or dropped by one call.

Every call either answers, raises `TransientError` (nothing was done), or raises one of `REDIS_AWAY` (nobody knows). Both
writing calls may then be sent again: what is gone stays gone, and nothing is appended twice.
"""

from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared import streams
from shared.deadletters import Letter
from shared.events import Tick
from shared.redis.cluster import at
from shared.redis.log import call, read_hash, refusal

PAGE_LETTERS = 200
"""At most 0.8 MB of payloads."""

FIRST, LAST = "-", "+"


class Retried(StrEnum):
    """What a retry answers."""

    OK = "OK"
    GONE = "GONE"
    """Retried or dropped before."""
    FUTURE = "FUTURE"
    FULL = "FULL"


async def find(redis: Redis, partition: int, entry_id: str) -> Letter | None:
    """The letter with that id, if it is there."""
    found = await _range(redis, partition, entry_id, entry_id, newest_first=False)
    return found[0] if found else None


async def newest_first(redis: Redis, partition: int) -> AsyncIterator[Letter]:
    """All letters of a partition."""
    before = LAST
    while page := await _range(redis, partition, FIRST, before, newest_first=True):
        for letter in page:
            yield letter
        before = f"({page[-1].entry_id}"


async def oldest_first(redis: Redis, partition: int, after: str, until: str) -> list[Letter]:
    """A page of the letters behind the id `after` (empty: from the first one) up to `until`."""
    return await _range(redis, partition, f"({after}" if after else FIRST, until, newest_first=False)


async def _range(redis: Redis, partition: int, start: str, end: str, *, newest_first: bool, count: int = PAGE_LETTERS) -> list[Letter]:
    key = streams.deadletters(partition)
    try:
        async with at(redis, key) as server:
            if newest_first:
                entries = await server.xrevrange(key, end, start, count=count)
            else:
                entries = await server.xrange(key, start, end, count=count)
    except ResponseError as error:
        raise refusal(error) from error
    return [_letter(partition, *entry) for entry in cast(list[tuple[str, dict[str, str]]], entries)]


def _letter(partition: int, entry_id: str, fields: dict[str, str]) -> Letter:
    """What a stranger wrote there may lack fields."""
    values = (fields.get(name, "") for name in ("stream", "entry_id", "reason", "payload", "ts"))
    return Letter(partition, entry_id, *values)


async def newest_id(redis: Redis, partition: int) -> str | None:
    """The id of the newest letter; None if there is none."""
    newest = await _range(redis, partition, FIRST, LAST, newest_first=True, count=1)
    return newest[0].entry_id if newest else None


async def number_of(redis: Redis, partition: int) -> int:
    """How many there are."""
    key = streams.deadletters(partition)
    try:
        async with at(redis, key) as server:
            return int(await server.xlen(key))
    except ResponseError as error:
        raise refusal(error) from error


async def fallen_off(redis: Redis, partition: int) -> int:
    """How many were deleted because newer ones came."""
    return int((await read_hash(redis, streams.log(partition), ["deadletters_dropped"]))[0] or 0)


async def retry(redis: Redis, letter: Letter, tick: Tick, *, cap: int) -> Retried:
    """Append the tick under a new seq and delete the letter, both or nothing."""
    p = letter.partition
    keys = [streams.log(p), streams.ticks(p), streams.enriched(p), streams.events(p), streams.deadletters(p)]
    answer, _ = await call(redis, "retry", keys, letter.entry_id, cap, *tick[1:])
    return Retried(answer)


async def drop(redis: Redis, partition: int, entry_ids: Sequence[str]) -> int:
    """Delete at most 1 000 letters of a partition; return how many there were."""
    return int(await call(redis, "drop", [streams.deadletters(partition)], *entry_ids))
