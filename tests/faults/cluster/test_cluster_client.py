"""The client follows a cluster: what was refused was not stored, what is asked for again is found, and one map serves everybody."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from services.admin.embedded import find_free_port
from services.admin.migrate import load_library, migrate_redis
from shared import streams
from shared.errors import NotReady, TransientError
from shared.pipeline import GatewayReport
from shared.redis import cluster as cluster_module
from shared.redis import log
from shared.redis.client import REDIS_AWAY, TRY_AGAIN
from shared.redis.cluster import Cluster, at, each_primary, ping
from shared.redis.deployment import join
from shared.redis.gateways import leave, read_gateways, say
from shared.redis.log import call
from shared.redis.pipeline import number_of_partitions, read_members, read_partition
from tests.faults.cluster.nodes import Nodes, ask, until
from tests.integration.partition import PartitionUnderTest, set_up


@pytest.fixture
async def client(nodes: Nodes) -> AsyncIterator[Cluster]:
    """A client of the cluster."""
    async with Cluster(nodes.url, service="tests") as opened:
        yield opened


@pytest.fixture
async def partition(client: Cluster) -> PartitionUnderTest:
    """Partition 0 of a fresh deployment on the cluster."""
    await load_library(client)
    return await set_up(client)


async def test_what_operators_ask_is_read_from_every_node(partition: PartitionUnderTest, client: Cluster) -> None:
    await partition.append("1", "2", "3")
    await call(client, "attend", [streams.members("analyzer")], "me")
    first = await say(client, GatewayReport("a", 1, 0.5, (0,), False), None)
    await say(client, GatewayReport("a", 2, 0.5, (0,), False), first)
    state = await read_partition(client, 0)
    group = state.ticks.group("analyzer")
    assert group is not None
    assert (state.ticks.length, group.lag, state.holdings["analyzer"].owner) == (3, 3, "me")
    assert await number_of_partitions(client) == 1
    assert await read_members(client, "analyzer") == {"me": "1"}
    assert [heard.report.connections for heard in await read_gateways(client)] == [2]
    await leave(client, "a")
    assert await read_gateways(client) == []


async def test_a_commit_with_a_new_ticker_is_refused_whole_while_its_slot_is_on_its_way(
    nodes: Nodes, partition: PartitionUnderTest, client: Cluster
) -> None:
    """The list of a new ticker is at neither node; one that was not declared would be pushed again on each try."""
    await partition.append("1", "2", "3", ticker="AAPL")
    await partition.analyze()
    await partition.append("4", "5", ticker="AAPL")
    await partition.append("1", ticker="NEW")
    state, digest = await partition.digest()
    refused = 0
    async for is_over in nodes.moving(streams.log(0)):
        if is_over:
            break
        before = await nodes.contents(streams.log(0))
        with pytest.raises(TransientError):
            await partition.commit(state, digest)
        with pytest.raises(TransientError):
            await partition.append("6", ticker="NEWER")
        assert await nodes.contents(streams.log(0)) == before
        refused += 1
    assert refused > 3
    with pytest.raises(TransientError, match="has the slot no more"):
        await partition.commit(state, digest)
    # A new server is a new incarnation: the batch is read again, and nothing of it is there yet.
    assert (await partition.commit(state, digest)).answer is log.Answer.RESET
    assert (await partition.analyze()).answer is log.Answer.OK
    found = await nodes.contents(streams.log(0))
    assert found[streams.prices(0, "AAPL")] == ["3", "4", "5"]
    assert found[streams.prices(0, "NEW")] == ["1"]
    assert [fields["seq"] for _, fields in found[streams.enriched(0)]] == list("123456")


async def test_a_read_that_waits_is_ended_when_its_slot_goes(nodes: Nodes, partition: PartitionUnderTest) -> None:
    async with Cluster(nodes.url, service="tests", block_seconds=60) as reader:
        reading = asyncio.ensure_future(log.read(reader, "ticks", 0, "0-0", count=1, block_ms=60_000))
        await partition.append("1")
        assert len((await reading).entries) == 1
        waiting = asyncio.ensure_future(log.read(reader, "ticks", 0, (await reading).entries[0][0], count=1, block_ms=60_000))
        await until(lambda: is_blocked(nodes), "that the read waits")
        await nodes.move_slot_of(streams.log(0))
        with pytest.raises(TransientError, match="has the slot no more"):
            await waiting


async def is_blocked(nodes: Nodes) -> bool:
    """Whether a client waits at some primary."""
    return any([(await ask(node, "INFO", "clients"))["blocked_clients"] for node in await nodes.primaries()])


async def has(found: Sequence[object], count: int) -> bool:
    """Whether there are so many by now."""
    return len(found) >= count


async def test_of_many_that_were_sent_to_a_wrong_node_one_asks_for_the_map(
    nodes: Nodes, partition: PartitionUnderTest, client: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []
    waiting: list[object] = []
    ask_node, refresh = Cluster._ask, Cluster.refresh

    async def asked_when_all_wait(self: Cluster, address: tuple[str, int]) -> Any:
        asked.append(address)
        await until(lambda: has(waiting, 20), "that all were sent elsewhere")
        return await ask_node(self, address)

    async def counted(self: Cluster, *arguments: Any) -> Any:
        waiting.append(arguments)
        return await refresh(self, *arguments)

    monkeypatch.setattr(Cluster, "_ask", asked_when_all_wait)
    monkeypatch.setattr(Cluster, "refresh", counted)
    monkeypatch.setattr(cluster_module, "NODE_SECONDS", 30.0)
    monkeypatch.setattr(cluster_module, "REFRESH_SECONDS", 30.0)
    target = await nodes.move_slot_of(streams.log(0))
    answers = await asyncio.gather(*(log.head(client, 0) for _ in range(20)), return_exceptions=True)
    assert all(isinstance(answer, TransientError) for answer in answers)
    # The node that the others were pointed to knows best.
    assert asked == [("127.0.0.1", target.port)]
    await log.head(client, 0)


async def test_the_seed_may_die_once_the_cluster_is_known(nodes: Nodes, partition: PartitionUnderTest, client: Cluster) -> None:
    seed = nodes.nodes[0]
    client_before = await client.known()
    seed.kill()

    async def is_found_again() -> bool:
        try:
            await ping(client)
            await log.head(client, 0)
        except TRY_AGAIN:
            return False
        return True

    await until(is_found_again, "that all slots are served, and found")
    assert ("127.0.0.1", seed.port) in client_before.primaries or ("127.0.0.1", seed.port) in client_before.nodes


async def test_a_cluster_of_which_no_node_answers_is_away() -> None:
    async with Cluster(f"redis://me:hunter22@127.0.0.1:{find_free_port()}", service="tests") as client:
        with pytest.raises(REDIS_AWAY, match="no node of the cluster tells its slots") as caught:
            await log.head(client, 0)
        assert "hunter22" not in f"{caught.value}{client!r}{client.server(('127.0.0.1', 1))!r}"


async def test_every_node_is_addressed_as_the_seed_is(nodes: Nodes) -> None:
    async with Cluster("rediss://me:hunter22@seed.example:7000/0?ssl_cert_reqs=none", service="tests") as client:
        for address in (("10.0.0.1", 7001), ("::1", 7002)):
            options = client.server(address).connection_pool.connection_kwargs
            assert (options["host"], options["port"], options["username"], options["password"]) == (*address, "me", "hunter22")
            assert options["ssl_cert_reqs"] == "none"


async def test_the_library_is_loaded_into_every_primary_and_an_empty_one(nodes: Nodes, client: Cluster) -> None:
    for node in await nodes.primaries():
        await ask(node, "FUNCTION", "FLUSH")
    with pytest.raises(NotReady, match=r"configure_1 is not loaded in 127.0.0.1:\d+; run `tickstream migrate`"):
        await join(client, 4, 5)
    await migrate_redis(client, 4, 5)
    for node in await nodes.primaries():
        assert await ask(node, "FUNCTION", "LIST", "LIBRARYNAME", log.LIBRARY)
    assert not await load_library(client)
    async with nodes.another() as empty:
        assert await load_library(client)
        assert await ask(empty, "FUNCTION", "LIST", "LIBRARYNAME", log.LIBRARY)


async def test_a_primary_that_has_not_got_the_library_is_named(nodes: Nodes, partition: PartitionUnderTest) -> None:
    owner = await nodes.primary_of(streams.log(0))
    await ask(owner, "FUNCTION", "FLUSH")
    with pytest.raises(NotReady, match=rf"load_1 is not loaded in {owner.address}; run `tickstream migrate`"):
        await log.load(partition.redis, 0)


async def test_a_command_without_a_key_named_is_refused(client: Cluster) -> None:
    with pytest.raises(TypeError, match="name the key first"):
        await client.get("config")
    with pytest.raises(TypeError, match="name the key first"):
        client.pipeline()


async def test_a_node_that_hangs_does_not_hide_the_others(
    nodes: Nodes, partition: PartitionUnderTest, client: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "NODE_SECONDS", 0.2)
    known = await client.known()
    hanging = asyncio.Event()

    async def answer_never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hanging.wait()
        writer.close()

    async with await asyncio.start_server(answer_never, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        assert await client.refresh(known, first=("127.0.0.1", port)) is not known
        hanging.set()


async def test_both_kinds_of_client_are_asked_the_same_way(nodes: Nodes, client: Cluster, redis: Redis) -> None:
    async with each_primary(client) as of_cluster, each_primary(redis) as single:
        assert (len(of_cluster), list(single)) == (3, ["Redis"])
    async with at(redis, "any") as server:
        assert server is redis
