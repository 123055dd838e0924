"""A batch on its way through the user's loop: what was finished, whether more of it may be given, and when it is over."""

import asyncio
import time
from collections.abc import Sequence
from typing import Generic

from tickstream_client.streams.events import Batch, E, Invalid


class Lease:
    """The right to work on a partition. Nothing is handed out any more once it has ended, nor while it is in doubt."""

    def __init__(self, partition: int, token: str, sure_until: float) -> None:
        self.partition = partition
        self.token = token
        self.ended = asyncio.Event()
        """Give back what is in hand: this member leaves, another one wants the partition, or has it already."""
        self.is_lost = False
        """Whether it is another's already: there is nothing to give back."""
        self._sure_until = sure_until
        self._news = asyncio.Event()

    @property
    def is_in_doubt(self) -> bool:
        """Whether Redis has not confirmed it for so long that another member may have it by now."""
        return time.monotonic() >= self._sure_until

    def confirm(self, until: float) -> None:
        """Note that nobody else can have it before then, a time of the monotonic clock."""
        self._sure_until = until
        self._news.set()

    def lose(self) -> None:
        """Note that it is another's."""
        self.is_lost = True
        self.end()

    def end(self) -> None:
        """Ask for what is in hand back."""
        self.ended.set()
        self._news.set()

    async def is_sure(self) -> bool:
        """Wait while it is in doubt; return whether it is still held."""
        while self.is_in_doubt and not self.ended.is_set():
            self._news.clear()
            await self._news.wait()
        return not self.ended.is_set()


class Handout(Generic[E]):
    """Events for the user's loop, after the entries that are none.

    `entry_ids` are those to acknowledge, one per event in their order, after those of the invalid entries.
    """

    def __init__(self, lease: Lease, batch: Batch[E] | None, invalid: Sequence[Invalid]) -> None:
        self.batch = batch
        self.invalid = invalid
        self.entry_ids = [each.entry_id for each in invalid]
        self.entry_ids += [event.entry_id for event in batch.events] if batch else []
        self.over = asyncio.Event()
        """The user's loop is done with it, or will never get more of it and has nothing of it in its body."""
        self.finished = 0
        """So many of the ids may be acknowledged."""
        self._lease = lease
        self._is_in_body = False
        self._is_closed = False

    def close(self) -> None:
        """Give no more of it out."""
        self._is_closed = True
        if not self._is_in_body:
            self.over.set()

    async def enter(self) -> bool:
        """Ask to go into the body with the next part; False: leave it, somebody else will get the rest."""
        if self._is_closed or not await self._lease.is_sure() or self._is_closed:
            return False
        self._is_in_body = True
        return True

    def finish(self, count: int) -> None:
        """The loop has come back for more: so many further entries are done."""
        self.finished += count

    def leave(self) -> None:
        """The body was left, done or not."""
        self._is_in_body = False
        if self._is_closed or self.finished == len(self.entry_ids):
            self.over.set()
