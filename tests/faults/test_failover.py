"""A single Redis that is failed over to a replica which had not got everything, behind an address that stays."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from services.admin.embedded import EmbeddedRedis, find_free_port
from services.admin.migrate import load_library
from shared.errors import TransientError
from shared.incarnations import Resolution, resolve
from shared.redis import log
from shared.redis.client import connect
from tests.e2e.market_data import SPAN_SECONDS, outcome, recording
from tests.e2e.pipeline import Pipeline, until
from tests.e2e.playing import run_to_the_end, run_until
from tests.e2e.proof import Proof
from tests.e2e.viewer import Book, Viewer
from tests.faults.loss import check_after_loss, hurry
from tests.integration.partition import set_up
from tests.servers import search_path

PARTITIONS = 2
RUN_SECONDS = 40.0
"""Of the replay until it is hurried: on a machine that is busy elsewhere it must not be over before the fault comes."""
LOST = 600
"""Ticks that the replica has not got; enough for some in each partition."""


class Address:
    """A port that leads to whichever server is the primary, as a name or a proxy does."""

    def __init__(self, server: EmbeddedRedis) -> None:
        self.server = server
        self.url = ""
        self._ends: set[asyncio.StreamWriter] = set()
        self._forwarding: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Address"]:
        """Listen for the time of the block."""
        async with await asyncio.start_server(self._accept, "127.0.0.1", 0) as listening:
            self.url = f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
            yield self
        for end in self._ends:
            end.close()
        await asyncio.gather(*self._forwarding)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._forward(reader, writer))
        self._forwarding.add(task)
        task.add_done_callback(self._forwarding.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        self._ends |= ends
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.server.port)
            ends.add(far_writer)
            self._ends |= ends
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        for end in ends:
            end.close()
            with suppress(OSError):
                await end.wait_closed()
        self._ends -= ends


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes; the end of one way is the end of the other."""
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
    writer.close()


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedRedis, EmbeddedRedis]]:
    """A primary and what will be its replica."""
    folder = tmp_path_factory.mktemp("failover")
    start = partial(EmbeddedRedis, appendonly=False, search_path=search_path())
    with (
        start(folder / "a", find_free_port()) as first,
        start(folder / "b", find_free_port()) as second,
    ):
        yield first, second
    shutil.rmtree(folder)


async def follow(replica: EmbeddedRedis, primary: EmbeddedRedis) -> None:
    """Make one server the replica of another, and wait until it has everything."""
    async with connect(replica.url, service="tests") as client:
        await client.replicaof("127.0.0.1", str(primary.port))

        async def is_linked() -> bool:
            return bool((await client.info("replication"))["master_link_status"] == "up")

        await until(is_linked, "the replica to have everything")


async def cut_off(replica: EmbeddedRedis) -> None:
    """Leave a replica with what it has."""
    async with connect(replica.url, service="tests") as client:
        await client.replicaof("127.0.0.1", str(find_free_port()))


async def promote(replica: EmbeddedRedis) -> None:
    """Make a primary of it."""
    async with connect(replica.url, service="tests") as client:
        await client.replicaof("NO", "ONE")


def last_seqs(book: Book) -> int:
    """The sum of what a viewer has seen last of each ticker: it rises with every tick."""
    return sum(int(stock["seq"]) for stock in book.stocks.values())


@pytest.mark.long
@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "demoted"])
async def test_a_fail_over_to_a_replica_that_lagged_is_told_and_made_good(
    servers: tuple[EmbeddedRedis, EmbeddedRedis], database_url: str, tmp_path: Path, is_killed: bool
) -> None:
    old, new = servers
    file = tmp_path / "market.csv"
    file.write_text(recording(every=1).text, encoding="ascii")
    variables = {"SOURCE": "replay", "REPLAY_FILE": str(file), "REPLAY_SPEED": str(SPAN_SECONDS / RUN_SECONDS)}
    async with Address(old).open() as address, connect(new.url, service="tests") as redis:
        proof = Proof(redis, database_url, outcome(PARTITIONS, every=1))
        async with (
            Pipeline(address.url, database_url, tmp_path, PARTITIONS, **variables) as pipeline,
            connect(old.url, service="tests") as at_old,
        ):
            before = Proof(at_old, database_url, proof.expected)
            await pipeline.migrate()
            await follow(new, old)
            services = {name: pipeline.start(name) for name in ("gateway", "persister", "analyzer")}
            async with Viewer(pipeline.port) as viewer:
                services["fetcher"] = pipeline.start("fetcher")
                await run_until(pipeline, before, "persister", proof.expected.ticks // 50)
                await cut_off(new)
                kept = await before.count("enriched")
                seen = last_seqs(viewer.book)
                assert await run_until(pipeline, before, "persister", kept + LOST)
                await viewer.until(lambda book: last_seqs(book) > seen, "prices that will be lost")
                await fail_over(address, old, new, is_killed=is_killed)
                await viewer.until(lambda book: "rewind" in book.losses, "that prices were lost")
                await hurry(pipeline, services["fetcher"])
                await run_to_the_end(pipeline, proof, viewer, errors_allowed=("redis lost entries that were stored",))
            assert services["persister"].said("redis lost entries that were stored")
        lost = await check_after_loss(proof)
        assert {stream for stream, _ in lost} == {"ticks", "enriched"}
        assert len(set(await proof.labels("enriched", 0))) == 2
        proof.check_prices(viewer.book.stocks.values())


async def fail_over(address: Address, old: EmbeddedRedis, new: EmbeddedRedis, *, is_killed: bool) -> None:
    """Promote the replica; the old primary dies and comes back as a replica, or is made one while clients hold on to it."""
    if is_killed:
        await asyncio.to_thread(old.kill)
    await promote(new)
    address.server = new
    if is_killed:
        await asyncio.to_thread(old.start)
    await follow(old, new)


async def test_a_client_leaves_a_primary_that_became_a_replica(servers: tuple[EmbeddedRedis, EmbeddedRedis]) -> None:
    old, new = servers
    async with Address(old).open() as address, connect(address.url, service="tests") as client:
        await load_library(client)
        await set_up(client)
        await follow(new, old)
        await fail_over(address, old, new, is_killed=False)
        with pytest.raises(TransientError, match="a replica now"):
            await log.load(client, 0)
        assert (await log.load(client, 0)).cursor == "0-0"
        assert (await client.info("replication"))["role"] == "master"


async def test_a_reader_does_not_stay_with_a_primary_that_was_cut_off(servers: tuple[EmbeddedRedis, EmbeddedRedis]) -> None:
    """It never writes, so nothing refuses it: it would wait for entries for ever."""
    old, new = servers
    async with Address(old).open() as address, connect(address.url, service="tests", block_seconds=1) as reader:
        async with connect(old.url, service="tests") as client:
            await load_library(client)
            await set_up(client)
        assert not (await log.read(reader, "ticks", 0, "0-0", count=1, block_ms=1)).entries
        await follow(new, old)
        await promote(new)
        address.server = new
        await cut_off(old)
        with pytest.raises(TransientError, match="a replica now"):
            await log.read(reader, "ticks", 0, "0-0", count=1, block_ms=1)
        await log.read(reader, "ticks", 0, "0-0", count=1, block_ms=1)
        assert (await reader.info("replication"))["role"] == "master"


@pytest.mark.long
async def test_a_fail_over_there_and_back_again_is_noticed_by_a_process_that_never_ended(
    servers: tuple[EmbeddedRedis, EmbeddedRedis],
) -> None:
    """Its run_id is that of the log, and yet it has lost what the other had not got."""
    first, second = servers
    async with connect(first.url, service="tests") as client:
        await load_library(client)
        partition = await set_up(client)
        await follow(second, first)
        await partition.append("1")
        assert await client.wait(1, 10_000) == 1
        await cut_off(second)
        await partition.append("2", "3")
        before = await log.head(client, 0)
        await promote(second)
        await follow(first, second)
        await promote(first)
        assert (await partition.append("4", first=2)).seq == 2
        after = await log.head(client, 0)
    ended = after.lineage[-1]
    assert (ended.incarnation, ended.end_on("ticks").seq) == (before.incarnation, 1)
    assert resolve("ticks", before.incarnation, 3, after) is Resolution.REWIND
