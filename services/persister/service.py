"""The persister's loop, per stream: read → encode → store with the cursor → mirror the cursor to the stream's group.

Where it stands is read from PostgreSQL, never from Redis; after any error it is read again, so an unknown COMMIT resolves
itself. When Redis began a new incarnation, the position is judged first and a loss is noted as an event.
"""

import asyncio

import structlog
from redis.asyncio import Redis

from services.persister.measures import Measures
from services.persister.rows import NOWHERE, Lines, Position, StreamEvent, encode
from services.persister.store import POSTGRES_AWAY, Store, StoredElsewhere
from shared import streams
from shared.backoff import Backoff
from shared.incarnations import End, Head, Resolution, resolve
from shared.redis import log as partition_log
from shared.redis.client import TRY_AGAIN
from shared.redis.lease import Lease
from shared.redis.log import Read
from shared.runtime import wait_or_stop

log = structlog.get_logger(__name__)

ENTRIES = 2000
FEW = 1000
PAUSE_SECONDS = 0.05
"""After a small batch: one transaction per few entries would cost more than a few milliseconds' delay of the rows."""

MIRRORED = ("ticks", "enriched")


async def persist(redis: Redis, reader: Redis, store: Store, lease: Lease, *, block_ms: int) -> None:
    """Store the streams of a partition until the lease ends."""
    async with asyncio.TaskGroup() as group:
        for stream in streams.STREAMS:
            follower = _Follower(redis, reader, store, lease, stream, block_ms)
            group.create_task(follower.run(), name=f"persist-{stream}-{lease.partition}")


class _Follower:
    def __init__(self, redis: Redis, reader: Redis, store: Store, lease: Lease, stream: str, block_ms: int) -> None:
        self._redis = redis
        self._reader = reader
        self._store = store
        self._lease = lease
        self._partition = lease.partition
        self._stream = stream
        self._block_ms = block_ms
        self._log = log.bind(partition=lease.partition, stream=stream)
        self._measures = Measures(stream, lease.partition)

    async def run(self) -> None:
        """Follow the stream until the lease ends."""
        try:
            await self._follow_again_and_again()
        finally:
            self._measures.end()

    async def _follow_again_and_again(self) -> None:
        backoff = Backoff()
        while not self._lease.ended.is_set():
            try:
                await self._follow(backoff)
            except StoredElsewhere as reason:
                self._log.info("reading the cursor again", reason=str(reason))
            except (*TRY_AGAIN, *POSTGRES_AWAY) as error:
                if backoff.failures == 0:
                    self._log.warning("waiting, nothing is lost", reason=str(error) or type(error).__name__)
                self._lease.progress()
                await wait_or_stop(self._lease.ended, backoff.next_seconds())

    async def _follow(self, backoff: Backoff) -> None:
        position = await self._store.position(self._stream, self._partition)
        head = await partition_log.head(self._redis, self._partition)
        position = await self._resolve(position, head)
        position = await self._mirror(position, head)
        if backoff.failures:
            self._log.info("going on", position=position.entry_id, tries=backoff.failures)
        backoff.reset()
        while (found := await self._read(position.entry_id)) is not None:
            self._lease.progress()
            if found.incarnation != head.incarnation:
                head = await partition_log.head(self._redis, self._partition)
                # Mirrored again: the last batch was stored while Redis began anew, and its mirror was refused.
                position = await self._mirror(await self._resolve(position, head), head)
            elif found.entries:
                position = await self._store_batch(found, position, head)
                if len(found.entries) < FEW:
                    await wait_or_stop(self._lease.ended, PAUSE_SECONDS)
            else:
                self._measures.note_read(0)

    async def _store_batch(self, found: Read, position: Position, head: Head) -> Position:
        now = Head(head.incarnation, head.lineage, {**head.last_seq, self._stream: found.seq})
        batch = encode(self._stream, self._partition, found.entries, position, now)
        self._measures.note_read(found.seq - batch.position.seq)
        refused = await self._store_lines(position, batch)
        self._measures.note_rows(len(found.entries), len(batch.lines) - len(refused), batch.position.entry_id)
        self._report(batch, refused)
        return await self._mirror(batch.position, head)

    async def _store_lines(self, position: Position, batch: Lines) -> list[StreamEvent]:
        with self._measures.transaction():
            refused = await self._store.store(self._stream, self._partition, position, batch)
        self._measures.note_events((*batch.events, *refused))
        return refused

    async def _mirror(self, position: Position, head: Head) -> Position:
        """Move the stream's group to what PostgreSQL holds, so that trimming and operators see it."""
        if self._stream not in MIRRORED or position.entry_id == NOWHERE.entry_id:
            return position
        passed = await partition_log.mirror(
            self._redis,
            self._partition,
            stream=self._stream,
            group=streams.PERSISTER_GROUP,
            incarnation=head.incarnation,
            entry_id=position.entry_id,
            passed=position.passed,
        )
        return position._replace(passed=passed)

    async def _read(self, after: str) -> Read | None:
        """Read the next batch; None once the lease ended."""
        reading = asyncio.ensure_future(
            partition_log.read(self._reader, self._stream, self._partition, after, count=ENTRIES, block_ms=self._block_ms)
        )
        return await self._lease.while_held(reading)

    async def _resolve(self, position: Position, head: Head) -> Position:
        """Judge the position in the incarnation of `head`; go back to what is stored and was not lost, and note the loss."""
        if position.incarnation == NOWHERE.incarnation:
            return position
        verdict = resolve(self._stream, position.incarnation, position.seq, head)
        if verdict is Resolution.CONTINUE:
            return position
        found = await self._newest_kept(position, head)
        kind = "reset" if found == NOWHERE else "rewind"
        after = found if found != NOWHERE else NOWHERE._replace(incarnation=head.incarnation)
        lost = {"position": position.entry_id, "seq": position.seq, "incarnation": position.incarnation, "going_on_after": after.entry_id}
        first_lost = after.seq + 1 if kind == "rewind" else None
        event = StreamEvent(self._stream, kind, position.incarnation, first_lost, position.seq, dict(lost))
        await self._store_lines(position, Lines(after, [], [event]))
        self._log.error("redis lost entries that were stored", kind=kind, **lost)
        return after

    async def _newest_kept(self, position: Position, head: Head) -> Position:
        """The newest stored row whose entry Redis still has, or had and trimmed: of a listed incarnation, up to its end."""
        if self._stream not in MIRRORED:
            return _end_of_events(head)
        # A copy from before the position's incarnation began names an older one as current until a function has run.
        row = await self._store.newest(self._stream, self._partition, head.incarnation, head.last_seq[self._stream])
        if row is not None:
            entry_id, seq = row
            return Position(head.incarnation, entry_id, seq, max(0, position.passed - (position.seq - seq)))
        for ended in reversed(head.lineage):
            end = ended.end_on(self._stream)
            row = await self._store.newest(self._stream, self._partition, ended.incarnation, end.seq)
            row = row or await self._newest_dropped(ended.incarnation, end)
            if row is not None:
                entry_id, seq = row
                return Position(ended.incarnation, entry_id, seq, max(0, end.added - (end.seq - seq)))
        return NOWHERE

    async def _newest_dropped(self, incarnation: str, end: End) -> tuple[str, int] | None:
        """The same where RETENTION_DAYS has dropped all those rows; if it dropped lost ones, too, the end was stored."""
        row = await self._store.newest_dropped(self._stream, self._partition, incarnation)
        return row if row is None or row[1] <= end.seq else (end.id, end.seq)

    def _report(self, batch: Lines, refused: list[StreamEvent]) -> None:
        for event in (*batch.events, *refused):
            if event.kind in ("gap", "rejected"):
                self._log.error(
                    "noted in stream_events", kind=event.kind, first_seq=event.first_seq, last_seq=event.last_seq, **event.detail
                )


def _end_of_events(head: Head) -> Position:
    """Events have no rows of their own to go back to: go on behind those that survived."""
    if not head.lineage:
        return NOWHERE
    ended = head.lineage[-1]
    return Position(ended.incarnation, ended.events.id, ended.events.seq, ended.events.added)
