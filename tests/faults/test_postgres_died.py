"""PostgreSQL that dies, is cut off or hangs in the middle of a transaction: the cursor tells what became of it."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from redis.asyncio import Redis

from services.admin.embedded import EmbeddedPostgres
from shared import streams
from tests.e2e.pipeline import until
from tests.faults.postgres import SLEEP, observed_outage, persisting, processes_on, storage

WHERE_AND_HOW = [(place, how) for place in ("commit", "copy", "cursor") for how in ("kill", "stop")]


@pytest.mark.parametrize(("place", "how"), [WHERE_AND_HOW[0], *(pytest.param(*case, marks=pytest.mark.long) for case in WHERE_AND_HOW[1:])])
async def test_postgresql_that_ends_in_the_middle_of_a_transaction(
    redis: Redis, redis_url: str, postgres_server: EmbeddedPostgres, place: str, how: str
) -> None:
    """Killed (kill -9), or stopped in order, which ends the connections (SIGINT, a fast shutdown)."""
    async with storage(redis, redis_url, postgres_server.url) as stored:
        await stored.set_fault(place, SLEEP)
        await stored.write()
        with observed_outage():
            async with persisting(redis_url, stored.url):
                await stored.until_asleep(place)
                await asyncio.to_thread(getattr(postgres_server, how))
                await asyncio.to_thread(postgres_server.start)
                await stored.connect_again()
                await stored.end_fault()
                await stored.until_stored()
        await stored.check()


COMMITTED = b"C\x00\x00\x00\x0bCOMMIT\x00"
"""CommandComplete, as PostgreSQL's protocol has it: the transaction is in, and the client is about to be told."""


@asynccontextmanager
async def cut_at_commit(url: str, times: int) -> AsyncIterator[tuple[str, list[int]]]:
    """A way to PostgreSQL that is cut when the answer to a COMMIT comes by; yield its URL and the cuts so far, of `times`."""
    parts = urlsplit(url)
    cuts: list[int] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if COMMITTED in data and len(cuts) < times:
                cuts.append(len(data))
                break
            writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server = await asyncio.open_connection(parts.hostname, parts.port)
        directions = [asyncio.ensure_future(pass_on(reader, to_server[1])), asyncio.ensure_future(pass_on(to_server[0], writer))]
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        for one in directions:
            one.cancel()
        for end in (writer, to_server[1]):
            end.transport.abort()
        await asyncio.wait(directions)
        for one in directions:
            with suppress(asyncio.CancelledError, OSError):
                one.result()

    serving: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        serving.add(task)
        await asyncio.wait({task})

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}")), cuts
    finally:
        server.close()
        await asyncio.wait(serving)


async def test_a_commit_whose_answer_is_lost_doubles_nothing(redis: Redis, redis_url: str, database_url: str) -> None:
    async with storage(redis, redis_url, database_url) as stored, cut_at_commit(database_url, 6) as (url, cuts):
        async with persisting(redis_url, url):
            for _ in range(8):
                await stored.write()
                await stored.until_stored()
        assert len(cuts) == 6
        await stored.check()


@contextmanager
def hanging(server: EmbeddedPostgres) -> Iterator[None]:
    """Every process of the server stands still: connections stay open, and nothing answers."""
    family = processes(server.pid)
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in family:
            os.kill(pid, signal.SIGCONT)


def processes(pid: int) -> list[int]:
    """A process and all its descendants."""
    answer = subprocess.run(("ps", "-A", "-o", "pid=,ppid="), capture_output=True, text=True, check=True).stdout
    pairs = [(int(child), int(parent)) for child, parent in map(str.split, answer.splitlines())]
    family = [pid]
    for each in family:
        family += [child for child, parent in pairs if parent == each]
    return family


@pytest.mark.long
@pytest.mark.parametrize("moment", ["starting", "lease taken", "stored"])
async def test_a_persister_ends_in_time_while_postgresql_hangs_and_leaves_its_partitions_to_others(
    redis: Redis, redis_url: str, postgres_server: EmbeddedPostgres, tmp_path: Path, moment: str
) -> None:
    """With more streams at work than the pool has connections: some wait for an answer, most wait for a connection."""
    partitions = 8
    async with (
        storage(redis, redis_url, postgres_server.url, partitions=partitions) as stored,
        processes_on(stored, tmp_path, partitions) as pipeline,
    ):
        await stored.write()
        persister = pipeline.start("persister")
        await until(stored.is_stored if moment == "stored" else persister.has_said(moment), moment)
        with hanging(postgres_server):
            await stored.write()
            await pipeline.stop()
        owners = [await redis.hget(streams.lease("persister", p), "owner") for p in range(partitions)]
        assert not any(owners)
        persister.check_log()
