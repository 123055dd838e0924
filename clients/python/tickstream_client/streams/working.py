"""Work on one partition while its lease lasts: take a batch, hand it out, acknowledge what was finished, take the next one.

One batch at a time: what Redis holds as pending is then what is in hand, or what somebody left; nothing can overtake it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from random import random
from typing import Any, Generic, Literal, TypeVar

from redis.exceptions import WatchError

from tickstream_client.streams.events import Batch, E, Gap, Invalid, NoEvent, seq_of
from tickstream_client.streams.handing import Handout, Lease
from tickstream_client.streams.lineage import Fate, Head, Position, fate
from tickstream_client.streams.servers import AWAY, CannotConsume, Cluster, Single, text_of, why_never
from tickstream_client.streams.taking import Fenced, NoGroup, NotSetUp, PartitionGroup, Row, Start, Taken

log = logging.getLogger("tickstream_client.streams")
T = TypeVar("T")

WAITED_OUT: tuple[type[Exception], ...] = (NotSetUp, NoGroup, *AWAY)
Read = Callable[[int, str, str, Mapping[str, str]], E]

ACK_SECONDS = 0.2
"""How soon what a slow loop has finished is acknowledged; a quick one's is with the end of the batch."""
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.1, 5.0
LEAVING_SECONDS = 2.0
"""While Redis hangs, nobody waits longer for it to hear what was finished."""


@dataclass
class Known:
    """What a process remembers of a partition, also while another has it."""

    start: Start
    """Where a group that is not there begins; `beginning` once the stream was seen missing: whatever comes is new."""
    position: Position | None = None
    lost: int = 0
    """Entries that were found lost; 0 again once that is told."""


@dataclass
class Job(Generic[E]):
    """What all workers of a consumption have in common."""

    servers: Single | Cluster
    stream: Literal["ticks", "enriched"]
    group: str
    member: str
    start: Start
    batch_size: int
    read: Read[E]
    handouts: "asyncio.Queue[Handout[E] | Gap | Exception | None]" = field(default_factory=asyncio.Queue)
    """For the user's loop. A gap is told whoever has the partition by then; an exception ends it, as None does."""
    known: dict[int, Known] = field(default_factory=dict)


class Worker(Generic[E]):
    """The work on a partition under one lease."""

    def __init__(self, job: Job[E], lease: Lease) -> None:
        self._job = job
        self._lease = lease
        self._known = job.known.setdefault(lease.partition, Known(job.start))
        self._group = PartitionGroup(job.servers, job.stream, job.group, lease.partition, job.member, lease.token)
        self._head: Head | None = None
        self._last_seq = 0
        self._is_waiting_for_redis = False

    async def work(self) -> None:
        """Work until the lease ends, and clear up behind; raise what cannot get better."""
        try:
            while not self._lease.ended.is_set():
                await self._patiently(self._work_a_batch)
        except Fenced:
            self._lease.lose()
        if not self._lease.is_lost:
            with suppress(Fenced, NoGroup, *AWAY):
                async with asyncio.timeout(LEAVING_SECONDS):
                    await self._group.leave()

    async def _work_a_batch(self) -> None:
        taken = await self._take()
        for handout in self._handouts(taken):
            if self._lease.ended.is_set():
                return
            self._job.handouts.put_nowait(handout)
            await self._see_off(handout)
        if len(taken.rows) < self._job.batch_size:
            await self._while_held(self._group.wait())

    async def _take(self) -> Taken:
        try:
            taken = await self._group.take(self._job.batch_size)
            self._known.lost += taken.lost  # what fails from here on is done again with the same entries, and those are gone
            if self._head is None or self._head.incarnation != taken.incarnation:
                await self._look_at_head()
        except NoGroup:
            await self._create_group()
            return await self._take()
        except BaseException:
            self._group.unsettle()
            raise
        if self._known.position is None and self._head:
            self._known.position = Position(self._head.incarnation, 0, taken.after)
        return taken

    async def _look_at_head(self) -> None:
        """Another incarnation than before: find out what it took from us."""
        self._head, self._last_seq = await self._group.head(), 0
        position = self._known.position
        if position is None:
            return
        judged, _ = fate(position, self._head)
        if judged is Fate.REWOUND and (end := self._head.end_of(position.incarnation)):
            self._tell(Gap("rewind", self._lease.partition, position.incarnation, end.seq + 1, position.seq))
        elif judged is Fate.FORGOTTEN:
            self._tell(Gap("reset", self._lease.partition, position.incarnation))
        if judged is not Fate.KEPT:
            self._known.position = None

    async def _create_group(self) -> None:
        known = self._known
        try:
            judged = await self._group.create(known.start, known.position)
        except NotSetUp:
            known.start = "beginning"
            raise
        log.info("group %s created on %s, partition %d", self._job.group, self._job.stream, self._lease.partition)
        if known.position and judged is Fate.KEPT:
            self._tell(Gap("group", self._lease.partition, known.position.incarnation, known.position.seq + 1))

    def _tell(self, gap: Gap) -> None:
        self._job.handouts.put_nowait(gap)

    def _handouts(self, taken: Taken) -> Iterator[Handout[E]]:
        """The rows as events, in batches of one incarnation; what was lost before them is told first."""
        events, invalid = self._sort(taken)
        if self._known.lost and self._head:
            self._tell(self._gap_of(self._known.lost, events))
            self._known.lost = 0
        batches: list[Batch[Any] | None] = [
            Batch(self._lease.partition, incarnation, tuple(alike), taken.is_redelivered)
            for incarnation, alike in groupby(events, lambda event: event.incarnation)
        ]
        for batch in batches or ([None] if invalid else []):
            yield Handout(self._lease, batch, invalid)
            invalid = []

    def _gap_of(self, lost: int, events: list[E]) -> Gap:
        position = self._known.position
        first_seq = position.seq + 1 if position and position.seq else None
        incarnation = self._head.incarnation if self._head else ""
        return Gap("overrun", self._lease.partition, incarnation, first_seq, events[0].seq - 1 if events else None, lost)

    def _sort(self, taken: Taken) -> tuple[list[E], list[Invalid]]:
        events: list[E] = []
        invalid: list[Invalid] = []
        if taken.is_redelivered:
            self._last_seq = 0
        for row in taken.rows:
            try:
                events.append(self._event(row, taken.newest_seq))
            except ValueError as error:
                invalid.append(Invalid(self._lease.partition, row.entry_id, str(error), row.fields))
        return events, invalid

    def _event(self, row: Row, newest_seq: int) -> E:
        """An entry as an event; raise `NoEvent`. Only a stranger's has a seq that was passed before or never given out."""
        fields = dict(zip(row.fields[::2], row.fields[1::2], strict=True))
        seq = seq_of(fields)
        if not self._last_seq < seq <= newest_seq:
            raise NoEvent(f"seq {seq} is not between {self._last_seq + 1} and {newest_seq}")
        assert self._head is not None
        event = self._job.read(self._lease.partition, self._head.label(seq), row.entry_id, fields)
        self._last_seq = seq
        return event

    async def _see_off(self, handout: Handout[E]) -> None:
        """Acknowledge what is finished, now and then, until the user's loop is done or the lease has ended."""
        acknowledged = 0
        ending = asyncio.create_task(self._close_at_end(handout))
        try:
            while not (handout.over.is_set() and acknowledged == handout.finished):
                with suppress(TimeoutError):
                    async with asyncio.timeout(ACK_SECONDS):
                        await handout.over.wait()
                if acknowledged < (finished := handout.finished):
                    if not await self._acknowledge(handout, acknowledged, finished):
                        return
                    acknowledged = finished
        finally:
            ending.cancel()

    async def _close_at_end(self, handout: Handout[E]) -> None:
        await self._lease.ended.wait()
        handout.close()

    async def _acknowledge(self, handout: Handout[E], first: int, last: int) -> bool:
        """Acknowledge some of the entries; return False if that came to nothing and the lease has ended."""
        events = handout.batch.events if handout.batch else ()
        if (place := last - len(handout.invalid)) > 0:
            newest = events[place - 1]
            self._known.position = Position(newest.incarnation, newest.seq, newest.entry_id)
        entry_ids = handout.entry_ids[first:last]

        async def acknowledge() -> bool:
            await self._group.acknowledge(entry_ids)
            return True

        if self._lease.ended.is_set():
            with suppress(*AWAY):
                async with asyncio.timeout(LEAVING_SECONDS):
                    return await acknowledge()
            return False
        return bool(await self._patiently(acknowledge))

    async def _patiently(self, step: Callable[[], Awaitable[T]]) -> T | None:
        """Do a step, again and again with back-off while Redis is away; None once the lease has ended."""
        failures = 0
        while True:
            try:
                result = await step()
            except WatchError as error:
                # Once, our own heartbeat has touched the lease; after another failure it is a connection that broke.
                if failures:
                    await self._put_up_with(error)
            except WAITED_OUT as error:
                await self._put_up_with(error)
            else:
                self._is_waiting_for_redis = False
                return result
            seconds = random() * min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(failures, 16))
            failures += 1
            await self._while_held(asyncio.sleep(seconds))
            if self._lease.ended.is_set():
                return None

    async def _put_up_with(self, error: Exception) -> None:
        if reason := why_never(error):
            raise CannotConsume(reason) from error
        if not self._is_waiting_for_redis:
            log.warning("waiting for redis, partition %d: %s", self._lease.partition, text_of(error))
        self._is_waiting_for_redis = True
        if not isinstance(error, NotSetUp | NoGroup):
            await self._job.servers.look_again(error)

    async def _while_held(self, waiting: Awaitable[object]) -> None:
        """Await something; give it up once the lease has ended."""
        tasks = {asyncio.ensure_future(waiting), asyncio.create_task(self._lease.ended.wait())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
