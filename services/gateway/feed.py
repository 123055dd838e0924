"""Follows one partition of `enriched:{p}` for ever, and never takes an entry of a lost history for a new one.

Starts from a snapshot, scans what the stream retained up to there for alerts, and reads on behind it. When the incarnation
changes, what was read is discarded and the position judged first: go on, or begin with a new snapshot and say so. The same when
seqs are missing because entries were deleted unread. A bad entry is counted and passed over.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple

import structlog
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from services.gateway.alert_index import STREAM
from services.gateway.alert_scan import AlertScan, floor_of
from services.gateway.hub import History, Hub
from services.gateway.measures import HOP, INCARNATIONS
from services.gateway.protocol import Position
from shared import metrics
from shared.backoff import Backoff
from shared.batch_size import BatchSize
from shared.commits import Entries
from shared.crash_points import CrashPoint, reach
from shared.errors import InvalidEntry
from shared.events import Enriched, read_enriched
from shared.incarnations import Head, Resolution, label, resolve
from shared.latest import parse_latest
from shared.redis.client import TRY_AGAIN
from shared.redis.log import Read, Snapshot, Unconfigured, head, read, snapshot
from shared.redis.retained import AnotherLife, look, look_since, read_gap_seq
from shared.retained import Retained
from shared.sequence import SequenceCheck

READ_ENTRIES = 1000
BLOCK_SECONDS = 1.0
"""How long a read waits for an entry; below the hub's patience, so that a quiet stream is not taken for a silent Redis."""
MOST_WAIT_SECONDS = 1.0
"""Between tries while Redis is away: clients are to know soon that it is back."""
LOOK_SECONDS = 5.0
"""Between looks at what the stream still holds."""
TELL_SECONDS = 5.0
"""Between log lines of a scan that takes long."""

log = structlog.get_logger(__name__)


class Outage:
    """What all feeds together say about Redis: once that it is away, and once for how long it was."""

    def __init__(self) -> None:
        self._away: set[int] = set()
        self._since = 0.0

    def begin(self, partition: int, error: Exception, now: float) -> None:
        """Note that a partition cannot be read, at `now` seconds of the monotonic clock."""
        if not self._away:
            self._since = now
            log.warning("redis is away, trying again", partition=partition, reason=str(error) or type(error).__name__)
        self._away.add(partition)

    def end(self, partition: int, now: float) -> None:
        """Note that a partition can be read."""
        if partition in self._away:
            self._away.discard(partition)
            if not self._away:
                log.info("redis is back", seconds=round(now - self._since, 1))


Hole = tuple[int, int]
"""Seqs that are missing: first, last."""


class Batch(NamedTuple):
    """Entries as the feed takes them."""

    events: list[Enriched]
    bad: list[tuple[str, InvalidEntry]]
    """Entry id and why it is no event."""
    holes: list[Hole]


class _Scan:
    """A snapshot whose alerts are being collected."""

    def __init__(self, found: Snapshot, partition: int, now: float) -> None:
        self.found = found
        self.alerts = AlertScan(partition, found.head, found.seq, found.last_id)
        self.began = now
        self._partition = partition
        self._told_at = now

    def tell(self, now: float) -> None:
        """Say every so often how far it is."""
        if now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            log.info("collecting the retained alerts", partition=self._partition, entries=self.alerts.entries)


class Feed:
    """One partition. `set_up` is called when the head of the partition is gone (FLUSHALL) and must be made again."""

    def __init__(self, redis: Redis, partition: int, hub: Hub, outage: Outage, set_up: Callable[[], Awaitable[object]]) -> None:
        self._redis = redis
        self._partition = partition
        self._hub = hub
        self._outage = outage
        self._set_up = set_up
        self._backoff = Backoff(most_seconds=MOST_WAIT_SECONDS)
        self._size = BatchSize(READ_ENTRIES)
        self._scan: _Scan | None = None
        self._head: Head | None = None
        self._last_id = "0-0"
        self._sequence = SequenceCheck(0)
        self._newest_seq = 0
        self._passed = 0
        self._lost: str | None = None
        self._gap_seq = 0
        self._looked_at = 0.0
        self.skipped = 0
        """Entries passed over because they were no events."""

    @property
    def lag(self) -> int | None:
        """How many entries there were still to be read at the last look; None while the partition is not loaded."""
        return None if self._head is None else max(0, self._newest_seq - self._sequence.last)

    async def run(self) -> None:
        """Follow the partition until cancelled."""
        now = asyncio.get_running_loop().time
        while True:
            try:
                await self._step()
            except TRY_AGAIN as error:
                if isinstance(error, RedisTimeoutError):
                    self._size.on_timeout()
                self._outage.begin(self._partition, error, now())
                await asyncio.sleep(self._backoff.next_seconds())
            else:
                self._outage.end(self._partition, now())
                self._hub.hear(self._partition, now())
                self._backoff.reset()

    async def _step(self) -> None:
        try:
            if self._scan is not None:
                await self._read_retained(self._scan)
            elif self._head is None:
                found = await snapshot(self._redis, self._partition)
                await reach(CrashPoint.GATEWAY_SNAPSHOT_READ)
                self._scan = _Scan(found, self._partition, asyncio.get_running_loop().time())
            else:
                await self._read(self._head)
                await self._let_go()
        except AnotherLife:
            pass  # the next read tells which, and that is judged
        except Unconfigured:
            self._scan = None
            await self._set_up()

    async def _read_retained(self, scan: "_Scan") -> None:
        """Take the next of the retained entries, and all that was found with the last of them."""
        found = await read(self._redis, STREAM, self._partition, scan.alerts.after, count=self._size.count, block_ms=0)
        await reach(CrashPoint.GATEWAY_RETAINED_READ)
        self._size.on_read(len(found.entries))
        scan.alerts.take(found.entries)
        scan.tell(asyncio.get_running_loop().time())
        if scan.alerts.is_whole:
            await self._finish(scan)

    async def _finish(self, scan: "_Scan") -> None:
        kept = await look(self._redis, STREAM, self._partition)
        gap_seq = await read_gap_seq(self._redis, self._partition)
        current = await head(self._redis, self._partition)
        self._scan = None
        # Else what was looked at may be another life of the stream, and is looked at anew.
        if current.incarnation == scan.found.incarnation:
            self._load(scan, kept, gap_seq)

    def _load(self, scan: "_Scan", kept: Retained, gap_seq: int) -> None:
        found = scan.found
        alerts = scan.alerts.finish(kept, max(gap_seq, self._gap_seq))
        self._head, self._last_id, self._sequence, self._passed = found.head, found.last_id, SequenceCheck(found.seq), found.passed
        self._newest_seq = found.seq
        history = History(found.head, alerts)
        self._hub.load(self._partition, self._position(found.head), self._events_of(found.latest), history, self._lost)
        self._lost = None
        self._looked_at = asyncio.get_running_loop().time()
        metrics.GATEWAY_SCAN_SECONDS.observe(self._looked_at - scan.began)
        log.info("alerts indexed", partition=self._partition, entries=scan.alerts.entries, alerts=len(alerts), floor=alerts.floor)

    async def _let_go(self) -> None:
        """Have the hub forget, every so often, the alerts that were trimmed."""
        now = asyncio.get_running_loop().time()
        if self._head is not None and now - self._looked_at >= LOOK_SECONDS:
            kept = await look(self._redis, STREAM, self._partition)
            self._looked_at = now
            self._hub.forget_up_to(self._partition, floor_of(kept, self._sequence.last) or 0)

    async def _read(self, known: Head) -> None:
        found = await read(self._redis, STREAM, self._partition, self._last_id, count=self._size.count, block_ms=int(BLOCK_SECONDS * 1000))
        self._newest_seq = found.seq
        if found.incarnation != known.incarnation:
            self._judge(known, await head(self._redis, self._partition))
        elif found.entries:
            await reach(CrashPoint.GATEWAY_BATCH_READ)
            self._size.on_read(len(found.entries))
            await self._take(known, found)
        elif found.seq > self._sequence.last:
            await self._look_for_more(found)

    def _judge(self, known: Head, current: Head) -> None:
        """A new incarnation began: go on, or forget the position and let the next step take a snapshot."""
        position = self._position(known)
        resolution = resolve(STREAM, position.incarnation, position.seq, current)
        INCARNATIONS[resolution.name.lower()].inc()
        log.warning(
            "a new incarnation began", partition=self._partition, outcome=resolution.name.lower(),
            incarnation=current.incarnation, position=position.seq,
        )  # fmt: skip
        if resolution is Resolution.CONTINUE:
            self._head = current
            self._hub.go_on(self._partition, current)
        else:
            self._head = None
            self._gap_seq = 0
            self._lost = resolution.name.lower()

    async def _take(self, known: Head, found: Read) -> None:
        """Hand the entries on, unless some before them are lost; nothing is changed until that is known."""
        sequence = SequenceCheck(self._sequence.last)
        batch = _sort(found.entries, sequence, found.seq)
        if lost := await self._lost_among(batch.holes, found):
            self._lose(lost[0][0], lost[-1][1])
            return
        if batch.bad:
            self._skip_entries(batch.bad)
        self._sequence, self._last_id, self._passed = sequence, found.entries[-1][0], self._passed + len(found.entries)
        if batch.events:
            HOP.take(self._last_id)
            self._hub.apply(self._partition, self._position(known), batch.events, lambda event: label(STREAM, int(event.seq), known))

    async def _lost_among(self, holes: Sequence[Hole], found: Read) -> Sequence[Hole]:
        """Those holes in the seqs that are a loss: a tick that was dead-lettered leaves one, too."""
        if not holes:
            return ()
        kept = await look_since(self._redis, STREAM, self._partition, found)
        if kept.was_cut(self._last_id, self._passed, (entry_id for entry_id, _ in found.entries)):
            return holes
        gap_seq = await read_gap_seq(self._redis, self._partition)
        return [hole for hole in holes if hole[0] <= gap_seq <= hole[1]]

    async def _look_for_more(self, found: Read) -> None:
        """Nothing more comes although more was written: was it deleted, or written between the two looks?"""
        kept = await look_since(self._redis, STREAM, self._partition, found)
        if not kept.has_after(self._last_id):
            self._lose(self._sequence.last + 1, found.seq)

    def _lose(self, first: int, last: int) -> None:
        """Entries were deleted unread: let the next step take a snapshot, and clients forget what they knew.

        The alerts before the hole are no answer any more to whoever stands there, since some may have been in it.
        """
        log.error("entries were deleted before they were read", partition=self._partition, first_seq=first, last_seq=last)
        metrics.GATEWAY_GAPS.inc()
        self._head = None
        self._gap_seq = last
        self._lost = "gap"

    def _position(self, known: Head) -> Position:
        return Position(label(STREAM, self._sequence.last, known), self._sequence.last)

    def _skip_entries(self, bad: Sequence[tuple[str, InvalidEntry]]) -> None:
        self._skip(len(bad))
        log.warning(
            "skipped entries that are no events", partition=self._partition, count=len(bad), total=self.skipped,
            entry_id=bad[0][0], reason=str(bad[0][1]),
        )  # fmt: skip

    def _skip(self, entries: int) -> None:
        self.skipped += entries
        metrics.GATEWAY_ENTRIES_SKIPPED.inc(entries)

    def _events_of(self, latest: dict[str, str]) -> Iterator[Enriched]:
        for ticker, text in latest.items():
            try:
                yield parse_latest(ticker, text)
            except InvalidEntry as error:
                self._skip(1)
                log.warning("skipped a latest value", partition=self._partition, ticker=ticker[:40], reason=str(error))


def _sort(entries: Entries, sequence: SequenceCheck, newest: int) -> Batch:
    """Tell events from what is none, or was never assigned, and note where seqs are missing."""
    batch = Batch([], [], [])
    for entry_id, entry in entries:
        try:
            event = read_enriched(entry)
            seq = int(event.seq)
            missing = sequence.advance(seq, newest)
        except InvalidEntry as error:
            batch.bad.append((entry_id, error))
            continue
        if missing:
            batch.holes.append((seq - missing, seq - 1))
        batch.events.append(event)
    return batch
