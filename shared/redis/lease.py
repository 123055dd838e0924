"""Holding leases: they do not expire, are shared out evenly, handed over in order, and taken over when their counter stands still.

A lease saves wasted work; correctness is the commit's compare-and-set. What may be taken when is decided by
`shared.lease_rules`; each partition is looked at by itself, and one that drains, hangs or is refused holds up no other.
"""

import asyncio
import math
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import structlog
from redis.asyncio import Redis

from shared import metrics, observe, streams
from shared.backoff import Backoff
from shared.crash_points import CrashPoint, reach
from shared.errors import ConfigurationError, Fenced, NotReady, TransientError
from shared.lease_rules import Seen, Standstill, plan, vacant_seconds
from shared.redis.client import TRY_AGAIN
from shared.redis.deployment import Deployment, join
from shared.redis.log import Unconfigured, call, read_hash
from shared.redis.members import Members
from shared.runtime import do_all, result_or_stop, wait_or_stop

log = structlog.get_logger(__name__)
T = TypeVar("T")

ROUNDS_PER_LEASE = 5
"""Rounds of looking and heartbeats within LEASE_SECONDS; one lost round is no lost lease."""

LONGEST_ROUND_SECONDS = 0.5
"""A take-over comes up to two rounds after LEASE_SECONDS, and 1.5 s are promised."""

LIVELY_ROUND_SECONDS = 0.1
LIVELY_SECONDS = 1.0
"""While leases change hands, rounds are short for so long: nobody works on a partition between two holders."""

LANES = 8
"""Partitions looked at at once: with a distant Redis 64 in turn would take longer than a lease."""

IDLE_ROUND_SECONDS = 0.1
"""Rounds of a worker that is done: well within the shortest LEASE_SECONDS that makes sense."""

RELEASE_SECONDS = 2.0
"""Giving a lease back only saves others the wait: while Redis hangs, the grace is not spent on it."""

CHECK = "leases"
"""What a finished round confirms: that this process would take over a partition if one were free."""

HEALTHY_SECONDS = 60.0
"""A worker that ran this long since its last crash is tried again soon when it crashes."""


def new_owner_name() -> str:
    """`host:pid:chance`, as operators see it in `XINFO CONSUMERS`: two containers on one host's network can both be process 1."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


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
    _sure_until: float = math.inf

    @property
    def is_in_doubt(self) -> bool:
        """Whether Redis has not confirmed it for LEASE_SECONDS: another process may have it, and work on it, by now."""
        return time.monotonic() >= self._sure_until

    def confirm(self, until: float) -> None:
        """Note that nobody else can have it before then, a time of the monotonic clock."""
        self._sure_until = until

    def progress(self) -> None:
        """Say that a round was finished (an empty read or a wait for room is one): a hung worker must lose its lease."""
        self._rounds += 1

    def take_progress(self) -> bool:
        """Whether there was progress since this was last asked."""
        moved, self._rounds_said = self._rounds != self._rounds_said, self._rounds
        return moved

    async def idle(self, seconds: float = math.inf) -> bool:
        """Keep the lease with nothing to do, for so long or until it ends; return whether it has ended."""
        until = time.monotonic() + seconds
        while not self.ended.is_set() and (left := until - time.monotonic()) > 0:
            self.progress()
            await wait_or_stop(self.ended, min(left, IDLE_ROUND_SECONDS))
        return self.ended.is_set()

    async def while_held(self, reading: "asyncio.Future[T]") -> T | None:
        """Await a read; None, and the read is given up, once the lease ended."""
        return await result_or_stop(reading, self.ended)


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
    """Hold this process' fair share of the partitions, and run `work(lease)` for each, until `stop`.

    `settled` is set after the first round of taking. On stop, and when a partition goes to another member, its worker is
    told by `lease.ended`, awaited (on stop the caller's grace bounds that), and the lease is given back. Raise
    `ConfigurationError` if the deployment was founded anew with other values.
    """
    holder = _Holder(redis, deployment, service, lease_seconds, work)
    try:
        while not stop.is_set():
            await holder.round()
            if settled is not None:
                settled.set()
            await wait_or_stop(stop, holder.pause_seconds())
    finally:
        await holder.give_back()


class _Holding:
    """A lease that is held, and the life of its worker from taking to giving back."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.life: asyncio.Task[None]
        self.wanted_by = ""
        self.is_given_back = False

    def end(self) -> None:
        """Let the worker finish what is in flight; its life goes on until the lease is given back."""
        self.lease.ended.set()

    def cut_off(self) -> None:
        """End a fenced worker at once: whatever it still tries is refused by the server."""
        self.lease.ended.set()
        self.life.cancel()


class _Crashes:
    """Which partitions' workers failed, and when each may be tried again."""

    def __init__(self) -> None:
        self._backoffs: dict[int, Backoff] = {}
        self._not_before: dict[int, float] = {}

    def note(self, partition: int) -> float:
        """Note a failure now; return how many seconds to leave the partition alone."""
        now = time.monotonic()
        backoff = self._backoffs.setdefault(partition, Backoff(0.5, 30))
        if now - self._not_before.get(partition, 0) > HEALTHY_SECONDS:
            backoff.reset()
        wait_seconds = backoff.next_seconds()
        self._not_before[partition] = now + wait_seconds
        return wait_seconds

    def barred(self) -> set[int]:
        """The partitions to leave alone now."""
        now = time.monotonic()
        return {partition for partition, moment in self._not_before.items() if now < moment}


class _Holder:
    def __init__(self, redis: Redis, deployment: Deployment, service: str, lease_seconds: float, work: Work) -> None:
        self._redis = redis
        self._deployment = deployment
        self._service = service
        self._work = work
        self._lease_seconds = lease_seconds
        self._round_seconds = min(lease_seconds / ROUNDS_PER_LEASE, LONGEST_ROUND_SECONDS)
        self._lively_until = -math.inf
        self._owner = new_owner_name()
        step_seconds = 2 * self._round_seconds
        self._members = Members(redis, service, self._owner, lease_seconds=lease_seconds, longest_step_seconds=step_seconds)
        self._standstill: Standstill[int] = Standstill(step_seconds)
        self._seen: dict[int, Seen] = {}
        self._held: dict[int, _Holding] = {}
        self._tokens: dict[int, str] = {}
        self._crashes = _Crashes()
        self._refused: dict[int, str] = {}
        self._leaving: asyncio.Task[None] | None = None
        self._away = False
        self._held_now = metrics.LEASES_HELD.labels(service)
        self._held_now.set(0)

    def pause_seconds(self) -> float:
        """How long to wait until the next round."""
        return min(self._round_seconds, LIVELY_ROUND_SECONDS) if time.monotonic() < self._lively_until else self._round_seconds

    async def round(self) -> None:
        """Heartbeat what is held, look at the rest, take or ask for what is due; an error of Redis ends the round, not the process."""
        self._collect()
        try:
            await self._share_out()
        except Unconfigured:
            await self._found_again()
        except TRY_AGAIN as error:
            self._wait_for_redis(str(error) or type(error).__name__)
        else:
            self._away = False
            observe.confirm(CHECK)
        self._held_now.set(len(self._held))

    async def _share_out(self) -> None:
        if await self._members.attend():
            self._be_lively()
        refused_before, self._refused, self._seen = self._refused, {}, {}
        await self._look_at_all()
        due = plan(self._owner, self._seen, self._members.live, barred=self._crashes.barred())
        for partition in due.take:
            await self._guard(partition, self._take(partition, self._seen[partition]))
        if due.want is not None:
            await self._guard(due.want, self._want(due.want, self._seen[due.want]))
        for partition in self._refused.keys() - refused_before.keys():
            reason = self._refused[partition]
            log.error("redis refuses the lease of a partition", partition=partition, lease=self._service, reason=reason)

    def _collect(self) -> None:
        """Take away the lives that have ended; raise the `ConfigurationError` of a worker."""
        for partition, holding in list(self._held.items()):
            if holding.life.done():
                del self._held[partition]
                if not holding.life.cancelled():
                    holding.life.result()

    def _wait_for_redis(self, reason: str) -> None:
        self._standstill.forget()
        self._members.forget()
        if not self._away:
            log.warning("leases wait for redis", reason=reason)
        self._away = True
        observe.fail(CHECK, reason)

    async def _look_at_all(self) -> None:
        lanes = [range(lane, self._deployment.partitions, LANES) for lane in range(min(LANES, self._deployment.partitions))]
        await do_all(self._look_at(lane) for lane in lanes)
        self._seen = dict(sorted(self._seen.items()))

    async def _look_at(self, lane: Iterable[int]) -> None:
        for partition in lane:
            holding = self._held.get(partition)
            look = self._look_at_other(partition) if holding is None else self._look_at_own(partition, holding)
            await self._guard(partition, look)

    async def _guard(self, partition: int, step: Awaitable[None]) -> None:
        """Await a step; what Redis refuses in one partition (a key of a wrong type) does not stop the others."""
        try:
            await step
        except (Unconfigured, NotReady):
            raise
        except TransientError as error:
            self._standstill.forget(partition)
            self._refused[partition] = str(error)

    async def _look_at_own(self, partition: int, holding: _Holding) -> None:
        is_mine, told = await self._ask_after(partition, holding)
        if is_mine:
            self._heed(partition, holding, told)
        elif not holding.is_given_back and not holding.life.done():
            self._lose(partition, told)
            holding.cut_off()

    async def _ask_after(self, partition: int, holding: _Holding) -> tuple[bool, str]:
        """Heartbeat if there was progress; return whether the lease is held, and who wants it, or else who has it."""
        lease, key = holding.lease, streams.lease(self._service, partition)
        if lease.take_progress():
            asked_at = time.monotonic()
            beats, told = await call(self._redis, "heartbeat", [key], lease.token)
            if beats >= 0:
                lease.confirm(asked_at + self._lease_seconds)
            return beats >= 0, told
        if len(self._members.live) == 1:
            return True, holding.wanted_by  # nobody could want it, or have taken it
        owner, token, wanted_by = (text or "" for text in await read_hash(self._redis, key, ["owner", "token", "wanted_by"]))
        return (True, wanted_by) if token == lease.token else (False, owner)

    def _heed(self, partition: int, holding: _Holding, wanted_by: str) -> None:
        """Give a lease that another member wants back to it, in order: beside the rounds, which go on for the others."""
        holding.wanted_by = wanted_by
        self._seen[partition] = Seen(self._owner, holding.lease.token, wanted_by=wanted_by)
        if wanted_by in self._members.live - {self._owner} and not holding.lease.ended.is_set():
            log.info("handing a lease over", partition=partition, lease=self._service, to=wanted_by)
            self._be_lively()
            holding.end()

    async def _look_at_other(self, partition: int) -> None:
        now = time.monotonic()
        fields = ["owner", "token", "beats", "wanted_by"]
        owner, token, beats, wanted_by = (
            text or "" for text in await read_hash(self._redis, streams.lease(self._service, partition), fields)
        )
        vacant = vacant_seconds(token, self._standstill.look(partition, (token, beats), now), self._lease_seconds)
        if owner == self._owner:
            # The answer of our acquire was lost, or our release was: nobody beats for it.
            vacant = vacant or 0.0
        self._seen[partition] = Seen(owner, token, beats, wanted_by, vacant)

    async def _take(self, partition: int, seen: Seen) -> None:
        # The same token until it is answered: if the answer was lost, the lease is ours already.
        token = self._tokens.setdefault(partition, secrets.token_hex(16))
        asked_at = time.monotonic()
        taken, *_ = await call(self._redis, "acquire", self._keys(partition), self._service, self._owner, token, seen.token, seen.beats)
        del self._tokens[partition]
        if not taken:
            return
        await reach(CrashPoint.LEASE_ACQUIRED)
        self._standstill.forget(partition)
        self._say_taken(partition, seen)
        lease = Lease(self._service, partition, token)
        lease.confirm(asked_at + self._lease_seconds)
        self._held[partition] = holding = _Holding(lease)
        holding.life = asyncio.create_task(self._live(holding), name=f"{self._service}-{partition}")

    def _say_taken(self, partition: int, seen: Seen) -> None:
        if seen.token and seen.owner != self._owner:
            change, because = "taken_over", "its holder stood still"
        elif seen.wanted_by == self._owner:
            change, because = "stolen", "its holder handed it over"
        else:
            change, because = "taken", "it was free"
        is_taken_over = change == "taken_over"
        former = {"former": seen.owner} if is_taken_over else {}
        log.info("lease taken", partition=partition, lease=self._service, taken_over=is_taken_over, because=because, **former)
        self._count(change)

    async def _want(self, partition: int, seen: Seen) -> None:
        key = streams.lease(self._service, partition)
        if await call(self._redis, "want", [key], self._owner, seen.token, seen.wanted_by):
            log.info("lease asked for", partition=partition, lease=self._service, holder=seen.owner)
            self._be_lively()

    def _be_lively(self) -> None:
        self._lively_until = time.monotonic() + LIVELY_SECONDS

    def _lose(self, partition: int, to: str) -> None:
        log.warning("lease lost", partition=partition, lease=self._service, **({"to": to} if to else {}))
        self._count("lost")

    def _count(self, change: str) -> None:
        metrics.LEASE_CHANGES.labels(self._service, change).inc()

    async def _live(self, holding: _Holding) -> None:
        """Work on a partition until the lease ends, and give it back; a crash is said, and tried again with back-off."""
        lease = holding.lease
        try:
            await self._work(lease)
            # A worker that has nothing left to do keeps its lease: nobody else would have more to do.
            await lease.idle()
        except Fenced:
            self._lose(lease.partition, "")
            return
        except ConfigurationError:
            await self._give_one_back(holding)
            raise
        except Exception as error:
            seconds = self._crashes.note(lease.partition)
            log.error("worker failed", partition=lease.partition, retry_in_seconds=round(seconds, 1), exc_info=error)
        await self._give_one_back(holding)

    async def _give_one_back(self, holding: _Holding) -> None:
        lease = holding.lease
        if self._leaving is not None:
            await asyncio.wait({self._leaving})
        holding.is_given_back = True
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await reach(CrashPoint.LEASE_BEFORE_RELEASE)
                was_mine = await call(self._redis, "release", self._keys(lease.partition), self._service, self._owner, lease.token)
        except TRY_AGAIN as error:
            reason = str(error) or type(error).__name__
            log.warning("lease not released, others take it over", partition=lease.partition, reason=reason)
        else:
            self._note_given_back(holding, was_mine=bool(was_mine))

    def _note_given_back(self, holding: _Holding, *, was_mine: bool) -> None:
        if not was_mine:
            # It drained for longer than others waited.
            self._lose(holding.lease.partition, "")
        else:
            self._count("handed_over" if holding.wanted_by in self._members.live - {self._owner} else "released")

    async def give_back(self) -> None:
        """Leave the members, tell every worker to end, await them; each lease is released as soon as its worker is done."""
        self._leaving = asyncio.create_task(self._leave(), name=f"{self._service}-leave")
        for holding in self._held.values():
            holding.end()
        ended = await asyncio.gather(self._leaving, *(holding.life for holding in self._held.values()), return_exceptions=True)
        self._held.clear()
        self._held_now.set(0)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._members.leave()
        except TRY_AGAIN as error:
            log.debug("not said that this member ends", reason=str(error) or type(error).__name__)

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
