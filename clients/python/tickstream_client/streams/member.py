"""A member of a group: it holds its fair share of the partitions by the pipeline's own leases, and runs a worker for each.

Every partition is looked at by itself: one whose server is away holds up no other.
"""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from typing import Any, Generic

from redis.exceptions import ResponseError

from tickstream_client.streams import keys
from tickstream_client.streams.events import E
from tickstream_client.streams.handing import Lease
from tickstream_client.streams.servers import AWAY, CannotConsume, text_of, why_never
from tickstream_client.streams.sharing import Plan, Seen, Standstill, plan, vacant_seconds
from tickstream_client.streams.working import LEAVING_SECONDS, Job, Worker

log = logging.getLogger("tickstream_client.streams")

ROUNDS_PER_LEASE = 5
LONGEST_ROUND_SECONDS = 0.5
LIVELY_ROUND_SECONDS = 0.1
LIVELY_SECONDS = 1.0
"""While partitions change hands, rounds are short for so long."""
LANES = 8
"""Partitions looked at at once: with a distant Redis 64 in turn would take longer than a lease."""


def new_member_name() -> str:
    """`host:pid:chance`, as operators see it in `XINFO CONSUMERS`."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


class Member(Generic[E]):
    """One process' part in a group, from the first round until `leave`."""

    def __init__(self, job: Job[E], lease_seconds: float) -> None:
        self._job = job
        self._service = keys.service(job.stream, job.group)
        self._lease_seconds = lease_seconds
        self._round_seconds = min(lease_seconds / ROUNDS_PER_LEASE, LONGEST_ROUND_SECONDS)
        self._standstill = Standstill(2 * self._round_seconds)
        self._live = frozenset({job.member})
        self._dead: dict[str, str] = {}
        self._seen: dict[int, Seen] = {}
        self._leases: dict[int, Lease] = {}
        self._lives: dict[int, asyncio.Task[None]] = {}
        self._tokens: dict[int, str] = {}
        self._partitions = 0
        self._complaints: set[str] = set()
        self._lively_until = 0.0
        self._rounds: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to take partitions."""
        self._rounds = asyncio.create_task(self._go_round(), name=f"{self._service}-rounds")

    async def leave(self) -> None:
        """Acknowledge what was finished, give everything back, close the connections. May be called more than once."""
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave(), name=f"{self._service}-leaving")
        await asyncio.shield(self._leaving)

    async def _leave(self) -> None:
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.wait({self._rounds})
        for lease in self._leases.values():
            lease.end()
        leaving = asyncio.create_task(self._say_goodbye())
        lives = {leaving, *self._lives.values()}
        # Three steps of a life may each wait for a Redis that hangs.
        await asyncio.wait(lives, timeout=3 * LEAVING_SECONDS)
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)
        await self._job.servers.aclose()
        self._job.handouts.put_nowait(None)

    async def _say_goodbye(self) -> None:
        with suppress(*AWAY):
            async with asyncio.timeout(LEAVING_SECONDS):
                await self._call("leave", [keys.members(self._service)], self._job.member)

    async def _go_round(self) -> None:
        try:
            # Not only until it is cancelled: asyncio before 3.12 may swallow that while redis-py sends.
            while self._leaving is None:
                await self._round()
                is_lively = time.monotonic() < self._lively_until
                await asyncio.sleep(min(self._round_seconds, LIVELY_ROUND_SECONDS) if is_lively else self._round_seconds)
        except Exception as error:
            self._job.handouts.put_nowait(error)

    async def _round(self) -> None:
        """Beat for what is held, look at the rest, take or ask for what is due."""
        self._collect()
        complaints_before, self._complaints, self._seen = self._complaints, set(), {}
        await self._guard(self._count_partitions())
        await asyncio.gather(
            self._guard(self._attend()),
            *(self._look_at(range(lane, self._partitions, LANES)) for lane in range(min(LANES, self._partitions))),
        )
        due = plan(self._job.member, dict(sorted(self._seen.items())), self._live) if self._seen else Plan()
        for partition in due.take:
            await self._guard(self._take(partition, self._seen[partition]), partition)
        if due.want is not None:
            await self._guard(self._want(due.want, self._seen[due.want]), due.want)
        for complaint in self._complaints - complaints_before:
            log.warning("leases wait for redis: %s", complaint)

    def _collect(self) -> None:
        """Take away the lives that have ended; raise what cannot get better."""
        for partition, life in list(self._lives.items()):
            if life.done():
                del self._lives[partition], self._leases[partition]
                life.result()

    async def _guard(self, step: Awaitable[None], partition: int | None = None) -> None:
        """Await a step; what Redis refuses or does not answer is told once, and tried again in the next round."""
        try:
            await step
        except AWAY as error:
            if reason := why_never(error):
                raise CannotConsume(reason) from error
            self._standstill.forget(partition)
            for name in self._live if partition is None else ():
                self._standstill.forget(name)
            self._complaints.add(text_of(error))
            await self._job.servers.look_again(error)

    async def _count_partitions(self) -> None:
        """PARTITIONS as the deployment has it; it is another one only after everything was lost."""
        server = await self._job.servers.at(keys.CONFIG)
        number = await server.commands.execute_command("HGET", keys.CONFIG, "partitions")
        if number is None:
            self._complaints.add("no pipeline was set up here yet")
            return
        self._partitions = int(number)
        for partition, lease in self._leases.items():
            if partition >= self._partitions:
                lease.end()

    async def _attend(self) -> None:
        """Say that this member lives, learn who else does, and take away those that stand still."""
        still = [text for each in self._dead.items() for text in each]
        told: list[str] = await self._call("attend", [keys.members(self._service)], self._job.member, *still)
        others = dict(zip(told[::2], told[1::2], strict=True))
        del others[self._job.member]
        now = time.monotonic()
        self._standstill.retain({*others, *range(self._partitions)})
        self._dead = {name: beats for name, beats in others.items() if self._standstill.look(name, beats, now) >= self._lease_seconds}
        live = frozenset({self._job.member, *others} - self._dead.keys())
        if live != self._live:
            self._live = live
            self._be_lively()

    async def _look_at(self, lane: Iterable[int]) -> None:
        for partition in lane:
            lease = self._leases.get(partition)
            look = self._look_at_other(partition) if lease is None else self._look_at_own(partition, lease)
            await self._guard(look, partition)

    async def _look_at_own(self, partition: int, lease: Lease) -> None:
        asked_at = time.monotonic()
        beats, told = await self._call("heartbeat", [keys.lease(self._service, partition)], lease.token)
        if int(beats) < 0:
            if not lease.ended.is_set():
                log.warning("partition %d of %s was taken over by %s", partition, self._service, told or "nobody yet")
            lease.lose()
            return
        lease.confirm(asked_at + self._lease_seconds)
        self._seen[partition] = Seen(self._job.member, lease.token, wanted_by=told)
        if told in self._live - {self._job.member} and not lease.ended.is_set():
            self._be_lively()
            lease.end()

    async def _look_at_other(self, partition: int) -> None:
        key, now = keys.lease(self._service, partition), time.monotonic()
        server = await self._job.servers.at(key)
        found = await server.commands.execute_command("HMGET", key, "owner", "token", "beats", "wanted_by")
        owner, token, beats, wanted_by = (text or "" for text in found)
        vacant = vacant_seconds(token, self._standstill.look(partition, (token, beats), now), self._lease_seconds)
        if owner == self._job.member:
            # The answer of our acquire was lost, or our release was: nobody beats for it.
            vacant = vacant or 0.0
        self._seen[partition] = Seen(owner, token, beats, wanted_by, vacant)

    async def _take(self, partition: int, seen: Seen) -> None:
        # The same token until it is answered: if the answer was lost, the lease is ours already.
        token = self._tokens.setdefault(partition, secrets.token_hex(16))
        asked_at = time.monotonic()
        names = keys.of_lease(self._service, partition)
        taken, *_ = await self._call("acquire", names, self._service, self._job.member, token, seen.token, seen.beats)
        del self._tokens[partition]
        if not taken:
            return
        self._standstill.forget(partition)
        self._leases[partition] = lease = Lease(partition, token, asked_at + self._lease_seconds)
        self._lives[partition] = asyncio.create_task(self._live_through(lease), name=f"{self._service}-{partition}")

    async def _want(self, partition: int, seen: Seen) -> None:
        if await self._call("want", [keys.lease(self._service, partition)], self._job.member, seen.token, seen.wanted_by):
            self._be_lively()

    def _be_lively(self) -> None:
        self._lively_until = time.monotonic() + LIVELY_SECONDS

    async def _live_through(self, lease: Lease) -> None:
        """Work on a partition until its lease ends, and give it back."""
        await Worker(self._job, lease).work()
        if lease.is_lost:
            return
        with suppress(*AWAY):
            async with asyncio.timeout(LEAVING_SECONDS):
                names = keys.of_lease(self._service, lease.partition)
                await self._call("release", names, self._service, self._job.member, lease.token)

    async def _call(self, function: str, names: list[str], *args: str) -> Any:
        """Call a function of the pipeline's library."""
        server = await self._job.servers.at(names[0])
        try:
            return await server.commands.execute_command("FCALL", f"{function}_1", len(names), *names, *args)
        except ResponseError as error:
            if "Function not found" in str(error):
                raise ResponseError(f"{function}_1 is not loaded: run `tickstream migrate`") from None
            raise
