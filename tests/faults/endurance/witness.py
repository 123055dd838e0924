"""A reader beside the pipeline that looks at every entry at once: what it was shown must never turn out to be untrue.

It follows both streams of every partition on a connection of its own, and begins anew at the first entry there is when
a new incarnation began.
"""

import asyncio
from contextlib import suppress
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared import streams
from shared.commits import Entries
from tests.faults.endurance.judge import Found, Verdict
from tests.faults.endurance.market import Event, Market

BLOCK_MS = 500
ENTRIES = 2000
AWAY_SECONDS = 0.05


class Witness:
    """Follows until cancelled; `verdict` is what was wrong, `seen` how many entries it was shown."""

    def __init__(self, redis: Redis, market: Market) -> None:
        self.verdict = Verdict()
        self.seen = 0
        self._redis = redis
        self._market = market

    async def follow(self) -> None:
        """Follow both streams of every partition."""
        async with asyncio.TaskGroup() as tasks:
            for stream in ("ticks", "enriched"):
                for partition in range(self._market.partitions):
                    tasks.create_task(self._follow_one(stream, partition))

    async def _follow_one(self, stream: str, partition: int) -> None:
        known, after, last_seq = "", "0-0", 0
        while True:
            try:
                incarnation, entries = await self._read(stream, partition, after)
                is_trimmed = bool(entries) and await self._are_trimmed(stream, partition, after)
            except (RedisError, OSError):
                await asyncio.sleep(AWAY_SECONDS)
                continue
            if incarnation != known:
                known, after, last_seq = incarnation, "0-0", 0
            elif entries:
                after, last_seq = entries[-1][0], 0 if is_trimmed else last_seq
                for _, entry in entries:
                    last_seq = self._look_at(stream, partition, found_of(entry, is_judged=stream == "enriched"), last_seq)

    async def _read(self, stream: str, partition: int, after: str) -> tuple[str, Entries]:
        """Entries and, on the same connection behind them, the incarnation they are of."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.xread({streams.stream(stream, partition): after}, count=ENTRIES, block=BLOCK_MS)
        pipeline.hget(streams.log(partition), "incarnation")
        found, incarnation = await pipeline.execute()
        return incarnation or "", next(iter(found.values())) if found else []

    async def _are_trimmed(self, stream: str, partition: int, after: str) -> bool:
        """Whether entries behind `after` may have been trimmed: who begins at the first entry there is reads where trimming goes on."""
        first = cast(list[tuple[str, object]], await self._redis.xrange(streams.stream(stream, partition), count=1))
        return bool(first) and id_of(first[0][0]) > id_of(after)

    def _look_at(self, stream: str, partition: int, found: Found, last_seq: int) -> int:
        self.seen += 1
        where = f"{stream}:{{{partition}}} as it was read"
        if last_seq and found.seq != last_seq + 1:
            self.verdict.note_wrong(f"{where}: seq {found.seq} after {last_seq}")
        events = self._market.events[partition]
        wanted = events[found.seq - 1] if found.seq <= len(events) else None
        if wanted is not None and stream == "ticks":
            wanted = wanted._replace(sma="", alert="")
        if found.event != wanted:
            self.verdict.note_wrong(f"{where}: {found} is not {wanted}")
        return found.seq


def id_of(text: str) -> tuple[int, ...]:
    """An entry id as numbers that can be compared."""
    return tuple(map(int, text.split("-")))


def found_of(entry: list[str], *, is_judged: bool) -> Found:
    """An entry, names and values in turn as `shared.redis.client` hands them out."""
    fields = dict(zip(entry[::2], entry[1::2], strict=True))
    judged = (fields["sma"], fields["alert"]) if is_judged else ("", "")
    return Found(int(fields["seq"]), Event(fields["ts"], fields["ticker"], fields["price"], *judged))


async def give_up(task: "asyncio.Task[None]") -> None:
    """Cancel a task and await it."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
