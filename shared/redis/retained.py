"""Looks at what a stream holds: asked now and then, or when a hole in its seqs has to be judged, never per batch."""

import re
from collections.abc import Mapping

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared import streams
from shared.events import SEQ
from shared.redis.cluster import at
from shared.redis.log import read_hash, refusal
from shared.retained import NOTHING, Retained


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


def _seq_of(entry: tuple[str, Mapping[str, str]] | None) -> int:
    seq = entry[1].get("seq", "") if entry else ""
    return int(seq) if re.fullmatch(SEQ, seq, re.ASCII) else 0


async def read_gap_seq(redis: Redis, partition: int) -> int:
    """The seq of the last tick that the analyzer found deleted before it was read; 0 if there was none."""
    (seq,) = await read_hash(redis, streams.log(partition), ["gap_seq"])
    return int(seq or 0)
