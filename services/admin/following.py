"""One partition of a stream, read entry by entry for as long as somebody wants; nothing is skipped without a word.

Reading has no side effect: no group, no lease. While Redis is away the position stays. When a new incarnation began, what
was read under the old one is discarded, and the position judged first.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from heapq import heapify, heappop, heapreplace

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from services.admin.tail_request import BEGINNING
from shared import streams
from shared.backoff import Backoff
from shared.commits import Entries
from shared.errors import InvalidEntry, TransientError
from shared.events import read_enriched, read_tick
from shared.incarnations import Head, Resolution, label, resolve
from shared.logging import redact
from shared.redis.client import TRY_AGAIN
from shared.redis.cluster import at
from shared.redis.log import Unconfigured, head, read

READ_ENTRIES = 1000
BLOCK_SECONDS = 1.0
MOST_WAIT_SECONDS = 1.0

Say = Callable[[str], None]
"""Takes a line for standard error."""
Shown = tuple[int, str, list[str]]
"""Partition, entry id, and names and values in turn."""


class Outage:
    """What all partitions together say of Redis: once that it is away, and once that it is back."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._away: set[int] = set()

    def begin(self, partition: int, error: Exception) -> None:
        """Note that a partition cannot be read."""
        if not self._away:
            state = "refuses" if isinstance(error, TransientError) else "is away"
            self._say(f"Redis {state} ({redact(str(error)) or type(error).__name__}); going on from the same entries when it is back")
        self._away.add(partition)

    def end(self, partition: int) -> None:
        """Note that a partition can be read."""
        if partition in self._away:
            self._away.discard(partition)
            if not self._away:
                self._say("Redis is back")


class Following:
    """A partition and the position in it. `next_entries` gives what comes after."""

    def __init__(self, redis: Redis, stream: str, partition: int, outage: Outage, say: Say) -> None:
        self.partition = partition
        self._redis = redis
        self._stream = stream
        self._outage = outage
        self._say = say
        self._backoff = Backoff(most_seconds=MOST_WAIT_SECONDS)
        self._read_event = read_tick if stream == "ticks" else read_enriched
        self._head: Head | None = None
        self._seq = 0
        self._last_id = BEGINNING
        self._end = BEGINNING

    async def open(self, after: str | None) -> None:
        """Stand after the id, or behind what is there now; raise what redis-py raises if Redis does not answer."""
        try:
            self._head = await head(self._redis, self.partition)
        except Unconfigured:
            self._head = None
        self._end = await self._newest_id()
        if after is None and self._head:
            self._seq = self._head.last_seq[self._stream]
        self._last_id = self._end if after is None else after

    async def _newest_id(self) -> str:
        key = streams.stream(self._stream, self.partition)
        try:
            async with at(self._redis, key) as server:
                return str((await server.xinfo_stream(key))["last-generated-id"])
        except ResponseError as error:
            if str(error).startswith("no such key"):
                return BEGINNING
            raise

    async def history(self) -> AsyncIterator[Shown]:
        """The entries up to those that were the newest at `open`, and what was read together with them."""
        while id_order(self._last_id) < id_order(self._end):
            entries = await self.next_entries(block_seconds=0)
            for entry_id, entry in entries:
                yield self.partition, entry_id, entry
            if not entries:
                return

    async def next_entries(self, *, block_seconds: float = BLOCK_SECONDS) -> Entries:
        """What comes after the position, waiting out whatever Redis is at; empty if nothing came for `block_seconds`."""
        while True:
            try:
                entries = await self._read(int(block_seconds * 1000))
            except TRY_AGAIN as error:
                # Not at the first time: a reader of our output that paused may have let an answer lie for too long.
                if self._backoff.failures:
                    self._outage.begin(self.partition, error)
                await asyncio.sleep(self._backoff.next_seconds())
                continue
            if entries is not None:
                return entries

    async def _read(self, block_ms: int) -> Entries | None:
        """What comes after the position; None if that had to be judged first."""
        found = await read(self._redis, self._stream, self.partition, self._last_id, count=READ_ENTRIES, block_ms=block_ms)
        self._outage.end(self.partition)
        self._backoff.reset()
        known = self._head.incarnation if self._head else None
        if found.incarnation != known:
            await self._judge(found.incarnation)
            return None
        if found.entries:
            self._last_id = found.entries[-1][0]
            self._seq = max([self._seq, *self._seqs(found.entries, found.seq)])
        return found.entries

    def _seqs(self, entries: Entries, newest: int) -> list[int]:
        """Of the events among the entries; what was never assigned is a stranger's."""
        seqs = []
        for _, entry in entries:
            try:
                seqs.append(int(self._read_event(entry).seq))
            except InvalidEntry:
                continue
        return [seq for seq in seqs if seq <= newest]

    async def _judge(self, incarnation: str | None) -> None:
        """A new incarnation began, or the head of the partition is gone or there again: find where to go on."""
        current = await head(self._redis, self.partition) if incarnation else None
        before, self._head = self._head, current
        if before is None:
            return
        if current is None:
            self._restart(BEGINNING, "Redis lost everything (FLUSHALL?); going on with what comes")
            return
        mine = label(self._stream, self._seq, before)
        match resolve(self._stream, mine, self._seq, current):
            case Resolution.CONTINUE:
                self._tell("a new incarnation began (Redis restarted?); nothing was lost")
            case Resolution.REWIND:
                end = next(ended.end_on(self._stream) for ended in current.lineage if ended.incarnation == mine)
                self._restart(end.id, f"Redis lost what came after seq {end.seq}, up to seq {self._seq}; going on after {end.id}")
                self._seq = end.seq
            case Resolution.RESET:
                last = current.lineage[-1].end_on(self._stream).id if current.lineage else BEGINNING
                self._restart(last, "Redis lost everything or was set back (FLUSHALL?); going on with what the new incarnation brings")

    def _restart(self, after: str, text: str) -> None:
        self._last_id, self._seq = after, 0
        self._tell(text)

    def _tell(self, text: str) -> None:
        self._say(f"partition {self.partition}: {text}")


def id_order(entry_id: str) -> tuple[int, int]:
    """What sorts entry ids: as text 9-0 is above 10-0."""
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence)


async def in_order(sources: Sequence[AsyncIterator[Shown]]) -> AsyncIterator[Shown]:
    """Merge sources, each of which is sorted by entry id, holding one entry of each."""
    heads = []
    for number, source in enumerate(sources):
        if (first := await anext(source, None)) is not None:
            heads.append((id_order(first[1]), number, first))
    heapify(heads)
    while heads:
        _, number, shown = heads[0]
        yield shown
        if (following := await anext(sources[number], None)) is None:
            heappop(heads)
        else:
            heapreplace(heads, (id_order(following[1]), number, following))
