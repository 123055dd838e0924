"""The analyzer's loop: load the committed state, then read → digest → commit, with one commit in flight.

The next batch is read ahead, and digested while the commit of the one before is on its way, which doubles the throughput.
Its own commit is sent only after that one was answered OK or DUP; after any other answer, and after any error, everything in memory is
thrown away and loaded again.
"""

import asyncio
import time
from contextlib import suppress
from typing import NoReturn

import structlog
from redis.asyncio import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from services.analyzer.measures import Measures
from services.analyzer.settings import AnalyzerSettings
from services.analyzer.state_machine import StateMachine
from services.analyzer.stream_watch import StreamWatch
from shared.backoff import Backoff
from shared.batch_size import BatchSize
from shared.commits import Digest
from shared.crash_points import CrashPoint, answer_of, reach
from shared.errors import ConfigurationError, Fenced, Problem
from shared.redis import log as partition_log
from shared.redis.client import TRY_AGAIN
from shared.redis.lease import Lease
from shared.redis.log import BATCH_ENTRIES, Answer, Read, Trimmed
from shared.runtime import first_cause, give_up, see_off, wait_or_stop

log = structlog.get_logger(__name__)

TRIM_SECONDS = 1.0
QUIET_SECONDS = 4.0
"""So much longer where nothing was to be trimmed or waited for, and nothing is committed: then entries can only grow too old."""
NEARLY_FULL = 0.8
"""Part of STREAM_CAP from which trimming does not wait for its turn."""


class Reload(Exception):
    """The partition is not as this process remembers it: load it again."""


async def analyze(redis: Redis, reader: Redis, lease: Lease, settings: AnalyzerSettings, *, block_ms: int) -> None:
    """Work on a partition until the lease ends. Raise `Fenced` when somebody else holds it."""
    worker = _Worker(redis, reader, lease, settings, block_ms)
    try:
        # A group: if trimming failed unnoticed, the streams would fill up and everything would wait for room.
        async with asyncio.TaskGroup() as tasks:
            trimming = tasks.create_task(worker.trim_for_ever(), name=f"trim-{lease.partition}")
            await worker.run()
            trimming.cancel()
    except BaseExceptionGroup as errors:
        raise first_cause(errors) from None
    finally:
        worker.measures.end()


class _Worker:
    def __init__(self, redis: Redis, reader: Redis, lease: Lease, settings: AnalyzerSettings, block_ms: int) -> None:
        self._redis = redis
        self._reader = reader
        self._lease = lease
        self._partition = lease.partition
        self._settings = settings
        self._block_ms = block_ms
        self._size = BatchSize(BATCH_ENTRIES)
        self._nearly_full = asyncio.Event()
        self._moved = asyncio.Event()
        self._log = log.bind(partition=lease.partition)
        self.measures = Measures(lease.partition)
        self._watch = StreamWatch(lease.partition, self.measures)

    async def run(self) -> None:
        """Load and follow, again and again, until the lease ends."""
        backoff = Backoff()
        while not self._lease.ended.is_set():
            try:
                await self._load_and_follow(backoff)
            except Reload as reason:
                self._log.info("loading again", reason=str(reason))
                self.measures.note_reload()
            except TRY_AGAIN as error:
                if backoff.failures == 0:
                    self._log.warning("waiting, nothing is lost", reason=str(error) or type(error).__name__)
                if isinstance(error, RedisTimeoutError):
                    self._size.on_timeout()
                await self._lease.idle(backoff.next_seconds())

    async def _load_and_follow(self, backoff: Backoff) -> None:
        state = await partition_log.load(self._redis, self._partition)
        self._moved.set()
        await reach(CrashPoint.ANALYZER_LOADED)
        if state.period != self._settings.sma_period:
            mine = str(self._settings.sma_period)
            raise ConfigurationError((Problem("SMA_PERIOD", mine, f"was changed to {state.period} in this deployment"),))
        if backoff.failures:
            self._log.info("going on", cursor=state.cursor)
        backoff.reset()
        await self._follow(StateMachine(state), state.incarnation)

    async def _follow(self, machine: StateMachine, incarnation: str) -> None:
        ahead: asyncio.Task[Read] | None = None
        in_flight: asyncio.Task[None] | None = None
        try:
            while (found := await self._lease.while_held(ahead or self._start_reading(machine.cursor))) is not None:
                ahead = None
                if found.incarnation != incarnation:
                    raise Reload("a new incarnation of the partition began")
                self._lease.progress()
                # A full batch means that more is waiting: only then is there something to overlap with.
                is_full = self._size.on_read(len(found.entries))
                if is_full:
                    ahead = self._start_reading(found.entries[-1][0])
                    await _put_on_the_wire()
                if found.entries:
                    await reach(CrashPoint.ANALYZER_BATCH_READ)
                    digest = machine.digest(found.entries, found.seq)
                    self._report(digest)
                    self.measures.note_read(found.seq - digest.seq)
                    if in_flight is not None:
                        await in_flight
                    in_flight = asyncio.create_task(self._commit(digest, incarnation), name=f"commit-{self._partition}")
                else:
                    self.measures.note_read(0)
                if in_flight is not None and not is_full:
                    await in_flight
                    in_flight = None
        finally:
            await give_up(ahead)
            await see_off(in_flight)
        if in_flight is not None:
            in_flight.result()

    def _start_reading(self, after: str) -> "asyncio.Task[Read]":
        """Read the next batch; giving up a read loses nothing, since reading has no side effect."""
        reading = partition_log.read(self._reader, "ticks", self._partition, after, count=self._size.count, block_ms=self._block_ms)
        return asyncio.create_task(reading, name=f"read-{self._partition}")

    async def _commit(self, digest: Digest, incarnation: str) -> None:
        """Send a digest until it is in; return on OK and DUP only."""
        room = Backoff(0.02, 1.0)
        await reach(CrashPoint.ANALYZER_BEFORE_COMMIT)
        while True:
            sent_at = time.perf_counter()
            request = partition_log.commit(
                self._redis,
                self._partition,
                token=self._lease.token,
                period=self._settings.sma_period,
                incarnation=incarnation,
                cap=self._settings.stream_cap,
                digest=digest,
            )
            committed = await answer_of(request, CrashPoint.ANALYZER_COMMIT_SENT)
            await reach(CrashPoint.ANALYZER_COMMIT_ANSWERED)
            self.measures.note_answer(committed.answer, time.perf_counter() - sent_at)
            self._moved.set()
            if max(committed.ticks_length, committed.enriched_length) >= NEARLY_FULL * self._settings.stream_cap:
                self._nearly_full.set()
            if committed.answer is not Answer.FULL:
                return self._settle(committed.answer, digest)
            if room.failures == 0:
                self._log.warning("enriched stream is full, waiting for its readers", length=committed.enriched_length)
            self._lease.progress()
            if await wait_or_stop(self._lease.ended, room.next_seconds()):
                return None

    def _settle(self, answer: Answer, digest: Digest) -> None:
        if answer is Answer.FENCED:
            raise Fenced("analyzer", self._partition)
        if answer in (Answer.RESET, Answer.CONFLICT):
            raise Reload(f"the commit was answered {answer}")
        if answer is Answer.DUP and digest.missing:
            # Only another holder can have brought the cursor here: it had read what was trimmed since, and this one had not.
            raise Reload("the commit was made by another holder, who missed nothing")
        self.measures.note_commit(digest)

    def _report(self, digest: Digest) -> None:
        if digest.outcome.deadletters:
            first_id, reason = digest.outcome.deadletters[:2]
            self._log.warning("entries dead-lettered", count=len(digest.outcome.deadletters) // 3, first=first_id, reason=reason)
        for first, last in digest.missing:
            self._log.error("ticks were deleted before they were read", first_seq=first, last_seq=last)

    async def trim_for_ever(self) -> NoReturn:
        """Trim the partition's streams once a second, at once when one is nearly full, and now and then where nothing moves."""
        while True:
            self._nearly_full.clear()
            self._moved.clear()
            trimmed = await self._trim()
            if trimmed is not None and trimmed.is_quiet:
                await _happens_within(self._moved, QUIET_SECONDS)
            if trimmed is None or not trimmed.is_more:
                await _happens_within(self._nearly_full, TRIM_SECONDS)
                # Even when a stream stays nearly full: there is nothing to trim until some reader moves.
                await asyncio.sleep(0.05)

    async def _trim(self) -> Trimmed | None:
        await reach(CrashPoint.ANALYZER_BEFORE_TRIM)
        try:
            window_ms = int(self._settings.replay_window_seconds * 1000)
            trimmed = await partition_log.trim(self._redis, self._partition, cap=self._settings.stream_cap, window_ms=window_ms)
        except TRY_AGAIN as error:
            self._log.debug("not trimmed", reason=str(error))
            return None
        self._watch.look(trimmed, self._settings.stream_cap)
        return trimmed


async def _happens_within(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _put_on_the_wire() -> None:
    """Let a new request be sent before a digest takes the processor: redis-py needs a few turns of the loop for that."""
    for _ in range(3):
        await asyncio.sleep(0)
