"""The persister's loop, per stream: read → encode → store with the cursor → mirror the cursor to the stream's group.

Where it stands is read from PostgreSQL, never from Redis; after any error it is read again, so an unknown COMMIT resolves
itself. When Redis began a new incarnation, the position is judged first and a loss is noted as an event.

Who is behind reads and encodes the next batch while PostgreSQL is at work on one: not sooner, since the short statements before
the COPY would wait for that, and PostgreSQL with them. Any failure drops it.
"""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

import structlog
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from services.persister.measures import Measures
from services.persister.rows import NOWHERE, Lines, Position, StreamEvent, encode
from services.persister.store import POSTGRES_AWAY, Store, StoredElsewhere
from shared import streams
from shared.backoff import Backoff
from shared.batch_size import BatchSize
from shared.crash_points import CrashPoint, reach
from shared.incarnations import End, Head, Resolution, label, resolve
from shared.redis import log as partition_log
from shared.redis.client import TRY_AGAIN
from shared.redis.lease import Lease
from shared.redis.log import Read
from shared.redis.retained import AnotherLife, look_since
from shared.runtime import give_up, wait_or_stop

log = structlog.get_logger(__name__)

ENTRIES = 2000
PAUSE_SECONDS = 0.1
"""After a batch that was not full: one transaction per few entries would cost more than that delay of the rows."""
LOOK_AGAIN_SECONDS = 10.0
"""How often an idle stream's cursor is read: well within the time that the streams keep what a restored database lacks."""
FINISH_SECONDS = 4.0
"""For the batch under way when the lease ends. A server that takes longer must not keep us: the cursor tells what became of it."""

MIRRORED = ("ticks", "enriched")


async def persist(redis: Redis, reader: Redis, store: Store, lease: Lease, *, block_ms: int) -> None:
    """Store the streams of a partition until the lease ends."""
    async with asyncio.TaskGroup() as group:
        following = []
        for stream in streams.STREAMS:
            follower = _Follower(redis, reader, store, lease, stream, block_ms)
            following.append(group.create_task(follower.run(), name=f"persist-{stream}-{lease.partition}"))
        await lease.ended.wait()
        _, late = await asyncio.wait(following, timeout=FINISH_SECONDS)
        for task in late:
            task.cancel()
        if late:
            log.warning("batch under way given up, it is read again", partition=lease.partition, waited_seconds=FINISH_SECONDS)


class _Batch(NamedTuple):
    """What was read after a position, and what it becomes there; None if it is to be judged first, or nothing."""

    found: Read
    before: Position
    lines: Lines | None


class _Follower:
    def __init__(self, redis: Redis, reader: Redis, store: Store, lease: Lease, stream: str, block_ms: int) -> None:
        self._redis = redis
        self._reader = reader
        self._store = store
        self._lease = lease
        self._partition = lease.partition
        self._stream = stream
        self._block_ms = block_ms
        self._place = stream, lease.partition
        self._look_again_at = 0.0
        self._size = BatchSize(ENTRIES)
        self._log = log.bind(partition=lease.partition, stream=stream)
        self._measures = Measures(stream, lease.partition)

    async def run(self) -> None:
        """Follow the stream until the lease ends."""
        try:
            await self._follow_again_and_again()
        finally:
            self._store.outages.pop(self._place, None)
            self._measures.end()

    async def _follow_again_and_again(self) -> None:
        backoff = Backoff()
        while not self._lease.ended.is_set():
            try:
                await self._follow(backoff)
            except (StoredElsewhere, AnotherLife) as reason:
                self._log.info("reading the cursor again", reason=str(reason))
            except (*TRY_AGAIN, *POSTGRES_AWAY) as error:
                self._note_outage(error)
                if isinstance(error, RedisTimeoutError):
                    self._size.on_timeout()
            else:
                return
            await self._lease.idle(backoff.next_seconds())

    def _note_outage(self, error: Exception) -> None:
        """Say it once, with the first reason; the newest one is shown by `/readyz`."""
        reason = str(error) or type(error).__name__
        if self._place not in self._store.outages:
            self._log.warning("waiting, nothing is lost", reason=reason)
        self._store.outages[self._place] = reason

    def _note_success(self, position: Position, backoff: Backoff) -> None:
        """Only once a batch is stored, or there is none: that the cursor can be read does not mean that rows can be written."""
        if self._store.outages.pop(self._place, None):
            self._log.info("going on", position=position.entry_id, tries=backoff.failures)
        backoff.reset()

    async def _follow(self, backoff: Backoff) -> None:
        position = await self._store.position(self._stream, self._partition)
        head = await partition_log.head(self._redis, self._partition)
        await reach(CrashPoint.PERSISTER_POSITION_READ)
        position = await self._resolve(position, head)
        position = await self._mirror(position, head)
        ahead: asyncio.Task[_Batch] | None = None
        try:
            while (batch := await self._lease.while_held(ahead or self._start_reading(position, head))) is not None:
                ahead, found = None, batch.found
                self._lease.progress()
                if found.incarnation != head.incarnation:
                    head = await partition_log.head(self._redis, self._partition)
                    # Mirrored again: the last batch was stored while Redis began anew, and its mirror was refused.
                    position = await self._mirror(await self._resolve(position, head), head)
                    continue
                is_full = self._size.on_read(len(found.entries))
                if found.entries:
                    lines = batch.lines if batch.lines and batch.before == position else self._encode(found, position, head)
                    is_sent = asyncio.Event()
                    # A full batch means that more is waiting: only then is there something to read meanwhile.
                    if is_full:
                        ahead = self._start_reading(lines.position, head, is_sent)
                    position = await self._store_batch(found, lines, position, head, is_sent)
                else:
                    self._measures.note_read(0)
                    if found.seq > position.seq and self._stream in MIRRORED:
                        position = await self._look_for_more(position, found, head)
                    await self._check_cursor(position)
                self._note_success(position, backoff)
                if found.entries and not is_full:
                    await wait_or_stop(self._lease.ended, PAUSE_SECONDS)
        finally:
            await give_up(ahead)

    async def _check_cursor(self, position: Position) -> None:
        """Raise `StoredElsewhere` if the cursor has moved while there was nothing to store: the database was restored, and lacks rows."""
        now = time.monotonic()
        if now < self._look_again_at:
            return
        self._look_again_at = now + LOOK_AGAIN_SECONDS
        stored = await self._store.position(self._stream, self._partition)
        if stored[:2] != position[:2]:
            raise StoredElsewhere

    async def _store_batch(self, found: Read, batch: Lines, position: Position, head: Head, is_sent: asyncio.Event) -> Position:
        """Store what was read after `position`; `is_sent` is set once PostgreSQL is at work on it, or done."""
        await reach(CrashPoint.PERSISTER_BATCH_READ)
        if batch.hole is not None:
            await self._judge_hole(batch, batch.hole, position, found, _as_read(head, self._stream, found))
        self._measures.note_read(found.seq - batch.position.seq)
        refused = await self._store_lines(position, batch, is_sent.set)
        is_sent.set()
        await reach(CrashPoint.PERSISTER_COMMITTED)
        self._measures.note_rows(len(found.entries), len(batch.lines) - len(refused), batch.position.entry_id)
        self._report(batch, refused)
        position = await self._mirror(batch.position, head)
        await reach(CrashPoint.PERSISTER_MIRRORED)
        return position

    async def _judge_hole(self, batch: Lines, hole: tuple[int, int], position: Position, found: Read, head: Head) -> None:
        """Note a gap if what is missing before the batch was deleted unread; a dead-lettered tick leaves a hole that is no loss."""
        kept = await look_since(self._redis, self._stream, self._partition, found)
        if kept.was_cut(position.entry_id, position.passed, [entry_id for entry_id, _ in found.entries]):
            batch.events.append(self._gap(*hole, head, before=found.entries[0][0]))

    async def _look_for_more(self, position: Position, found: Read, head: Head) -> Position:
        """Nothing more comes although more was written: note what was deleted unread, and go on where the stream goes on."""
        kept = await look_since(self._redis, self._stream, self._partition, found)
        if kept.has_after(position.entry_id):
            return position  # it was written between the two looks
        is_anew = kept.began_anew(position.entry_id)
        is_lost = not (kept.length and is_anew)
        entry_id = "0-0" if is_anew else kept.newest_id
        after = position._replace(entry_id=entry_id)
        if is_lost:  # under the label of what is passed over: that of the last row may have ended before it
            after = Position(label(self._stream, found.seq, head), entry_id, found.seq, kept.added)
        if after == position:
            return position
        batch = Lines(after, [], [self._gap(position.seq + 1, found.seq, head, after=position.entry_id)] if is_lost else [])
        await self._store_lines(position, batch)
        self._report(batch, [])
        return after

    def _gap(self, first: int, last: int, head: Head, **place: str) -> StreamEvent:
        return StreamEvent(self._stream, "gap", label(self._stream, first, head), first, last, dict(place))

    async def _store_lines(self, position: Position, batch: Lines, when_sent: Callable[[], None] = lambda: None) -> list[StreamEvent]:
        with self._measures.transaction():
            refused = await self._store.store(self._stream, self._partition, position, batch, when_sent)
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

    def _start_reading(self, before: Position, head: Head, begin: asyncio.Event | None = None) -> "asyncio.Task[_Batch]":
        """Read and encode the next batch, once `begin` is set; giving it up loses nothing, since reading has no side effect."""
        return asyncio.create_task(self._read(before, head, begin), name=f"read-{self._stream}-{self._partition}")

    async def _read(self, before: Position, head: Head, begin: asyncio.Event | None) -> "_Batch":
        if begin is not None:
            await begin.wait()
        found = await partition_log.read(
            self._reader, self._stream, self._partition, before.entry_id, count=self._size.count, block_ms=self._block_ms
        )
        is_known = found.incarnation == head.incarnation
        return _Batch(found, before, self._encode(found, before, head) if found.entries and is_known else None)

    def _encode(self, found: Read, before: Position, head: Head) -> Lines:
        return encode(self._stream, self._partition, found.entries, before, _as_read(head, self._stream, found))

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


def _as_read(head: Head, stream: str, found: Read) -> Head:
    """A head as it was when entries were read."""
    return Head(head.incarnation, head.lineage, {**head.last_seq, stream: found.seq})


def _end_of_events(head: Head) -> Position:
    """Events have no rows of their own to go back to: go on behind those that survived."""
    if not head.lineage:
        return NOWHERE
    ended = head.lineage[-1]
    return Position(ended.incarnation, ended.events.id, ended.events.seq, ended.events.added)
