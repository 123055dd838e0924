"""Who works on which partition: leases without expiry, taken over when their counter stands still.

A lease saves wasted work; correctness is the commit's compare-and-set. A taker watches (token, counter) with its own
monotonic clock, as Kinesis' KCL does, so that clock steps and stalls of Redis cause no mass take-over.
"""

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from redis.asyncio import Redis

from shared import metrics, observe, streams
from shared.backoff import Backoff
from shared.crash_points import CrashPoint, reach
from shared.errors import ConfigurationError, Fenced, NotReady, TransientError
from shared.redis.client import TRY_AGAIN
from shared.redis.deployment import Deployment, join
from shared.redis.log import Unconfigured, call, read_hash
from shared.runtime import wait_or_stop

log = structlog.get_logger(__name__)
T = TypeVar("T")

ROUNDS_PER_LEASE = 5
"""Rounds of looking and heartbeats within LEASE_SECONDS; one lost round is no lost lease."""

LONGEST_ROUND_SECONDS = 0.5
"""A take-over comes up to two rounds after LEASE_SECONDS, and 1.5 s are promised."""

IDLE_ROUND_SECONDS = 0.1
"""Rounds of a worker that is done: well within the shortest LEASE_SECONDS that makes sense."""

RELEASE_SECONDS = 2.0
"""Giving a lease back only saves others the wait: while Redis hangs, the grace is not spent on it."""

CHECK = "leases"
"""What a finished round confirms: that this process would take over a partition if one were free."""

HEALTHY_SECONDS = 60.0
"""A worker that ran this long since its last crash is tried again soon when it crashes."""


def owner_name() -> str:
    """This process, as operators see it in `XINFO CONSUMERS`."""
    return f"{socket.gethostname()}:{os.getpid()}"


class LeaseWatch:
    """Watches leases of others: pure, time is an argument."""

    def __init__(self, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._seen: dict[int, tuple[str, str, float]] = {}

    def may_take(self, partition: int, token: str, beats: str, now_seconds: float) -> bool:
        """Whether the holder's counter has stood still for the whole lease, as far as this process could see."""
        seen = self._seen.get(partition)
        if seen is None or seen[:2] != (token, beats):
            self._seen[partition] = (token, beats, now_seconds)
            return False
        return now_seconds - seen[2] >= self._lease_seconds

    def forget(self, partition: int | None = None) -> None:
        """Start watching anew, one partition or all: after an error nothing is known about the time in between."""
        if partition is None:
            self._seen.clear()
        else:
            self._seen.pop(partition, None)


@dataclass
class Lease:
    """A held partition: what its worker gets."""

    service: str
    partition: int
    token: str
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when this process stops or has lost the lease: take nothing in any more."""
    _rounds: int = 1
    _rounds_said: int = 0

    def progress(self) -> None:
        """Say that a round was finished (an empty read or a wait for room is one): a hung worker must lose its lease."""
        self._rounds += 1

    def take_progress(self) -> bool:
        """Whether there was progress since this was last asked."""
        moved, self._rounds_said = self._rounds != self._rounds_said, self._rounds
        return moved

    async def idle(self) -> None:
        """Keep the lease with nothing to do, until it ends."""
        while not self.ended.is_set():
            self.progress()
            await wait_or_stop(self.ended, IDLE_ROUND_SECONDS)

    async def while_held(self, reading: "asyncio.Future[T]") -> T | None:
        """Await a read; None, and the read is given up, once the lease ended."""
        ended = asyncio.ensure_future(self.ended.wait())
        try:
            waited: set[asyncio.Future[Any]] = {reading, ended}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            return None if ended.done() else reading.result()
        finally:
            ended.cancel()
            reading.cancel()
            await asyncio.wait({reading})
            if not reading.cancelled():
                reading.exception()  # looked at here: how a read that was given up ends is of no interest


Work = Callable[[Lease], Awaitable[None]]


async def hold(
    redis: Redis,
    deployment: Deployment,
    service: str,
    lease_seconds: float,
    work: Work,
    stop: asyncio.Event,
    settled: asyncio.Event | None = None,
) -> None:
    """Hold every partition this process can get, and run `work(lease)` for each, until `stop`.

    `settled` is set after the first round of taking. On stop each worker is told by `lease.ended`, awaited (the caller's
    grace bounds that), and its lease is given back. Raise `ConfigurationError` if the deployment was founded anew with
    other values.
    """
    holder = _Holder(redis, deployment, service, lease_seconds, work)
    try:
        while not stop.is_set():
            await holder.round()
            if settled is not None:
                settled.set()
            await wait_or_stop(stop, min(lease_seconds / ROUNDS_PER_LEASE, LONGEST_ROUND_SECONDS))
    finally:
        await holder.give_back()


class _Holder:
    def __init__(self, redis: Redis, deployment: Deployment, service: str, lease_seconds: float, work: Work) -> None:
        self._redis = redis
        self._deployment = deployment
        self._service = service
        self._work = work
        self._owner = owner_name()
        self._watch = LeaseWatch(lease_seconds)
        self._held: dict[int, tuple[Lease, asyncio.Task[None]]] = {}
        self._wanted: dict[int, str] = {}
        self._crashes: dict[int, Backoff] = {}
        self._not_before: dict[int, float] = {}
        self._refused: set[int] = set()
        self._away = False
        self._held_now = metrics.LEASES_HELD.labels(service)
        self._held_now.set(0)

    async def round(self) -> None:
        """Heartbeat what is held, look at the rest; an error of Redis ends the round, not the process."""
        try:
            await self._collect()
            for partition in range(self._deployment.partitions):
                await self._look_after(partition)
        except Unconfigured:
            await self._found_again()
        except TRY_AGAIN as error:
            self._watch.forget()
            reason = str(error) or type(error).__name__
            if not self._away:
                log.warning("leases wait for redis", reason=reason)
            self._away = True
            observe.fail(CHECK, reason)
        else:
            self._away = False
            observe.confirm(CHECK)
        self._held_now.set(len(self._held))

    async def _look_after(self, partition: int) -> None:
        """Heartbeat or take; what Redis refuses in one partition (a key of a wrong type) does not stop the others."""
        try:
            if partition in self._held:
                await self._heartbeat(partition)
            else:
                await self._try_take(partition)
            self._refused.discard(partition)
        except (Unconfigured, NotReady):
            raise
        except TransientError as error:
            self._watch.forget(partition)
            if partition not in self._refused:
                log.error("redis refuses the lease of a partition", partition=partition, lease=self._service, reason=str(error))
            self._refused.add(partition)

    async def _collect(self) -> None:
        """Take away the tasks that ended by themselves; a crashed one is said and tried again with back-off."""
        for partition, (lease, task) in list(self._held.items()):
            if not task.done():
                continue
            del self._held[partition]
            error = None if task.cancelled() else task.exception()
            if isinstance(error, ConfigurationError):
                raise error
            if isinstance(error, Fenced):
                self._lost(partition)
                continue
            if error is not None:
                now = time.monotonic()
                backoff = self._crashes.setdefault(partition, Backoff(0.5, 30))
                if now - self._not_before.get(partition, 0) > HEALTHY_SECONDS:
                    backoff.reset()
                wait_seconds = backoff.next_seconds()
                self._not_before[partition] = now + wait_seconds
                log.error("worker failed", partition=partition, retry_in_seconds=round(wait_seconds, 1), exc_info=error)
            await self._release(lease)

    async def _heartbeat(self, partition: int) -> None:
        lease, task = self._held[partition]
        if not lease.take_progress():
            return
        beats = await call(self._redis, "heartbeat", [streams.lease(self._service, partition)], lease.token)
        if beats < 0:
            self._lost(partition)
            del self._held[partition]
            await _end(lease, task)

    async def _try_take(self, partition: int) -> None:
        now = time.monotonic()
        if now < self._not_before.get(partition, 0):
            return
        key = streams.lease(self._service, partition)
        token, beats = (text or "" for text in await read_hash(self._redis, key, ["token", "beats"]))
        # The same token until it is answered: if the answer was lost, the lease is ours already.
        wanted = self._wanted.setdefault(partition, secrets.token_hex(16))
        if token not in ("", wanted) and not self._watch.may_take(partition, token, beats, now):
            return
        lease = Lease(self._service, partition, wanted)
        taken, *_ = await call(self._redis, "acquire", self._keys(partition), self._service, self._owner, lease.token, token, beats)
        del self._wanted[partition]
        if taken:
            await reach(CrashPoint.LEASE_ACQUIRED)
            is_taken_over = token not in ("", wanted)
            log.info("lease taken", partition=partition, lease=self._service, taken_over=is_taken_over)
            self._count("taken_over" if is_taken_over else "taken")
            task = asyncio.create_task(self._run_worker(lease), name=f"{self._service}-{partition}")
            self._held[partition] = (lease, task)

    def _lost(self, partition: int) -> None:
        log.warning("lease lost", partition=partition, lease=self._service)
        self._count("lost")

    def _count(self, change: str) -> None:
        metrics.LEASE_CHANGES.labels(self._service, change).inc()

    async def _run_worker(self, lease: Lease) -> None:
        await self._work(lease)
        # A worker that has nothing left to do keeps its lease: nobody else would have more to do.
        await lease.idle()

    async def _found_again(self) -> None:
        """FLUSHALL: the first service writes the deployment's values again."""
        log.warning("the head of a partition is gone, preparing it again")
        try:
            known = self._deployment
            self._deployment = await join(self._redis, known.partitions, known.sma_period, known=known)
        except TRY_AGAIN as error:
            log.warning("not prepared yet", reason=str(error) or type(error).__name__)

    def _keys(self, partition: int) -> list[str]:
        names = (streams.log, streams.ticks, streams.enriched, streams.events, streams.producers)
        return [*(name(partition) for name in names), streams.lease(self._service, partition)]

    async def _release(self, lease: Lease) -> None:
        await reach(CrashPoint.LEASE_BEFORE_RELEASE)
        await call(self._redis, "release", self._keys(lease.partition), self._service, self._owner, lease.token)
        self._count("released")

    async def give_back(self) -> None:
        """Tell every worker to end, await them, release every lease."""
        held, self._held = self._held, {}
        self._held_now.set(0)
        for lease, _ in held.values():
            lease.ended.set()
        await asyncio.gather(*(task for _, task in held.values()), return_exceptions=True)
        await asyncio.gather(*(self._give_one_back(lease) for lease, _ in held.values()))

    async def _give_one_back(self, lease: Lease) -> None:
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._release(lease)
        except TRY_AGAIN as error:
            reason = str(error) or type(error).__name__
            log.warning("lease not released, others take it over", partition=lease.partition, reason=reason)


async def _end(lease: Lease, task: asyncio.Task[None]) -> None:
    """End a fenced worker at once: whatever it still tries is refused by the server."""
    lease.ended.set()
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # looked at here: mostly it found out by itself that it was fenced
