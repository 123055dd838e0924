"""One partition of a group: entries are taken only by who holds the lease, first those that somebody left unfinished.

Waiting for entries (XREAD) has no side effect. XREADGROUP, XCLAIM and XGROUP run in a MULTI that is void once the lease is
another's (WATCH): a process that was stopped for long hands itself nothing when it goes on.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, cast

from redis.asyncio.client import Pipeline
from redis.exceptions import ResponseError, WatchError

from tickstream_client.streams import keys
from tickstream_client.streams.lineage import Fate, Head, Position, fate, read_head
from tickstream_client.streams.servers import AWAY, BLOCK_SECONDS, Cluster, Single

Start = Literal["beginning", "now"]
Command = tuple[str | int, ...]
Prepare = Callable[[Pipeline], Awaitable[list[Command]]]

COUNTING_TRIES = 5
"""Our own heartbeat can come in between, hardly ever twice in a row; the next take may be another member's, who does not know."""

MEMBER_NAME = re.compile(r".+:\d+:[0-9a-f]{6}", re.DOTALL)
"""How members are called: consumers of other names are somebody else's."""

_SEQ_FIELD = {"ticks": "seq", "enriched": "enriched_seq"}


class Fenced(Exception):
    """The lease is another's: nothing was done."""


class NoGroup(Exception):
    """The group is not there, or its stream."""


class NotSetUp(Exception):
    """The stream or the head of the partition is not there yet, or not any more."""


@dataclass(frozen=True, slots=True)
class Row:
    """An entry as it stands in the stream; names and values in turn."""

    entry_id: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Taken:
    """What one take gave."""

    rows: tuple[Row, ...]
    is_redelivered: bool
    lost: int
    """Entries that were deleted before the group had read or finished them."""
    incarnation: str
    newest_seq: int
    """The last seq that was assigned."""
    after: str
    """Where the group stood before; the beginning if that cannot be told."""


class PartitionGroup:
    """A group on one partition of a stream, for who holds the lease with this token."""

    def __init__(self, servers: Single | Cluster, stream: str, group: str, partition: int, member: str, token: str) -> None:
        self._servers = servers
        self._stream = stream
        self._group = group
        self._partition = partition
        self._key = keys.stream(stream, partition)
        self._log = keys.log(partition)
        self._lease = keys.lease(keys.service(stream, group), partition)
        self._member = member
        self._token = token
        self._last_delivered = "0-0"
        self._passed: int | None = None
        """So many entries the group has passed up to there, with those that were lost; Redis' own count may not have them yet."""
        self._may_be_pending = True
        """Whether entries may be pending that nobody here has in hand: a former holder's, or those of a take whose answer was lost."""

    async def wait(self) -> None:
        """Wait until there is an entry that the group has not taken, for `BLOCK_SECONDS` at most. Without side effect."""
        server = await self._servers.at(self._key)
        block = int(BLOCK_SECONDS * 1000)
        await server.waiting.execute_command("XREAD", "COUNT", 1, "BLOCK", block, "STREAMS", self._key, self._last_delivered)

    async def take(self, count: int) -> Taken:
        """Take up to so many entries, in order; nothing of an earlier take may be in hand. Raise `Fenced` or `NoGroup`."""
        try:
            if self._may_be_pending and (left := await self._take_what_was_left(count)):
                return left
            return await self._take_new(count)
        except ResponseError as error:
            raise _no_group(error) or error from error

    def unsettle(self) -> None:
        """What was taken last did not come into anybody's hands: it is to be taken again."""
        self._may_be_pending = True

    async def acknowledge(self, entry_ids: Sequence[str]) -> None:
        """Say that entries are finished. Not fenced: whoever finished them, nobody has to do it again."""
        server = await self._servers.at(self._key)
        await server.commands.execute_command("XACK", self._key, self._group, *entry_ids)

    async def head(self) -> Head:
        """The incarnations of the partition; raise `NotSetUp` if there is no head."""
        server = await self._servers.at(self._log)
        incarnation, lineage = await server.commands.execute_command("HMGET", self._log, "incarnation", "lineage")
        if incarnation is None or lineage is None:
            raise NotSetUp(f"{self._log} is missing: it is made when a service of the pipeline starts")
        return read_head(self._stream, incarnation, lineage)

    async def join(self) -> None:
        """Be seen among the consumers of the group, and clear away those that have left nothing behind. Raise `Fenced`, `NoGroup`."""
        try:
            await self._tidy(but=self._member, also=[("XGROUP", "CREATECONSUMER", self._key, self._group, self._member)])
        except ResponseError as error:
            raise _no_group(error) or error from error

    async def leave(self) -> None:
        """Be seen no more, unless entries are left unfinished: deleting their consumer would lose them."""
        await self._tidy(but=None)

    async def create(self, start: Start, position: Position | None) -> Fate:
        """Create the group after `position` if there is one, else where `start` says; return what became of the position.

        Raise `Fenced`, or `NotSetUp` if there is no stream.
        """
        judged, after = fate(position, await self.head()) if position else (Fate.KEPT, None)

        async def commands(pipeline: Pipeline) -> list[Command]:
            info = _pairs(await _now(pipeline, "XINFO", "STREAM", self._key))
            return [("XGROUP", "CREATE", self._key, self._group, *_beginning(info, start, after))]

        try:
            (answer,) = await self._fenced(commands)
        except ResponseError as error:
            if "no such key" in str(error):
                raise NotSetUp(f"{self._key} is not there yet: nothing was ever written") from error
            raise
        if isinstance(answer, ResponseError) and not str(answer).startswith("BUSYGROUP"):
            raise answer
        return judged

    async def _take_what_was_left(self, count: int) -> Taken | None:
        """What is pending, whoever had it: only the holder takes, so nobody else has it in hand."""
        ids: list[str] = []

        async def commands(pipeline: Pipeline) -> list[Command]:
            rows = await _now(pipeline, "XPENDING", self._key, self._group, "-", "+", count)
            ids[:] = [str(row[0]) for row in rows]
            claim: Command = ("XCLAIM", self._key, self._group, self._member, 0, *ids)
            return [*([claim] if ids else []), self._head_fields()]

        answers = await self._fenced(commands)
        if not ids:
            await self.join()
            self._may_be_pending = False
            return None
        claimed, (incarnation, newest) = _checked(answers)
        rows = tuple(Row(entry[0], tuple(entry[1])) for entry in claimed if entry and entry[1])
        return Taken(rows, True, len(ids) - len(rows), incarnation or "", int(newest or 0), "0-0")

    async def _take_new(self, count: int) -> Taken:
        read: Command = ("XREADGROUP", "GROUP", self._group, self._member, "COUNT", count, "STREAMS", self._key, ">")
        self._may_be_pending = True  # until the answer is here
        answers = await self._fenced_all(("XINFO", "STREAM", self._key), ("XINFO", "GROUPS", self._key), read, self._head_fields())
        info, groups, found, (incarnation, newest) = _checked(answers)
        self._may_be_pending = False
        rows = tuple(Row(entry[0], tuple(entry[1])) for entry in (found[0][1] if found else ()))
        before = next(group for group in map(_pairs, groups) if group["name"] == self._group)
        passed = self._passed_before(before)
        lost = count_lost(_pairs(info), {**before, "entries-read": passed})
        self._last_delivered = rows[-1].entry_id if rows else before["last-delivered-id"]
        self._passed = None if passed is None else passed + lost + len(rows)
        if self._passed is not None and self._passed != before["entries-read"] + len(rows):
            await self._count_right(self._passed)
        return Taken(rows, False, lost, incarnation or "", int(newest or 0), before["last-delivered-id"])

    def _passed_before(self, group: dict[str, Any]) -> int | None:
        """How many entries the group had passed before a take; None if nobody knows."""
        read = group["entries-read"]
        if read is None or self._passed is None or group["last-delivered-id"] != self._last_delivered:
            return None if read is None else int(read)
        return max(int(read), self._passed)

    async def _count_right(self, passed: int) -> None:
        """Pass what was lost in the group's own count, too: else it would be told again, and the lag be wrong for ever.

        What comes to nothing is made up for with the next take: an error here would keep from the caller what was lost.
        """
        with suppress(Fenced, *AWAY):
            for _ in range(COUNTING_TRIES):
                with suppress(WatchError):
                    await self._fenced_all(("XGROUP", "SETID", self._key, self._group, self._last_delivered, "ENTRIESREAD", passed))
                    return

    async def _tidy(self, but: str | None, also: Sequence[Command] = ()) -> None:
        async def commands(pipeline: Pipeline) -> list[Command]:
            consumers = [_pairs(row) for row in await _now(pipeline, "XINFO", "CONSUMERS", self._key, self._group)]
            idle = [
                each["name"] for each in consumers if not each["pending"] and each["name"] != but and MEMBER_NAME.fullmatch(each["name"])
            ]
            gone: list[Command] = [("XGROUP", "DELCONSUMER", self._key, self._group, name) for name in idle]
            return [*gone, *also]

        _checked(await self._fenced(commands))

    def _head_fields(self) -> Command:
        return ("HMGET", self._log, "incarnation", _SEQ_FIELD[self._stream])

    async def _fenced_all(self, *commands: Command) -> list[Any]:
        async def given(_: Pipeline) -> list[Command]:
            return list(commands)

        return await self._fenced(given)

    async def _fenced(self, prepare: Prepare) -> list[Any]:
        """Run the commands that `prepare` gives if the lease is still held, all or none; errors stand among the answers.

        Raise `Fenced`, or `WatchError` if that is not sure: our own heartbeat touched the lease, or the connection broke.
        """
        server = await self._servers.at(self._lease)
        async with server.commands.pipeline(transaction=True) as pipeline:
            await pipeline.watch(self._lease)
            if await _now(pipeline, "HGET", self._lease, "token") != self._token:
                raise Fenced
            commands = await prepare(pipeline)
            if not commands:
                return []
            pipeline.multi()
            for command in commands:
                pipeline.execute_command(*command)
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
            return answers


def _beginning(info: dict[str, Any], start: Start, after: str | None) -> Command:
    """Where a group begins, and how many entries count as read by it; unknown, Redis finds the number out when it has caught up."""
    if after not in (None, "0-0"):
        return (str(after),)
    if after is None and start == "now":
        # Not `$`: entries that come between the two commands would be passed, but not counted.
        return info["last-generated-id"], "ENTRIESREAD", info["entries-added"]
    return "0-0", "ENTRIESREAD", info["entries-added"] - info["length"]


def count_lost(stream: dict[str, Any], group: dict[str, Any]) -> int:
    """How many entries behind the group's last one are gone, as XINFO STREAM and XINFO GROUPS tell it.

    As long as the entry where the group stands is there, nothing behind it is gone, since entries go from the front. Once it is
    gone, the entries ever added, less those still there, less those that the group has read, are those that nobody read.
    """
    first, read = stream["first-entry"], group["entries-read"]
    if read is None or (first and not _is_after(first[0], group["last-delivered-id"])):
        return 0
    return max(0, int(stream["entries-added"]) - int(stream["length"]) - int(read))


def _is_after(entry_id: str, other: str) -> bool:
    def parts(text: str) -> tuple[int, int]:
        ms, _, number = text.partition("-")
        return int(ms), int(number)

    return parts(entry_id) > parts(other)


async def _now(pipeline: Pipeline, *command: str | int) -> Any:
    """The answer to a command that is sent at once: between WATCH and MULTI."""
    return await cast(Awaitable[Any], pipeline.execute_command(*command))


def _pairs(flat: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _checked(answers: list[Any]) -> list[Any]:
    """The answers; raise the first error among them."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


def _no_group(error: ResponseError) -> NoGroup | None:
    text = str(error)
    return NoGroup(text) if "NOGROUP" in text or "no such key" in text else None
