"""The way of one held partition from the file to Redis: one batch being filled, one in flight, nothing else waits."""

import asyncio

import structlog

from services.fetcher.producer import MOST_TICKS, Appender
from services.fetcher.providers.replay import BadRow, Row
from shared.redis.lease import Lease
from shared.redis.log import Answer, Batch, Rejected, freeze
from shared.runtime import wait_or_stop

log = structlog.get_logger(__name__)

MOST_PAYLOAD_CHARACTERS = 262_144
"""Bad rows can be long: a batch with so much text of them is full before its thousandth row."""


class Draft:
    """Rows that are read but not yet frozen into a batch."""

    def __init__(self, first: int) -> None:
        """`first` is the number of the next row."""
        self.first = first
        self._ticks: list[tuple[str, ...]] = []
        self._rejected: list[Rejected] = []
        self._payload_characters = 0

    def __len__(self) -> int:
        return len(self._ticks) + len(self._rejected)

    @property
    def is_full(self) -> bool:
        """Whether it must be frozen before the next row."""
        return len(self) >= MOST_TICKS or self._payload_characters >= MOST_PAYLOAD_CHARACTERS

    def add(self, row: Row | BadRow) -> None:
        """Take the next row in."""
        if isinstance(row, Row):
            self._ticks.append(row.tick)
        else:
            self._rejected.append(Rejected(len(self), row.reason, row.payload))
            self._payload_characters += len(row.payload)

    def freeze(self) -> Batch:
        """The rows as a batch."""
        return freeze(self.first, self._ticks, self._rejected)


class Lane:
    """Takes the rows of a partition from the reader and appends them; a full stream makes the reader wait.

    After a failure (`Fenced`) or the end of the lease it swallows rows: they are not stored, another pass brings them.
    """

    def __init__(self, lease: Lease, appender: Appender) -> None:
        self.appended = 0  # rows that Redis has more because of this lane
        self._lease = lease
        self._appender = appender
        self._draft = Draft(1)
        self._next_number = 1
        self._flight: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    @property
    def is_open(self) -> bool:
        """Whether rows given to it have a chance to be stored."""
        return self._failure is None and not self._lease.ended.is_set()

    def start_after(self, stored: int) -> None:
        """Begin a pass: the next row given is the one after number `stored`."""
        self._draft = Draft(stored + 1)
        self._next_number = stored + 1

    @property
    def is_full(self) -> bool:
        """Whether it must be flushed before the next row."""
        return self._draft.is_full

    def add(self, row: Row | BadRow) -> None:
        """Take the next row."""
        self._draft.add(row)

    async def flush(self) -> None:
        """Send what is there, once the batch before has been answered."""
        if not len(self._draft):
            return
        await self.settle()
        batch = self._draft.freeze()
        self._draft = Draft(batch.first + batch.count)
        if self.is_open:
            self._flight = asyncio.create_task(self._deliver(batch))

    async def settle(self) -> None:
        """Wait until nothing is in flight."""
        if self._flight is not None:
            await asyncio.wait({self._flight})

    async def keep_open(self, seconds_between_rounds: float) -> None:
        """Serve until the lease ends and nothing is in flight; raise what a delivery raised."""
        while not await wait_or_stop(self._lease.ended, seconds_between_rounds):
            if self._failure is not None:
                raise self._failure
            # A hung delivery is no progress: such a process must lose its lease.
            if self._flight is None or self._flight.done():
                self._lease.progress()
        await self.settle()

    def close(self) -> None:
        """Give up what is in flight."""
        if self._flight is not None:
            self._flight.cancel()

    async def _deliver(self, batch: Batch) -> None:
        if batch.first > self._next_number:
            return  # Redis lost rows before these: another pass brings all of them
        try:
            appended = await self._appender.deliver(batch)
        except Exception as error:
            self._failure = error
            return
        if appended.answer is Answer.AHEAD:
            lost = batch.first - appended.number - 1
            log.warning("redis lost accepted rows, they are read again", partition=self._lease.partition, rows=lost)
        self.appended += appended.number + 1 - self._next_number
        self._next_number = appended.number + 1
