"""The pipeline on a real Redis Cluster: slots that move, primaries that die, and the client that follows them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.cluster import RedisCluster

from shared import streams
from tests.e2e.market_data import SPAN_SECONDS, outcome, recording
from tests.e2e.pipeline import Pipeline, Service
from tests.e2e.playing import run_to_the_end, run_until
from tests.e2e.proof import Proof
from tests.e2e.viewer import Viewer
from tests.faults.cluster.nodes import Nodes, ask, until
from tests.faults.loss import check_after_loss, hurry

PARTITIONS = 4
NOT_NOW = ("redis refuses the lease of a partition", "redis refuses the members of a service")
"""What a holder says of a key whose slot is on its way, or whose node is gone."""
RUN_SECONDS = 40.0
"""Of the replay until it is hurried: it must not be over before the fault comes."""


@pytest.fixture
async def proof(nodes: Nodes, database_url: str) -> AsyncIterator[Proof]:
    """What must have become of the market, looked at with redis-py's own client of clusters: it knows nothing of ours."""
    async with RedisCluster.from_url(nodes.url, decode_responses=True, protocol=3) as client:
        looking: Any = client
        yield Proof(looking, database_url, outcome(PARTITIONS, every=1))


@pytest.fixture
async def pipeline(nodes: Nodes, database_url: str, tmp_path: Path) -> AsyncIterator[Pipeline]:
    """The services on the cluster; the fetcher replays the market."""
    file = tmp_path / "market.csv"
    file.write_text(recording(every=1).text, encoding="ascii")
    variables = {"REDIS_CLUSTER": "1", "SOURCE": "replay", "REPLAY_FILE": str(file), "REPLAY_SPEED": str(SPAN_SECONDS / RUN_SECONDS)}
    async with Pipeline(nodes.url, database_url, tmp_path, PARTITIONS, **variables) as running:
        migration = running.run("migrate", "services.admin", "migrate")
        assert await migration.finish() == 0
        yield running


@asynccontextmanager
async def playing(pipeline: Pipeline) -> AsyncIterator[tuple[Viewer, dict[str, Service]]]:
    """One of each service at work, watched by a viewer; the fetcher is to be hurried."""
    services = {name: pipeline.start(name) for name in ("gateway", "persister", "analyzer")}
    async with Viewer(pipeline.port) as viewer:
        services["fetcher"] = pipeline.start("fetcher")
        yield viewer, services


async def check_everything(proof: Proof, viewer: Viewer, *, incarnations: int) -> None:
    """Nothing is lost, nothing doubled, and nothing was said to be."""
    await proof.check_all(incarnations=incarnations)
    proof.check_prices(viewer.book.stocks.values())
    await proof.check_alerts_seen(viewer.book)
    assert viewer.book.losses == []


async def where(nodes: Nodes) -> set[str]:
    """The primaries that have a partition."""
    return {(await nodes.primary_of(streams.log(p))).address for p in range(PARTITIONS)}


@pytest.mark.long
async def test_the_pipeline_on_a_cluster_is_exact(nodes: Nodes, pipeline: Pipeline, proof: Proof) -> None:
    async with playing(pipeline) as (viewer, services):
        await hurry(pipeline, services["fetcher"])
        await run_to_the_end(pipeline, proof, viewer)
    await check_everything(proof, viewer, incarnations=1)
    assert len(await where(nodes)) > 1, "the partitions must lie on several nodes"


async def test_slots_that_move_while_ticks_flow_lose_and_double_nothing(nodes: Nodes, pipeline: Pipeline, proof: Proof) -> None:
    moves = 0
    async with playing(pipeline) as (viewer, services):
        # New tickers come in all the time: real ones as they were listed, synthetic ones at their first line.
        for part in (0.02, 0.06):
            is_in_mid_run = await run_until(pipeline, proof, "analyzer", int(proof.expected.ticks * part))
            for key in (streams.CONFIG, *map(streams.log, range(PARTITIONS)), streams.MARKET):
                await nodes.move_slot_of(key)
            moves += 1
            assert is_in_mid_run or moves > 1
        await hurry(pipeline, services["fetcher"])
        await run_to_the_end(pipeline, proof, viewer, errors_allowed=NOT_NOW)
    await check_everything(proof, viewer, incarnations=1 + moves)


async def take_over(nodes: Nodes, key: str) -> None:
    """Kill the primary of a key, and wait until another node serves it."""
    victim = await nodes.primary_of(key)
    victim.kill()

    async def is_replaced() -> bool:
        return await nodes.owner_of(key) not in (victim, None)

    await until(is_replaced, "that the replica takes over")


async def is_replicated(nodes: Nodes) -> bool:
    """Whether every replica has what its primary has; nothing is written meanwhile."""
    primaries = await nodes.primaries()
    offsets = [int((await ask(node, "ROLE"))[1]) for node in primaries]
    replicas = [int((await ask(await nodes.replica_of(node), "ROLE"))[4]) for node in primaries]
    return offsets == replicas


@pytest.mark.long
async def test_a_killed_primary_whose_replica_had_everything_costs_only_time(nodes: Nodes, pipeline: Pipeline, proof: Proof) -> None:
    async with playing(pipeline) as (viewer, services):
        assert await run_until(pipeline, proof, "persister", proof.expected.ticks // 50)
        for service in services.values():
            service.pause()
        await until(lambda: is_replicated(nodes), "that replicas have everything")
        await take_over(nodes, streams.log(0))
        for service in services.values():
            service.go_on()
        # The old primary comes back as a replica, and is primary again after the next death.
        await nodes.start_what_was_killed()
        await hurry(pipeline, services["fetcher"])
        await run_to_the_end(pipeline, proof, viewer, errors_allowed=NOT_NOW)
    await check_everything(proof, viewer, incarnations=2)


@pytest.mark.long
async def test_a_primary_killed_under_load_loses_nothing_in_the_end_and_tells_what_it_lost(
    nodes: Nodes, pipeline: Pipeline, proof: Proof
) -> None:
    async with playing(pipeline) as (viewer, services):
        for part in (0.02, 0.06):
            await run_until(pipeline, proof, "persister", int(proof.expected.ticks * part))
            await take_over(nodes, streams.log(0))
            await nodes.start_what_was_killed()
        await hurry(pipeline, services["fetcher"])
        await run_to_the_end(pipeline, proof, viewer, errors_allowed=(*NOT_NOW, "redis lost entries that were stored"))
    await check_after_loss(proof)
    proof.check_prices(viewer.book.stocks.values())


COMMANDS = [
    ("services.analyzer",),
    *(pytest.param(words, marks=pytest.mark.long) for words in (("services.fetcher",), ("services.gateway",), ("services.api",))),
    ("services.admin", "migrate"),
]
"""The persister asks its database first."""
A_NODE = "REDIS_CLUSTER=(not set): the server of REDIS_URL is a node of a Redis Cluster; set REDIS_CLUSTER=1"


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_node_of_a_cluster_is_refused_where_redis_cluster_is_not_set(
    nodes: Nodes, database_url: str, tmp_path: Path, command: tuple[str, ...]
) -> None:
    async with Pipeline(nodes.url, database_url, tmp_path, PARTITIONS) as pipeline:
        service = pipeline.run("refused", *command)
        assert await service.finish() == 2
    assert service.text.splitlines()[-1] == A_NODE
    assert "Traceback" not in service.text


@pytest.mark.parametrize("command", [("services.analyzer",), pytest.param(("services.admin", "migrate"), marks=pytest.mark.long)])
async def test_a_server_that_is_no_node_is_refused_where_redis_cluster_is_set(
    redis_url: str, database_url: str, tmp_path: Path, command: tuple[str, ...]
) -> None:
    async with Pipeline(redis_url, database_url, tmp_path, PARTITIONS, REDIS_CLUSTER="1") as pipeline:
        service = pipeline.run("refused", *command)
        assert await service.finish() == 2
    assert service.text.splitlines()[-1].startswith("REDIS_CLUSTER=1: the server of REDIS_URL is not a node of a Redis Cluster;")
    assert "Traceback" not in service.text
