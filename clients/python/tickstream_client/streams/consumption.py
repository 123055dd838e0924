"""`consume`: the streams of a pipeline as an async iterator, for services beside it.

An entry is acknowledged after the loop has come back for the next one, never before; whoever dies leaves the rest to the
next holder of the partition, who gets it before anything newer.
"""

import inspect
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from types import TracebackType
from typing import Any, Generic, Literal, Self, overload

from tickstream_client.streams.events import Batch, E, Enriched, Gap, Invalid, Tick, read_enriched, read_tick
from tickstream_client.streams.handing import Handout
from tickstream_client.streams.member import Member, new_member_name
from tickstream_client.streams.servers import check_url, servers_of
from tickstream_client.streams.taking import Start
from tickstream_client.streams.working import Job

log = logging.getLogger("tickstream_client.streams")
OnGap = Callable[[Gap], Awaitable[None] | None]
OnInvalid = Callable[[Invalid], Awaitable[None] | None]

MOST_ENTRIES = 1000
"""Of a batch, so that no command runs longer than a few milliseconds."""
OWN_GROUPS = ("analyzer", "persister")
"""Groups of the pipeline itself: whoever read in them would tear its order."""
READERS: dict[str, Any] = {"ticks": read_tick, "enriched": read_enriched}


@overload
def consume(
    stream: Literal["ticks"], *, group: str, redis_url: str, redis_cluster: bool = ..., start: Start = ..., batch_size: int = ...,
    lease_seconds: float = ..., on_gap: OnGap | None = ..., on_invalid: OnInvalid | None = ...,
) -> "Consumption[Tick]": ...  # fmt: skip


@overload
def consume(
    stream: Literal["enriched"], *, group: str, redis_url: str, redis_cluster: bool = ..., start: Start = ..., batch_size: int = ...,
    lease_seconds: float = ..., on_gap: OnGap | None = ..., on_invalid: OnInvalid | None = ...,
) -> "Consumption[Enriched]": ...  # fmt: skip


def consume(
    stream: Literal["ticks", "enriched"],
    *,
    group: str,
    redis_url: str,
    redis_cluster: bool = False,
    start: Start = "beginning",
    batch_size: int = 500,
    lease_seconds: float = 5.0,
    on_gap: OnGap | None = None,
    on_invalid: OnInvalid | None = None,
) -> "Consumption[Any]":
    """Consume a stream of a pipeline as a member of a group: `async for event in consume(…)`, or `.batches()`.

    All members of a group share the partitions; within a partition, hence per ticker, events come in order, each at least once.
    `start`: where a group begins that does not exist yet, at the oldest entry that is kept or behind the newest one.
    `lease_seconds`: how soon a dead member's partitions go to others; the same for all members. A body that blocks the event loop for
    longer loses its partitions. `on_gap`: called (or awaited) before the events that follow something that was lost; logged without
    it. `on_invalid`: the same for an entry that is no event. An exception of theirs ends the loop.

    Redis away is waited out. Raise `CannotConsume` from the loop for what does not get better by waiting, `ValueError` for bad arguments.
    """
    if stream not in READERS:
        raise ValueError(f"stream {stream!r} must be 'ticks' or 'enriched'")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,63}", group) or group in OWN_GROUPS:
        raise ValueError(f"group {group!r} must be 1 to 64 letters, digits, - or _, and not {' or '.join(OWN_GROUPS)}")
    if start not in ("beginning", "now"):
        raise ValueError(f"start {start!r} must be 'beginning' or 'now'")
    if not 1 <= batch_size <= MOST_ENTRIES:
        raise ValueError(f"batch_size {batch_size} must be from 1 to {MOST_ENTRIES}")
    if not 0.1 <= lease_seconds <= 3600:
        raise ValueError(f"lease_seconds {lease_seconds} must be from 0.1 to 3600")
    check_url(redis_url)

    def new_job() -> Job[Any]:
        servers = servers_of(redis_url, is_cluster=redis_cluster)
        return Job(servers, stream, group, new_member_name(), start, batch_size, READERS[stream])

    return Consumption(f"{stream} by group {group}", new_job, lease_seconds, on_gap, on_invalid)


class Consumption(Generic[E]):
    """An async iterator of events. Leaving the loop, or `async with`, gives the partitions back; `async with` waits for it."""

    def __init__(
        self, name: str, new_job: Callable[[], Job[E]], lease_seconds: float, on_gap: OnGap | None, on_invalid: OnInvalid | None
    ) -> None:
        self._name = name
        self._new_job = new_job
        self._lease_seconds = lease_seconds
        self._on_gap = on_gap
        self._on_invalid = on_invalid
        self._members: set[Member[E]] = set()

    def __repr__(self) -> str:
        return f"<Consumption of {self._name}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[E]:
        return self._events()

    async def aclose(self) -> None:
        """Acknowledge what the loop has finished, give the partitions back, close the connections."""
        for member in list(self._members):
            await member.leave()

    async def _events(self) -> AsyncGenerator[E, None]:
        async with aclosing(self._handouts()) as handouts:
            async for handout in handouts:
                for event in handout.batch.events if handout.batch else ():
                    if not await handout.enter():
                        break
                    try:
                        yield event
                        handout.finish(1)
                    finally:
                        handout.leave()

    async def batches(self) -> AsyncGenerator[Batch[E], None]:
        """The same in batches, for who writes in bulk: a batch is acknowledged as a whole."""
        async with aclosing(self._handouts()) as handouts:
            async for handout in handouts:
                if handout.batch and await handout.enter():
                    try:
                        yield handout.batch
                        handout.finish(len(handout.batch.events))
                    finally:
                        handout.leave()

    async def _handouts(self) -> AsyncGenerator[Handout[E], None]:
        """What the workers hand out; what is to be told before it was told."""
        job = self._new_job()
        member = Member(job, self._lease_seconds)
        self._members.add(member)
        member.start()
        try:
            while True:
                match await job.handouts.get():
                    case None:
                        return
                    case Exception() as error:
                        raise error
                    case Gap() as gap:
                        await self._tell(gap, self._on_gap)
                    case handout:
                        await self._tell_of_invalid(handout)
                        yield handout
        finally:
            await member.leave()
            self._members.discard(member)

    async def _tell_of_invalid(self, handout: Handout[E]) -> None:
        if not handout.invalid or not await handout.enter():
            return
        try:
            for invalid in handout.invalid:
                await self._tell(invalid, self._on_invalid)
                handout.finish(1)
        finally:
            handout.leave()

    async def _tell(self, what: Any, callback: Callable[[Any], Awaitable[None] | None] | None) -> None:
        if callback is None:
            log.warning("%s: %r", self._name, what)
            return
        answer = callback(what)
        if inspect.isawaitable(answer):
            await answer
