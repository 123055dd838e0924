"""A partition's log: the calls of `functions.lua` and the plain reads beside them, typed.

Every call either answers, raises `TransientError` (nothing was stored), or raises one of `REDIS_AWAY` (nobody knows).
A silent reconnect between a read and its commit needs no bookkeeping here: the server compares its own run_id, the
incarnation and the cursor on every commit, so what was read from another life of the stream is answered RESET or CONFLICT.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple, cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, ReadOnlyError, ResponseError

from shared import streams
from shared.commits import Digest, Entries, State
from shared.errors import NotReady, TransientError
from shared.incarnations import Ended, Head, parse_lineage
from shared.redis.client import exchange
from shared.redis.cluster import at, check_role, name_of_server

LIBRARY = "tickstream_1"
BATCH_ENTRIES = 1000
"""The longest batch a function takes, so that no call runs longer than a few milliseconds."""
VALUES_PER_LOAD = 50_000

FORBIDDEN_WITHIN = ("The user executing the script can't run", "ACL failure in script")
"""What Redis 7.0, and what later ones and Valkey say of a command that a function may not run."""

_pack = msgspec.msgpack.Encoder().encode


class Unconfigured(TransientError):
    """The head of the partition is gone (FLUSHALL): it must be prepared again."""


class Answer(StrEnum):
    """What `append` and `commit` answer."""

    OK = "OK"
    FENCED = "FENCED"
    AHEAD = "AHEAD"
    RESET = "RESET"
    DUP = "DUP"
    CONFLICT = "CONFLICT"
    FULL = "FULL"


class Rejected(NamedTuple):
    """An input row that is no tick: its offset within the batch, why, and its text."""

    offset: int
    reason: str
    payload: str


@dataclass(frozen=True, slots=True)
class Batch:
    """A producer's numbered batch, frozen: a re-send after a lost answer must be the same bytes."""

    first: int
    count: int
    body: bytes
    rejected: int = 0
    """Rows among them that are no ticks."""


class Appended(NamedTuple):
    """Answer of `append`: last number stored for the producer, last seq, length of the stream, ticks refused as future."""

    answer: Answer
    number: int
    seq: int
    length: int
    refused: int


class Committed(NamedTuple):
    """Answer of `commit`, with the cursor and the lengths of both streams after it."""

    answer: Answer
    cursor: str
    ticks_length: int
    enriched_length: int


class Hold(NamedTuple):
    """What keeps a stream from being trimmed: the group that stands lowest."""

    length: int
    """Entries in the stream."""
    needed: int
    """How many of them that group has yet to read or to acknowledge, as far as Redis can tell."""
    group: str
    """Empty if all have read everything."""
    entry_id: str
    """Where it stands."""


class Overrun(NamedTuple):
    """A group that is not required was passed: so many entries went that it had not read."""

    stream: str
    group: str
    entries: int


class Trimmed(NamedTuple):
    """Answer of `trim`: how many entries went from each stream, whether there is more to do, who holds the rest."""

    ticks: int
    enriched: int
    is_more: bool
    holds: dict[str, Hold]
    overruns: list[Overrun]

    @property
    def is_quiet(self) -> bool:
        """Whether there was nothing to do, and only a new entry or the passing of time can change that: all have read everything."""
        return not (self.ticks or self.enriched or self.is_more or self.overruns or any(hold.group for hold in self.holds.values()))


@dataclass(frozen=True)
class Snapshot:
    """A partition as a starting reader of `enriched:{p}` needs it."""

    head: Head
    last_id: str
    latest: dict[str, str]
    passed: int
    """Entries that were added to `enriched:{p}` up to `last_id`, since the stream exists."""

    @property
    def incarnation(self) -> str:
        """The incarnation now."""
        return self.head.incarnation

    @property
    def lineage(self) -> tuple[Ended, ...]:
        """The incarnations that ended, oldest first."""
        return self.head.lineage

    @property
    def seq(self) -> int:
        """The last seq of `enriched:{p}`."""
        return self.head.last_seq["enriched"]


@dataclass(frozen=True)
class Read:
    """What a read found, and the head of the partition right after it; `incarnation` None: the log is gone."""

    incarnation: str | None
    seq: int
    """The last seq that was assigned on the stream that was read."""
    entries: Entries


@cache
def library_code() -> str:
    """The text of the function library."""
    return files("shared.redis").joinpath("functions.lua").read_text(encoding="utf-8")


async def read_hash(redis: Redis, key: str, fields: list[str]) -> list[str | None]:
    """Read fields of a hash in one command; raise `TransientError` if the key is no hash."""
    try:
        async with at(redis, key) as server:
            return cast(list[str | None], await server.hmget(key, fields))
    except ResponseError as error:
        raise refusal(error) from error


def refusal(error: ResponseError) -> TransientError:
    """What an error that Redis answered means: nothing was done. `NotReady` if it would refuse the same for any key, with what to do."""
    if isinstance(error, NoPermissionError) or any(words in str(error) for words in FORBIDDEN_WITHIN):
        return NotReady(f"{error}: ACL LOG names what the user of REDIS_URL lacks, ACL SETUSER gives it back")
    if isinstance(error, ReadOnlyError):
        return NotReady(f"{error}: this Redis is a replica, REDIS_URL must name the primary")
    if "BUSY Redis" in str(error):
        return NotReady(f"{error} (a script or function of somebody's runs too long)")
    if "MISCONF" in str(error):
        return NotReady(str(error))
    return TransientError(str(error))


async def call(redis: Redis, function: str, keys: Sequence[str], *args: str | bytes | int) -> Any:
    """Call a function of the library. Raise `Unconfigured` or `TransientError` when it refused and stored nothing."""
    try:
        async with at(redis, keys[0]) as server:
            return await server.fcall(f"{function}_1", len(keys), *keys, *args)
    except ResponseError as error:
        text = str(error)
        if text.startswith("UNCONFIGURED"):
            raise Unconfigured(text) from None
        if text.startswith(("Function not found", "ERR Function not found")):
            where = name_of_server(redis, server)
            raise NotReady(f"function {function}_1 is not loaded in {where}; run `tickstream migrate`") from None
        raise refusal(error) from error


def _log_keys(p: int) -> list[str]:
    return [streams.log(p), streams.ticks(p), streams.enriched(p), streams.events(p)]


def freeze(first: int, ticks: Sequence[Sequence[str]], rejected: Sequence[Rejected] = ()) -> Batch:
    """Encode a batch whose first number is `first`.

    `ticks` are those without the rejected rows, each (ticker, price, ts, source, volume, quote_ts, shed).
    """
    flat_ticks = [value for tick in ticks for value in tick]
    flat_rejected = [value for row in rejected for value in row]
    return Batch(first, len(ticks) + len(rejected), _pack((flat_ticks, flat_rejected)), len(rejected))


async def append(redis: Redis, partition: int, *, token: str, producer: str, batch: Batch, cap: int, polled: bool = False) -> Appended:
    """Append a batch to `ticks:{p}`, whole or not at all; what this producer stored before is skipped."""
    keys = [*_log_keys(partition), streams.producers(partition), streams.last(partition), streams.deadletters(partition)]
    reply = await call(
        redis, "append", [*keys, streams.lease("fetcher", partition)],
        token, producer, batch.first, batch.count, cap, "1" if polled else "0", batch.body,
    )  # fmt: skip
    return Appended(Answer(reply[0]), int(reply[1]), int(reply[2]), int(reply[3]), int(reply[4]))


async def producer_numbers(redis: Redis, partitions: int, producer: str) -> list[int]:
    """The last number stored for a producer in each partition, 0 where there is none."""
    return [int((await read_hash(redis, streams.producers(p), [producer]))[0] or 0) for p in range(partitions)]


async def load(redis: Redis, partition: int) -> State:
    """Load the analyzer's state; raise `TransientError` if somebody committed while it was read."""
    keys = [*_log_keys(partition), streams.sides(partition), streams.latest(partition)]
    incarnation, period, cursor, passed, seq, sides, tickers, _ = await call(redis, "load", keys, "1")
    prices: dict[str, list[str]] = {}
    step = max(1, VALUES_PER_LOAD // int(period))
    for start in range(0, len(tickers), step):
        names = tickers[start : start + step]
        part = await call(redis, "load", [*keys, *(streams.prices(partition, name) for name in names)], "0")
        if part[:3] != [incarnation, period, cursor]:
            raise TransientError(f"partition {partition} moved while its windows were loaded")
        prices.update(zip(names, part[7], strict=True))
    side_of = {ticker: int(side) for ticker, side in zip(sides[::2], sides[1::2], strict=True)}
    return State(incarnation, int(period), cursor, int(passed), int(seq), side_of, prices)


async def commit(redis: Redis, partition: int, *, token: str, period: int, incarnation: str, cap: int, digest: Digest) -> Committed:
    """Commit a digest, if the cursor still stands where its batch was read from."""
    outcome = digest.outcome
    keys = [*_log_keys(partition), streams.sides(partition), streams.latest(partition), streams.deadletters(partition)]
    lists = [streams.prices(partition, ticker) for ticker in outcome.prices]
    lost = [seq for hole in digest.missing for seq in hole]
    body = _pack((list(outcome.prices.values()), outcome.events, outcome.latest, outcome.sides, outcome.deadletters))
    reply = await call(
        redis, "commit", [*keys, streams.lease("analyzer", partition), *lists],
        token, period, incarnation, digest.previous, digest.last, digest.seq, digest.passed, cap, body,
        lost[-1] if lost else "", *lost,
    )  # fmt: skip
    return Committed(Answer(reply[0]), reply[1], int(reply[2]), int(reply[3]))


async def mirror(redis: Redis, partition: int, *, stream: str, group: str, incarnation: str, entry_id: str, passed: int) -> int:
    """Move a group to its reader's own position; return the count of entries passed that holds now."""
    _, count = await call(redis, "mirror", _log_keys(partition), stream, group, incarnation, entry_id, passed)
    return int(count)


async def snapshot(redis: Redis, partition: int) -> Snapshot:
    """Look at a partition in one moment; raise `TransientError` while it is not set up."""
    keys = [streams.log(partition), streams.enriched(partition), streams.latest(partition)]
    incarnation, lineage, seq, enriched_seq, last_id, latest, passed = await call(redis, "snapshot", keys)
    found = Head(incarnation, parse_lineage(lineage), {"ticks": int(seq), "enriched": int(enriched_seq)})
    return Snapshot(found, last_id, dict(zip(latest[::2], latest[1::2], strict=True)), int(passed))


async def trim(redis: Redis, partition: int, *, cap: int, window_ms: int) -> Trimmed:
    """Trim both streams behind their readers."""
    ticks, enriched, more, held_ticks, held_enriched, overruns = await call(redis, "trim", _log_keys(partition), cap, window_ms)
    holds = {"ticks": Hold(*held_ticks), "enriched": Hold(*held_enriched)}
    return Trimmed(int(ticks), int(enriched), bool(more), holds, [Overrun(*each) for each in overruns])


_SEQ_FIELD = {"ticks": "seq", "enriched": "enriched_seq", "events": "events_seq"}


async def head(redis: Redis, partition: int) -> Head:
    """Read the head of a partition; raise `Unconfigured` if it is gone."""
    incarnation, lineage, *last_seqs = await read_hash(redis, streams.log(partition), ["incarnation", "lineage", *_SEQ_FIELD.values()])
    if incarnation is None or lineage is None:
        raise Unconfigured(f"{streams.log(partition)} is missing")
    return Head(incarnation, parse_lineage(lineage), {name: int(seq or 0) for name, seq in zip(_SEQ_FIELD, last_seqs, strict=True)})


async def read(redis: Redis, stream: str, partition: int, after: str, *, count: int, block_ms: int) -> Read:
    """Read entries after an id, waiting up to `block_ms` (0: do not wait) for the first; reading has no side effect.

    XREAD tells no incarnation, and on a deleted stream it waits without error: the head is read behind it on the same
    connection, and a reader whose incarnation it is not any more discards the entries.
    """
    key = streams.stream(stream, partition)
    try:
        async with at(redis, key) as server:
            found, (incarnation, seq), role = await exchange(
                server,
                ("XREAD", "COUNT", count, *(("BLOCK", block_ms) if block_ms else ()), "STREAMS", key, after),
                ("HMGET", streams.log(partition), "incarnation", _SEQ_FIELD[stream]),
                ("ROLE",),
            )
            await check_role(server, role)
    except ResponseError as error:
        raise refusal(error) from error
    return Read(incarnation, int(seq or 0), _entries(found))


def _entries(found: object) -> Entries:
    """The rows of the one stream in an XREAD reply."""
    if not found:
        return []
    rows: Entries = next(iter(cast(dict[str, Entries], found).values()))
    return rows
