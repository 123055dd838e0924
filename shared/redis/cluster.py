"""Which server has a key: the single Redis, or the primary of the key's slot; every call goes through `at`, and is sent once.

A partition is one slot, hence on one server at a time. Nothing is redirected or repeated in here: what a moved slot or a
fail-over refused was not stored, so it is a `TransientError`, and the map of slots is asked for anew before the next try.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from random import sample
from typing import Any, NoReturn, cast
from urllib.parse import urlsplit, urlunsplit

import structlog
from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, ReadOnlyError, ResponseError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.errors import ConfigurationError, NotReady, Problem, TransientError
from shared.redis.client import REDIS_AWAY, connect
from shared.redis.slots import Address, SlotMap, address_of, name_of, read_slots
from shared.settings import Settings

NODE_SECONDS = 1.0
"""A node that takes longer for the map of slots is passed over."""
REFRESH_SECONDS = 4.0
"""All nodes together: below the time that a call may take."""

REFUSALS: tuple[type[Exception], ...] = (*REDIS_AWAY, ResponseError, ValueError)
"""Of a node that cannot tell."""

log = structlog.get_logger(__name__)


def name_of_server(redis: Redis, server: Redis) -> str:
    """What to call the server that `at` gave, in a text for operators."""
    options = server.connection_pool.connection_kwargs
    return name_of((options["host"], options["port"])) if isinstance(redis, Cluster) else "Redis"


class Cluster(Redis):
    """A Redis Cluster: it is handed on like a `Redis`, and `at` gives the server for a key.

    A command without `at` would go to whichever node: it is refused. Every node is addressed with the credentials and the TLS of
    the seed's URL. `async with` closes all connections.
    """

    def __init__(self, url: str, *, service: str, block_seconds: float = 0) -> None:
        super().__init__()  # of its own it connects to nothing
        self._url = urlsplit(url)
        self._seed = (self._url.hostname or "localhost", self._url.port or 6379)
        self._service = service
        self._block_seconds = block_seconds
        self._clients: dict[Address, Redis] = {}
        self._map: SlotMap | None = None
        self._asking: asyncio.Task[SlotMap] | None = None

    def __repr__(self) -> str:
        return f"<Cluster of {name_of(self._seed)}>"

    async def execute_command(self, *args: Any, **options: Any) -> NoReturn:
        """Refuse: no key was named."""
        raise TypeError(f"{args[0]} on a cluster: name the key first, with shared.redis.cluster.at")

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> NoReturn:
        """Refuse: no key was named."""
        raise TypeError("a pipeline on a cluster: name the key first, with shared.redis.cluster.at")

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close every connection."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})
        await asyncio.gather(*(client.aclose() for client in self._clients.values()))

    def server(self, address: Address) -> Redis:
        """The client of a node; connections are made when they are needed."""
        if address not in self._clients:
            userinfo, is_known, _ = self._url.netloc.rpartition("@")
            url = urlunsplit(self._url._replace(netloc=f"{userinfo}{is_known}{name_of(address)}"))
            self._clients[address] = connect(url, service=self._service, block_seconds=self._block_seconds)
        return self._clients[address]

    @property
    def port_field(self) -> str:
        """What CLUSTER SHARDS calls the port that we use."""
        return "tls-port" if self._url.scheme == "rediss" else "port"

    async def known(self) -> SlotMap:
        """The map of slots as it was told last."""
        return self._map or await self.refresh(None)

    async def refresh(self, outdated: SlotMap | None, first: Address | None = None) -> SlotMap:
        """Ask for the map of slots, `first` before all others, unless somebody did since `outdated`; callers share one answer.

        Raise one of `REDIS_AWAY` if no node answers, `ConfigurationError` if the seed is no node of a cluster.
        """
        if self._map is not outdated and self._map is not None:
            return self._map
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_in_turn(first), name="slots")
            self._asking.add_done_callback(self._asked)
        return await asyncio.shield(self._asking)

    def _asked(self, asking: "asyncio.Task[SlotMap]") -> None:
        self._asking = None
        if not asking.cancelled():
            asking.exception()  # looked at here: whoever waited for it may be gone

    async def _ask_in_turn(self, first: Address | None) -> SlotMap:
        reason = "none was asked"
        with suppress(TimeoutError):
            async with asyncio.timeout(REFRESH_SECONDS):
                for address in self._in_turn(first):
                    try:
                        found = await self._ask(address)
                    except REFUSALS as error:
                        reason = f"{name_of(address)}: {str(error) or type(error).__name__}"
                    else:
                        return await self._adopt(found)
        raise RedisConnectionError(f"no node of the cluster tells its slots ({reason})")

    def _in_turn(self, first: Address | None) -> Iterator[Address]:
        """In an order that changes, so that one node that is cut off does not mislead for long; the seed may be gone."""
        known = self._map.nodes if self._map else ()
        yield from dict.fromkeys([*([first] if first else []), *sample(known, len(known)), self._seed])

    async def _ask(self, address: Address) -> SlotMap:
        try:
            async with asyncio.timeout(NODE_SECONDS):
                reply = await self.server(address).execute_command("CLUSTER", "SLOTS")
        except ResponseError as error:
            if self._map is None and "cluster support disabled" in str(error):
                raise _no_cluster() from None
            raise
        found = read_slots(reply, address)
        if not found.nodes:
            raise ValueError("knows of no slots")
        return found

    async def _adopt(self, found: SlotMap) -> SlotMap:
        before, self._map = self._map, found
        if before and before.primaries != found.primaries:
            log.info("the cluster changed", primaries=[name_of(address) for address in found.primaries])
        for address in set(self._clients) - set(found.primaries):
            # A former primary answers no call of ours any more. What is in use ends by itself.
            await self._clients[address].connection_pool.disconnect(inuse_connections=False)
        return found


def connect_to(settings: Settings, *, service: str, block_seconds: float = 0) -> Redis:
    """A client (`async with`) of the Redis or the cluster that the environment names."""
    url = settings.redis_url.get_secret_value()
    kind = Cluster if settings.redis_cluster else connect
    return kind(url, service=service, block_seconds=block_seconds)


@asynccontextmanager
async def at(redis: Redis, key: str) -> AsyncIterator[Redis]:
    """The server that has a key, for one call or one pipeline.

    Raise `TransientError` if it refused because the slot is elsewhere or on its way, or because it is no primary any more:
    nothing was stored. Raise `ConfigurationError` if it is a cluster's node, and REDIS_CLUSTER does not say so.
    """
    if not isinstance(redis, Cluster):
        async with _single(redis):
            yield redis
        return
    slots = await redis.known()
    owner = slots.owners[key_slot(key.encode())]
    if owner is None:
        await redis.refresh(slots)
        raise TransientError(f"no node of the cluster serves the slot of {key}")
    async with _node(redis, slots, owner):
        yield redis.server(owner)


@asynccontextmanager
async def _single(redis: Redis) -> AsyncIterator[None]:
    try:
        yield
    except ReadOnlyError as error:
        await _drop(redis)
        raise NotReady("Redis is a replica now") from error
    except MovedError:
        raise _a_cluster() from None


@asynccontextmanager
async def _node(cluster: Cluster, slots: SlotMap, address: Address) -> AsyncIterator[None]:
    """Translate what a node of the cluster answers to a call that belongs elsewhere."""
    where = name_of(address)
    try:
        yield
    except MovedError as error:
        await _look_again(cluster, slots, address_of(error.host, error.port, address))
        raise TransientError(f"{where} has the slot no more") from error
    except (AskError, TryAgainError) as error:
        raise TransientError(f"a slot of {where} is on its way") from error
    except ReadOnlyError as error:
        await _drop(cluster.server(address))
        await _look_again(cluster, slots)
        raise TransientError(f"{where} is a replica now") from error
    except ClusterDownError as error:
        await _look_again(cluster, slots)
        raise TransientError(f"{where}: {error}") from error
    except REDIS_AWAY:
        await _look_again(cluster, slots)
        raise


async def _look_again(cluster: Cluster, outdated: SlotMap, first: Address | None = None) -> None:
    with suppress(*REDIS_AWAY):
        await cluster.refresh(outdated, first)


async def check_role(redis: Redis, role: Sequence[object]) -> None:
    """Raise `NotReady` if the answer to ROLE says that a single server is a replica, and let go of it.

    It refuses only what writes: a client that reads would stay with a former primary, and wait there for what never comes.
    """
    if role[0] != "master":
        await _drop(redis)
        raise NotReady("Redis is a replica now")


async def ping(redis: Redis) -> None:
    """Ask every server that has keys whether it is there, and a primary. Raises as `at` does, and one of `REDIS_AWAY`."""
    async with each_primary(redis) as servers:
        for server in servers.values():
            pipeline = server.pipeline(transaction=False)
            pipeline.ping()  # ROLE alone is answered by one that still loads its data, too
            pipeline.role()
            _, role = await pipeline.execute()
            await check_role(server, role)


async def _drop(server: Redis) -> None:
    """Let go of connections to what is no primary any more: new ones may lead to another server of the same name."""
    pool = server.connection_pool
    await pool.update_active_connections_for_reconnect()
    await pool.disconnect(inuse_connections=False)


@asynccontextmanager
async def each_primary(redis: Redis) -> AsyncIterator[dict[str, Redis]]:
    """Every server that has keys, by what to call it. Raises as `at` does."""
    if not isinstance(redis, Cluster):
        async with _single(redis):
            yield {"Redis": redis}
        return
    slots = await redis.known()
    try:
        yield {name_of(address): redis.server(address) for address in slots.primaries}
    except ReadOnlyError as error:
        await _look_again(redis, slots)
        raise TransientError(str(error)) from error
    except REDIS_AWAY:
        await _look_again(redis, slots)
        raise


async def empty_primaries(redis: Redis) -> dict[str, Redis]:
    """The primaries of a cluster that have no slots yet, such as a node that was just added."""
    if not isinstance(redis, Cluster):
        return {}
    slots = await redis.known()
    asked = slots.primaries[0]
    reply = await redis.server(asked).execute_command("CLUSTER", "SHARDS")
    nodes = [node for shard in cast(list[dict[str, Any]], reply) for node in shard["nodes"]]
    alive = [node for node in nodes if node["role"] == "master" and node["health"] == "online"]
    found = [address_of(node["endpoint"], node[redis.port_field], asked) for node in alive]
    return {name_of(address): redis.server(address) for address in found if address not in slots.nodes}


async def check_mode(redis: Redis) -> None:
    """Raise `ConfigurationError` if REDIS_CLUSTER is not set and the server is a node of a cluster."""
    if isinstance(redis, Cluster):
        await redis.known()
    elif (await redis.info("cluster")).get("cluster_enabled"):
        raise _a_cluster()


def _a_cluster() -> ConfigurationError:
    return ConfigurationError(
        (Problem("REDIS_CLUSTER", "(not set)", "the server of REDIS_URL is a node of a Redis Cluster; set REDIS_CLUSTER=1"),)
    )


def _no_cluster() -> ConfigurationError:
    allowed = "the server of REDIS_URL is not a node of a Redis Cluster; leave REDIS_CLUSTER away, or name a node"
    return ConfigurationError((Problem("REDIS_CLUSTER", "1", allowed),))
