"""The known ways to do it wrong: an oracle that one of them gets past proves nothing."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from decimal import Decimal
from unittest.mock import patch

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from services.analyzer import service as analyzing
from services.analyzer.crossover import ON, side_of
from services.analyzer.moving_average import Window
from services.fetcher.producer import LiveProducer
from services.persister.rows import Lines, Position, StreamEvent
from services.persister.store import Store, StoredElsewhere, _copy, _note, queries
from shared import streams
from shared.commits import State
from shared.errors import TransientError
from shared.events import TickValues
from shared.redis import log
from shared.redis.log import Answer, Read, freeze
from tests.faults.model.actors import Prices
from tests.faults.model.running import ANALYZER_BATCH, Mutation

NO_CURSOR_CHECK = Mutation(
    "nocas: commit does not look where the cursor stands",
    lua=(
        ("if head.cursor == last_id then return { 'DUP'", "if false then return { 'DUP'"),
        ("if head.cursor ~= previous or #call('XREVRANGE'", "if #call('XREVRANGE'"),
    ),
)

NO_TOKEN_CHECK_IN_APPEND = Mutation(
    "nofence: append takes ticks from a former holder",
    lua=(("if not is_held(lease, token) then return { 'FENCED'", "if false then return { 'FENCED'"),),
    first_seed=1,
)

NO_TOKEN_CHECK_IN_COMMIT = Mutation(
    "nofence: commit takes a digest from a former holder",
    lua=(("if not is_held(lease, token) or head.period ~= period then", "if head.period ~= period then"),),
)
"""The one that does no harm: the cursor check alone carries the correctness of a commit."""

SAME_RUN = Mutation(
    "samerun: an incarnation is not tied to the server's run_id",
    lua=(("if head[2] == run_id then return h end", "if true then return h end"),),
)


def reading_by_group() -> AbstractContextManager[object]:
    """XREADGROUP in the analyzer: the read itself moves something, and who reads and then dies or sleeps has swallowed it."""

    async def read(reader: Redis, stream: str, partition: int, after: str, *, count: int, block_ms: int) -> Read:
        pipeline = reader.pipeline(transaction=False)
        pipeline.xreadgroup(streams.ANALYZER_GROUP, "me", {streams.stream(stream, partition): ">"}, count=count)
        pipeline.hmget(streams.log(partition), ["incarnation", "seq"])
        try:
            found, (incarnation, seq) = await pipeline.execute()
        except ResponseError as error:
            raise TransientError(str(error)) from error
        return Read(incarnation, int(seq or 0), log._entries(found))

    def start_reading(worker: analyzing._Worker, after: str) -> object:
        reading = read(worker._reader, "ticks", worker._partition, after, count=ANALYZER_BATCH, block_ms=0)
        return asyncio.create_task(reading)

    return patch.object(analyzing._Worker, "_start_reading", start_reading)


XREADGROUP = Mutation("xreadgroup: the analyzer reads with XREADGROUP", python=reading_by_group)


def deriving_sides() -> AbstractContextManager[object]:
    """The side from the list: after a flat stretch the window has forgotten from where the price came."""
    load = log.load

    async def load_without_sides(redis: Redis, partition: int) -> State:
        state = await load(redis, partition)
        sides = {}
        for ticker, prices in state.prices.items():
            window = Window(state.period, map(Decimal, prices))
            side = side_of(window.prices[-1], window) if len(window.prices) == window.period else ON
            if side != ON:
                sides[ticker] = side
        return State(state.incarnation, state.period, state.cursor, state.passed, state.seq, sides, state.prices)

    return patch.object(log, "load", load_without_sides)


NO_SIDE = Mutation("noside: the side is derived from the list", python=deriving_sides, first_seed=4)


def copying_first() -> AbstractContextManager[object]:
    """COPY, then the cursor: the loser gets a unique violation instead of zero rows."""

    async def store(
        self: Store, stream: str, partition: int, before: Position, batch: Lines, when_sent: Callable[[], None]
    ) -> list[StreamEvent]:
        refused: list[StreamEvent] = []
        connection = await self._pool.acquire()
        async with connection.transaction():
            if batch.lines:
                await _copy(connection, stream, batch.lines, refused, when_sent)
            moved = await connection.execute(queries()["advance"], stream, partition, *batch.position, before.incarnation, before.entry_id)
            if moved != "UPDATE 1":
                raise StoredElsewhere
            for event in (*batch.events, *refused):
                await _note(connection, partition, event)
        return refused

    return patch.object(Store, "store", store)


COPY_FIRST = Mutation("copyfirst: COPY before the cursor", python=copying_first)


async def deliver_thawed(producer: LiveProducer, ticks: Sequence[TickValues], prices: Prices) -> Sequence[TickValues]:
    """A batch whose answer is unknown gives way to newer ticks, which are sent under its numbers."""
    batch = list(ticks)
    while True:
        appended = await producer._appender._try(freeze(producer._next_number, batch), False)
        if appended is None:
            source, number = batch[-1][3:5]
            batch = [prices.tick(source, int(number) + place) for place in range(1, len(batch) + 1)]
        elif appended.answer in (Answer.OK, Answer.AHEAD):
            producer._next_number = appended.number + 1
            if appended.answer is Answer.OK:
                return batch
        else:
            return []


THAW = Mutation("thaw: a changed re-send under old numbers", deliver=deliver_thawed)

HARMFUL = (NO_CURSOR_CHECK, NO_TOKEN_CHECK_IN_APPEND, XREADGROUP, NO_SIDE, COPY_FIRST, THAW, SAME_RUN)
