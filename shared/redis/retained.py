"""Looks at what a stream holds: asked now and then, or when a hole in its seqs has to be judged, never per batch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared import streams
from shared.errors import TransientError
from shared.events import SEQ
from shared.redis.cluster import at
from shared.redis.log import Read, head, read_hash, refusal
from shared.retained import NOTHING, Retained


@dataclass(eq=False)
class AnotherLife(TransientError):
    """The partition began anew since it was read, or is an older copy: what it holds now tells nothing of what was read."""

    partition: int

    def __str__(self) -> str:
        return f"partition {self.partition} began anew after it was read"


async def look(redis: Redis, stream: str, partition: int) -> Retained:
    """What the stream holds now; nothing if it is not there. Raise `TransientError` if the key is no stream."""
    key = streams.stream(stream, partition)
    try:
        async with at(redis, key) as server:
            info = await server.xinfo_stream(key)
    except ResponseError as error:
        if str(error).startswith("no such key"):
            return NOTHING
        raise refusal(error) from error
    first, last = (str(info[name][0]) if info[name] else "" for name in ("first-entry", "last-entry"))
    return Retained(
        first, last, str(info["last-generated-id"]), int(info["length"]), int(info["entries-added"]), _seq_of(info["first-entry"])
    )


async def look_since(redis: Redis, stream: str, partition: int, found: Read) -> Retained:
    """What the stream holds now, to judge what is missing in `found`; raise `AnotherLife` if that is no guide to it.

    What Redis lost between the two (FLUSHALL, a fail-over to a replica that lagged) would be taken for entries that were
    deleted unread. The incarnation alone does not tell: a copy names that of its original until a function has run on it.
    """
    kept = await look(redis, stream, partition)
    now = await head(redis, partition)
    if now.incarnation != found.incarnation or now.last_seq[stream] < found.seq:
        raise AnotherLife(partition)
    return kept


def _seq_of(entry: tuple[str, Mapping[str, str]] | None) -> int:
    seq = entry[1].get("seq", "") if entry else ""
    return int(seq) if re.fullmatch(SEQ, seq, re.ASCII) else 0


async def read_gap_seq(redis: Redis, partition: int) -> int:
    """The seq of the last tick that the analyzer found deleted before it was read; 0 if there was none."""
    (seq,) = await read_hash(redis, streams.log(partition), ["gap_seq"])
    return int(seq or 0)
