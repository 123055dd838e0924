"""A Redis Cluster on loopback: three primaries with a replica each, whose slots can be moved and whose nodes can be killed.

Formed by commands alone, since the wheel brings no redis-cli. What a test did to it stays: `heal` makes it whole and empty again,
whoever is primary of what by then.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis import Redis
from redis.crc import key_slot

from services.admin.embedded import EmbeddedRedis, find_free_port
from tests.servers import search_path

PRIMARIES = 3
SLOTS = 16384
NODE_TIMEOUT_MS = 1000
"""After this long without an answer a primary counts as failed, and its replica takes over."""
KEYS_PER_STEP = 2
"""Few, so that many calls come while a slot is on its way."""
PATIENCE_SECONDS = 30.0


class ClusterNode(EmbeddedRedis):
    """One server of the cluster."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir, find_free_port(), appendonly=False, search_path=search_path())
        self.bus_port = find_free_port()
        self.operator = Redis(port=self.port, decode_responses=True, protocol=3, client_name="tests")
        """Of no event loop, so that it serves all tests of a session."""

    def _options(self, directory: Path) -> Iterator[str]:
        yield from super()._options(directory)
        options = {
            "cluster-enabled": "yes",
            "cluster-port": str(self.bus_port),
            "cluster-node-timeout": str(NODE_TIMEOUT_MS),
            "repl-diskless-sync-delay": "0",
            # A replica takes over however long it has not heard of its primary: tests stop and start both.
            "cluster-replica-validity-factor": "0",
            "cluster-allow-replica-migration": "no",
        }
        for option, value in options.items():
            yield from (f"--{option}", value)

    @property
    def address(self) -> str:
        """Host and port, as the cluster names it."""
        return f"127.0.0.1:{self.port}"


class Nodes:
    """The servers of a cluster, and what an operator does to them."""

    def __init__(self, nodes: Sequence[ClusterNode]) -> None:
        self.nodes = nodes
        self._on_its_way: int | None = None

    @property
    def url(self) -> str:
        """Of the seed: the first node that runs."""
        return next(node.url for node in self.nodes if node.is_running)

    async def form(self) -> None:
        """Join the nodes, which are empty and know of no other."""
        first, *others = self.nodes
        share = -(-SLOTS // PRIMARIES)
        for number, node in enumerate(self.nodes):
            # Two nodes of one epoch would first have to quarrel.
            await ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < PRIMARIES:
                await ask(node, "CLUSTER", "ADDSLOTSRANGE", number * share, min(SLOTS, (number + 1) * share) - 1)
        for node in others:
            await ask(first, "CLUSTER", "MEET", "127.0.0.1", node.port, node.bus_port)
        await until(lambda: self._all_know(len(self.nodes)), "that every node knows every other")
        for primary, replica in zip(self.nodes[:PRIMARIES], self.nodes[PRIMARIES:], strict=True):
            await ask(replica, "CLUSTER", "REPLICATE", await ask(primary, "CLUSTER", "MYID"))
        await until(self.is_whole, "that the cluster is whole")

    async def _all_know(self, count: int) -> bool:
        views = [await shards(node) for node in self.nodes]
        return all(sum(len(shard["nodes"]) for shard in view) == count for view in views)

    async def is_whole(self) -> bool:
        """Whether every node runs, and all agree on primaries whose replicas have all they have."""
        states = [dict(line.split(":", 1) for line in str(await ask(node, "CLUSTER", "INFO")).split("\r\n") if line) for node in self.nodes]
        if not all(state["cluster_state"] == "ok" and state["cluster_known_nodes"] == str(len(self.nodes)) for state in states):
            return False
        views = {tuple(sorted((await self.owners(node)).items())) for node in self.nodes}
        roles = [await ask(node, "ROLE") for node in self.nodes]
        linked = [role for role in roles if role[0] == "slave" and role[3] == "connected"]
        return len(views) == 1 and len(linked) == len(self.nodes) - PRIMARIES

    async def owners(self, node: ClusterNode) -> dict[tuple[int, int], int]:
        """Range of slots to the port of its primary, as a node sees it."""
        rows = await ask(node, "CLUSTER", "SLOTS")
        return {(int(row[0]), int(row[1])): int(row[2][1]) for row in rows}

    @asynccontextmanager
    async def another(self) -> AsyncIterator[ClusterNode]:
        """A primary more, which has no slots, for the time of the block."""
        with TemporaryDirectory() as folder, run_nodes(Path(folder) / "more", 1) as (more,):
            await ask(more, "CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port, self.nodes[0].bus_port)
            await until(lambda: self._all_know(len(self.nodes) + 1), "that every node knows the new one")
            yield more
            name = await ask(more, "CLUSTER", "MYID")
            await asyncio.to_thread(more.stop)
            for node in self.nodes:
                await ask(node, "CLUSTER", "FORGET", name)

    async def heal(self) -> None:
        """Start what was killed, wait until all is well, and delete everything; the function library stays."""
        await self.start_what_was_killed()
        for node in self.nodes:
            if (await ask(node, "ROLE"))[0] == "master":
                if self._on_its_way is not None:
                    await ask(node, "CLUSTER", "SETSLOT", self._on_its_way, "STABLE")
                await ask(node, "FLUSHALL")
        self._on_its_way = None

    async def start_what_was_killed(self) -> None:
        """Start it, and wait until all is well."""
        for node in self.nodes:
            if not node.is_running:
                await asyncio.to_thread(node.start)
        await until(self.is_whole, "that the cluster is whole")

    async def primary_of(self, key: str) -> ClusterNode:
        """The node that has the slot of a key."""
        found = await self.owner_of(key)
        assert found is not None, f"nobody has the slot of {key}"
        return found

    async def owner_of(self, key: str) -> ClusterNode | None:
        """The same; None while a primary counts as failed and no replica has taken over."""
        slot = key_slot(key.encode())
        witness = next(node for node in self.nodes if node.is_running)
        for (first, last), port in (await self.owners(witness)).items():
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == port)
        return None

    async def primaries(self) -> list[ClusterNode]:
        """The nodes that have slots."""
        witness = next(node for node in self.nodes if node.is_running)
        ports = set((await self.owners(witness)).values())
        return [node for node in self.nodes if node.port in ports]

    async def replica_of(self, primary: ClusterNode) -> ClusterNode:
        """A node that follows that primary."""
        for node in self.nodes:
            if node.is_running and (role := await ask(node, "ROLE"))[0] == "slave" and role[2] == primary.port:
                return node
        raise AssertionError(f"{primary.address} has no replica")

    async def move_slot_of(self, key: str) -> ClusterNode:
        """Move the slot of a key to the next primary while clients go on. Return the new owner."""
        async for _ in self.moving(key):
            await asyncio.sleep(0.02)
        return await self.primary_of(key)

    async def moving(self, key: str) -> AsyncIterator[bool]:
        """The same step by step, as redis-cli does it, a few keys at a time; yields after each step whether it was the last."""
        slot, source = key_slot(key.encode()), await self.primary_of(key)
        everyone = await self.primaries()
        target = everyone[(everyone.index(source) + 1) % len(everyone)]
        source_id, target_id = str(await ask(source, "CLUSTER", "MYID")), str(await ask(target, "CLUSTER", "MYID"))
        self._on_its_way = slot
        await ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        await ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        while keys := await ask(source, "CLUSTER", "GETKEYSINSLOT", slot, KEYS_PER_STEP):
            await ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            yield False
        for node in (target, source, *everyone):
            await ask(node, "CLUSTER", "SETSLOT", slot, "NODE", target_id)
        self._on_its_way = None
        yield True

    async def contents(self, key: str) -> dict[str, Any]:
        """Every key of that key's slot and what is in it, wherever it is; no key may be at two nodes."""
        found: dict[str, Any] = {}
        for node in await self.primaries():
            for name in await ask(node, "CLUSTER", "GETKEYSINSLOT", key_slot(key.encode()), 1000):
                assert name not in found, f"{name} is at two nodes"
                found[name] = await asyncio.to_thread(content, node, name)
        return found


READ = {"stream": ("XRANGE", "-", "+"), "list": ("LRANGE", "0", "-1"), "hash": ("HGETALL",)}


def content(node: ClusterNode, key: str) -> Any:
    """What is in a key, also while its slot is still on its way to this node."""

    def asking(*command: str) -> Any:
        with node.operator.pipeline(transaction=False) as pipeline:
            return pipeline.execute_command("ASKING").execute_command(*command).execute()[1]

    command, *bounds = READ[asking("TYPE", key)]
    return asking(command, key, *bounds)


async def ask(node: ClusterNode, *command: Any) -> Any:
    """Send one command to one node."""
    return await asyncio.to_thread(node.operator.execute_command, *command)


async def shards(node: ClusterNode) -> list[dict[str, Any]]:
    """CLUSTER SHARDS as a node sees it."""
    found: list[dict[str, Any]] = await ask(node, "CLUSTER", "SHARDS")
    return found


async def until(condition: Any, what: str) -> None:
    """Wait for what only the nodes can tell."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not within {PATIENCE_SECONDS:g} s: {what}") from None


@contextmanager
def run_nodes(data_dir: Path, count: int) -> Iterator[list[ClusterNode]]:
    """Start so many nodes that know nothing of each other; whatever happens, none is left behind."""
    nodes = [ClusterNode(data_dir / str(number)) for number in range(count)]
    with ExitStack() as stack, ThreadPoolExecutor(count) as pool:
        for node in nodes:
            stack.callback(node.stop)
            stack.callback(node.operator.close)
        list(pool.map(ClusterNode.start, nodes))
        yield nodes
    shutil.rmtree(data_dir)


@contextmanager
def run_cluster(data_dir: Path) -> Iterator[Nodes]:
    """A cluster that is whole and empty."""
    with run_nodes(data_dir, 2 * PRIMARIES) as started:
        nodes = Nodes(started)
        asyncio.run(nodes.form())
        yield nodes
