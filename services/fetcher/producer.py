"""Appending exactly once: numbered batches, one in flight per partition, the same bytes again until the answer is known.

An answer that was lost leaves the batch stored or not; since Redis skips numbers it has, sending it again is harmless,
but only unchanged: newer ticks under its numbers would be skipped as duplicates.
"""

import asyncio
import time
from collections.abc import Sequence

import structlog
from redis.asyncio import Redis

from services.fetcher.measures import Appends
from shared.backoff import Backoff
from shared.crash_points import CrashPoint, answer_of, reach
from shared.errors import Fenced, TransientError
from shared.redis.client import REDIS_AWAY
from shared.redis.lease import Lease
from shared.redis.log import BATCH_ENTRIES, Answer, Appended, Batch, Rejected, append, freeze
from shared.runtime import wait_or_stop

log = structlog.get_logger(__name__)

FIRST_WAIT_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 1.0
SECONDS_BETWEEN_REPORTS = 10.0
FULL = "the stream is full"


class Appender:
    """Appends the batches of one producer to one partition that is held."""

    def __init__(self, redis: Redis, lease: Lease, producer: str, *, cap: int, lease_seconds: float) -> None:
        """`cap` is STREAM_CAP; waits stay short enough to keep a lease of `lease_seconds`."""
        self._redis = redis
        self._lease = lease
        self._producer = producer
        self._cap = cap
        self._longest_wait_seconds = min(LONGEST_WAIT_SECONDS, lease_seconds / 3)
        self._log = log.bind(partition=lease.partition)
        self._measures = Appends()
        self._is_obstacle_said = False
        self._obstacle_said_at = -SECONDS_BETWEEN_REPORTS
        self._refused = 0
        self._refused_said_at = -SECONDS_BETWEEN_REPORTS

    async def deliver(self, batch: Batch, *, waits_for_room: bool = True, polled: bool = False) -> Appended:
        """Send `batch` until what became of it is known: OK, AHEAD, or FULL once the lease has ended (without `waits_for_room`: at once).

        Raise `Fenced` if the lease is somebody else's.
        """
        backoff = Backoff(min(FIRST_WAIT_SECONDS, self._longest_wait_seconds), self._longest_wait_seconds)
        await reach(CrashPoint.FETCHER_BATCH_FROZEN)
        while True:
            appended = await self._try(batch, polled)
            if appended is not None and appended.answer is Answer.FENCED:
                raise Fenced(self._lease.service, self._lease.partition)
            is_patient = waits_for_room and not self._lease.ended.is_set()
            if appended is not None and (appended.answer is not Answer.FULL or not is_patient):
                self._say_obstacle("" if appended.answer is not Answer.FULL else FULL)
                if appended.answer is Answer.OK:
                    self._measures.note_stored(batch, appended.refused)
                self._count_refused(appended.refused)
                return appended
            await self._pause(backoff.next_seconds())

    async def _try(self, batch: Batch, polled: bool) -> Appended | None:
        """Send `batch` once; None if nobody knows what became of it or the functions are not ready."""
        sent_at = time.perf_counter()
        try:
            request = append(
                self._redis, self._lease.partition,
                token=self._lease.token, producer=self._producer, batch=batch, cap=self._cap, polled=polled,
            )  # fmt: skip
            appended = await answer_of(request, CrashPoint.FETCHER_APPEND_SENT)
            await reach(CrashPoint.FETCHER_APPEND_ANSWERED)
        except TransientError as error:
            self._lease.progress()  # Redis answers: another holder would fare no better
            self._say_obstacle(str(error))
        except REDIS_AWAY as error:
            self._say_obstacle(str(error) or type(error).__name__)
        else:
            self._measures.note_answer(appended.answer, time.perf_counter() - sent_at)
            self._lease.progress()
            if appended.answer is Answer.FULL:
                self._say_obstacle(FULL)
            return appended
        return None

    async def _pause(self, seconds: float) -> None:
        if self._lease.ended.is_set():
            await asyncio.sleep(seconds)  # the batch in flight is still finished, without a busy loop
        else:
            await wait_or_stop(self._lease.ended, seconds)

    def _say_obstacle(self, obstacle: str) -> None:
        # A stream that is full is so again and again: said once, and not again for a while.
        now = time.monotonic()
        if obstacle and not self._is_obstacle_said and now - self._obstacle_said_at >= SECONDS_BETWEEN_REPORTS:
            self._log.warning("append waits", reason=obstacle)
            self._is_obstacle_said, self._obstacle_said_at = True, now
        elif self._is_obstacle_said and not obstacle:
            self._log.info("append goes on")
            self._is_obstacle_said = False

    def _count_refused(self, ticks: int) -> None:
        self._refused += ticks
        now = time.monotonic()
        if self._refused and now - self._refused_said_at >= SECONDS_BETWEEN_REPORTS:
            self._log.warning("ticks refused, their ts is in the future of redis", ticks=self._refused)
            self._refused, self._refused_said_at = 0, now


class LiveProducer:
    """Numbers the ticks of a live source 1, 2, 3 ... under the token of its lease."""

    def __init__(self, redis: Redis, lease: Lease, *, cap: int, lease_seconds: float) -> None:
        self._lease = lease
        self._appender = Appender(redis, lease, lease.token, cap=cap, lease_seconds=lease_seconds)
        self._next_number = 1

    async def append(self, ticks: Sequence[Sequence[str]]) -> None:
        """Append at most 1 000 ticks, waiting for room; on return they are stored, unless the lease ended at a full stream."""
        await self._deliver(ticks, (), is_polled=False)

    async def offer(self, ticks: Sequence[Sequence[str]], malformed: Sequence[tuple[str, str]]) -> bool:
        """Append polled ticks and (reason, payload) of malformed answers, 1 000 together at most; False if the stream is full."""
        rejected = [Rejected(len(ticks) + place, *row) for place, row in enumerate(malformed)]
        return await self._deliver(ticks, rejected, is_polled=True)

    async def _deliver(self, ticks: Sequence[Sequence[str]], rejected: Sequence[Rejected], *, is_polled: bool) -> bool:
        while True:
            batch = freeze(self._next_number, ticks, rejected)
            appended = await self._appender.deliver(batch, waits_for_room=not is_polled, polled=is_polled)
            if appended.answer is Answer.FULL:
                return False
            self._next_number = appended.number + 1
            if appended.answer is not Answer.AHEAD:
                return True
            lost = batch.first - self._next_number
            log.warning("redis lost accepted ticks", partition=self._lease.partition, ticks=lost)


MOST_TICKS = BATCH_ENTRIES
"""Ticks in one `append`."""
