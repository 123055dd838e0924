"""Connections to the single Redis, or to the primary of a key's slot; every command is sent once, and nothing is redirected in here.

Answers come as Redis sends them (RESP2), whatever the version of redis-py. What may be tried again and what may not is told apart here.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from random import sample
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from redis.asyncio import Connection, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    MovedError,
    NoPermissionError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

AWAY: tuple[type[Exception], ...] = (RedisError, OSError, TimeoutError)
"""What is waited out, unless it is one that `why_never` names."""

ANSWER_SECONDS = 5.0
"""No command here takes longer than a few milliseconds; this long without an answer is a dead connection."""
BLOCK_SECONDS = 2.0
"""How long a read waits for an entry at most."""
CONNECTIONS = 512

Address = tuple[str, int]


class CannotConsume(Exception):
    """What does not get better by waiting: the password, the rights, or the URL are wrong. The text says what to do."""


def why_never(error: Exception) -> str | None:
    """What must be changed by hand, if trying again is of no use."""
    if isinstance(error, AuthenticationError | AuthorizationError) or str(error).startswith("NOAUTH"):
        return "Redis refuses the user or the password of redis_url"
    if isinstance(error, NoPermissionError) or "has no permissions" in str(error) or "can't run" in str(error):
        return f"the user of redis_url lacks a right (ACL LOG names it): {error}"
    if "cluster support disabled" in str(error):
        return "the server of redis_url is no node of a cluster: leave redis_cluster away"
    return None


def text_of(error: Exception) -> str:
    """An error in a line of the log; of some the text alone is a number and an address."""
    return f"{type(error).__name__} {error}".rstrip()


class _HonestSender:
    """Sends so that a cancellation is not swallowed.

    Before Python 3.12 `asyncio.wait_for`, with which redis-py sends, swallows one that comes when the sending is just done: a read
    that waits would go on waiting, and whoever cancelled it with it.
    """

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        task = asyncio.current_task()
        asked_before = task.cancelling() if task else 0
        await super().send_packed_command(command, check_health)  # type: ignore[misc]  # of the connection it is mixed into
        if task and task.cancelling() > asked_before:
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]  # the answer would be taken for another's
            raise asyncio.CancelledError


class _PlainConnection(_HonestSender, Connection):
    pass


class _TlsConnection(_HonestSender, SSLConnection):
    pass


def _connect(url: str, answer_seconds: float) -> "Redis":
    client: Redis = Redis.from_url(
        url,
        protocol=2,
        decode_responses=True,
        # A stranger's entry may hold any bytes: it is told as invalid, not an exception in the parser.
        encoding_errors="backslashreplace",
        client_name="tickstream:consume",
        socket_timeout=answer_seconds,
        socket_connect_timeout=ANSWER_SECONDS,
        # A repetition in there would take a second batch and never show the first.
        retry=Retry(NoBackoff(), 0),
        max_connections=CONNECTIONS,
    )
    client.response_callbacks.clear()
    pool = client.connection_pool
    pool.connection_class = _TlsConnection if issubclass(pool.connection_class, SSLConnection) else _PlainConnection
    return client


class Server:
    """One Redis server: a client for commands, and one for reads that wait."""

    def __init__(self, url: str) -> None:
        self.commands = _connect(url, ANSWER_SECONDS)
        self.waiting = _connect(url, BLOCK_SECONDS + ANSWER_SECONDS)

    async def drop_idle(self) -> None:
        """Let go of connections that nobody uses: new ones may lead to another server of the same name."""
        for client in (self.commands, self.waiting):
            await client.connection_pool.disconnect(inuse_connections=False)

    async def aclose(self) -> None:
        """Close every connection."""
        for client in (self.commands, self.waiting):
            with suppress(*AWAY):
                await client.aclose()


class Single:
    """The one Redis."""

    def __init__(self, url: str) -> None:
        self._server = Server(url)

    async def at(self, key: str) -> Server:
        """The server that has a key."""
        return self._server

    async def look_again(self, error: Exception) -> None:
        """After an error: the next command may find another server. Raise `CannotConsume` if this is a cluster's node."""
        if isinstance(error, MovedError):
            raise CannotConsume("the server of redis_url is a node of a Redis Cluster: pass redis_cluster=True")
        await self._server.drop_idle()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._server.aclose()


class Cluster:
    """A Redis Cluster, found from one of its nodes; all are addressed with the credentials and the TLS of the URL."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._seed: Address = (self._url.hostname or "localhost", self._url.port or 6379)
        self._servers: dict[Address, Server] = {}
        self._ranges: list[tuple[int, int, Address]] = []
        self._asking = asyncio.Lock()

    async def at(self, key: str) -> Server:
        """The primary that has the slot of a key; raise one of `AWAY` if there is none."""
        if not self._ranges:
            async with self._asking:
                self._ranges = self._ranges or await self._ask_in_turn()
        slot = key_slot(key.encode())
        for first, last, address in self._ranges:
            if first <= slot <= last:
                return self._server(address)
        self._ranges = []
        raise RedisConnectionError(f"no node of the cluster serves slot {slot}")

    async def look_again(self, error: Exception) -> None:
        """After an error: ask anew who has which slot."""
        known, self._ranges = self._ranges, []
        for address in {address for _, _, address in known}:
            with suppress(*AWAY):
                await self._server(address).drop_idle()

    async def aclose(self) -> None:
        """Close every connection."""
        for server in self._servers.values():
            await server.aclose()

    def _server(self, address: Address) -> Server:
        if address not in self._servers:
            host, port = address
            userinfo, is_known, _ = self._url.netloc.rpartition("@")
            named = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            self._servers[address] = Server(urlunsplit(self._url._replace(netloc=f"{userinfo}{is_known}{named}")))
        return self._servers[address]

    async def _ask_in_turn(self) -> list[tuple[int, int, Address]]:
        """Ask the nodes in an order that changes: one that is cut off must not mislead for long, and the seed may be gone."""
        failure: Exception = RedisConnectionError("no node of the cluster knows of any slots")
        for address in [*sample(list(self._servers), len(self._servers)), self._seed]:
            try:
                async with asyncio.timeout(1):
                    rows = await self._server(address).commands.execute_command("CLUSTER", "SLOTS")
            except AWAY as error:
                failure = error
            else:
                if ranges := _ranges(rows, address):
                    return ranges
        raise failure


def _ranges(rows: Sequence[Any], asked: Address) -> list[tuple[int, int, Address]]:
    """CLUSTER SLOTS: rows of first slot, last slot, primary, replicas; a node that does not know its name is the one that was asked."""
    found = [(int(first), int(last), primary) for first, last, primary, *_ in rows]
    return [
        (first, last, (primary[0] if primary[0] not in (None, "", "?") else asked[0], int(primary[1]))) for first, last, primary in found
    ]


def servers_of(url: str, *, is_cluster: bool) -> Single | Cluster:
    """Connections for a URL; none is opened yet. Raise `ValueError`, which never shows the URL."""
    check_url(url)
    return Cluster(url) if is_cluster else Single(url)


def check_url(url: str) -> None:
    """Raise `ValueError` if it is none; its text shows nothing of it, since a password may stand in it."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_good = False
    if not is_good:
        raise ValueError("redis_url must be redis://[user:password@]host[:port] or rediss://…, with special characters percent-encoded")
