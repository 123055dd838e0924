"""One run of the model: a seed, fresh data, perhaps a mutation; what it objects to is raised with all that replays it."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from unittest.mock import patch

import asyncpg
import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from services.analyzer import service as analyzing
from services.fetcher import producer as producing
from services.gateway import feed
from services.persister import service as persisting
from shared.redis import log
from shared.redis.lease import Lease
from shared.redis.log import library_code
from tests.faults.model import actors, gates
from tests.faults.model.oracle import Objection
from tests.faults.model.stage import TABLES, Stage

STEPS = 900
PERSISTERS = 4
"""Connections to PostgreSQL: two persisters on two streams."""


ANALYZER_BATCH = 4


@dataclass(frozen=True)
class Mutation:
    """A known way to do it wrong."""

    name: str
    lua: tuple[tuple[str, str], ...] = ()
    """Texts of functions.lua and what stands there instead."""
    python: Callable[[], AbstractContextManager[object]] = nullcontext
    deliver: actors.Deliver = actors.deliver
    first_seed: int = 0
    """One that met it early when this was written; the others are played after it, for other code makes other runs."""

    def library(self) -> str:
        """The function library with the mutation."""
        code = library_code()
        for text, other in self.lua:
            if code.count(text) != 1:
                raise ValueError(f"functions.lua has {text!r} {code.count(text)} times: the mutation {self.name} must be written anew")
            code = code.replace(text, other)
        return code


SOUND = Mutation("none")


class Failed(Exception):
    """A run that the oracle objected to."""

    def __init__(self, seed: int, step: int, objection: Objection, trace: Sequence[str]) -> None:
        self.objection = objection
        steps = "\n".join(trace)
        super().__init__(f"SEED={seed} step {step}: {objection}\nthe last steps:\n{steps}")


def run(redis_url: str, database_url: str, seed: int, mutation: Mutation = SOUND, *, steps: int = STEPS) -> dict[str, int]:
    """Play one seed; return how often what happened. Raise `Failed`."""
    with (
        Redis.from_url(
            redis_url, protocol=3, decode_responses=True, encoding_errors="backslashreplace", retry=Retry(NoBackoff(), 0)
        ) as redis,
        small_batches(),
        quiet(),
        mutation.python(),
    ):
        for raw in ("XREAD", "XREADGROUP"):
            redis.response_callbacks.pop(raw, None)  # as the services' own client does
        redis.flushdb()
        redis.function_load(mutation.library(), replace=True)
        # Not in debug mode: that notes where each turn of the loop came from, which takes longer than all the rest.
        with asyncio.Runner(debug=False) as runner:
            return runner.run(_play(redis, database_url, seed, mutation, steps))


async def _play(redis: Redis, database_url: str, seed: int, mutation: Mutation, steps: int) -> dict[str, int]:
    # Tasks of an actor that crashed end unseen.
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    async with connected(database_url, PERSISTERS + 1) as (store, *connections):
        for table in TABLES:
            await store.execute(f"DELETE FROM {table}")
        stage = Stage(seed, redis, store, mutation.deliver)
        stage.set_the_stage(connections)
        try:
            await stage.play(steps)
        except Objection as objection:
            raise Failed(seed, stage.now, objection, stage.trace) from None
        finally:
            await stage.end()
        return stage.counts


@asynccontextmanager
async def connected(url: str, count: int) -> AsyncIterator[list[asyncpg.Connection]]:
    """So many connections to PostgreSQL; a wait for a lock is an error, because whoever has it stands still meanwhile."""
    async with AsyncExitStack() as stack:
        connections = []
        for _ in range(count):
            connection = await asyncpg.connect(url, server_settings={"lock_timeout": "1s", "timezone": "UTC"})
            stack.push_async_callback(connection.close)
            connections.append(connection)
        yield connections


@contextmanager
def small_batches() -> Iterator[None]:
    """Batches of a few entries, so that a few dozen ticks make many; waits that are steps of the scheduler."""
    with ExitStack() as stack:
        for module in (analyzing, persisting, producing):
            stack.enter_context(patch.object(module, "wait_or_stop", gates.wait_or_stop))
        stack.enter_context(patch.object(Lease, "idle", gates.idle))
        stack.enter_context(patch.object(log, "exchange", gates.exchange))
        for module, name, value in (
            (analyzing, "BATCH_ENTRIES", ANALYZER_BATCH), (persisting, "ENTRIES", 6), (producing, "FIRST_WAIT_SECONDS", 0.0),
            (feed, "LOOK_SECONDS", math.inf), (persisting, "LOOK_AGAIN_SECONDS", math.inf),  # which would follow the clock, not the seed
        ):  # fmt: skip
            stack.enter_context(patch.object(module, name, value))
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Thousands of faults would be thousands of lines in the log."""
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(wrapper_class=before)
