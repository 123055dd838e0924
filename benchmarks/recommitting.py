"""The limit that Redis alone sets: the very commits of a run, sent once more to the state that was there before, with no work between."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import hiredis
from redis.asyncio import Redis
from redis.connection import parse_url

from shared import streams

IN_FLIGHT = 2
"""Enough that Redis never waits for the sender."""


class Recorded(NamedTuple):
    """The keys but the ticks as they were dumped before a run, and the run's commits."""

    before: dict[bytes, bytes]
    commits: list[tuple[Any, ...]]


@contextmanager
def recording(redis: Redis) -> Iterator[list[tuple[Any, ...]]]:
    """Note every commit that goes through this client."""
    commits: list[tuple[Any, ...]] = []
    execute: Any = redis.execute_command

    async def note(*command: Any, **options: Any) -> Any:
        if command[0] == "FCALL" and command[1].startswith("commit"):
            commits.append(command)
        return await execute(*command, **options)

    redis.execute_command = note  # type: ignore[method-assign]  # replaced on purpose: every commit passes here, and nowhere else
    try:
        yield commits
    finally:
        redis.execute_command = execute  # type: ignore[method-assign]  # the method itself again, after the run


def remember(url: str) -> dict[bytes, bytes]:
    """Dump what a run changes."""
    with _connected(url) as connection:
        return {key: connection.ask("DUMP", key) for key in connection.changing_keys()}


def recommit(url: str, recorded: Recorded) -> float:
    """Put back what was there, then send the commits one after the other; seconds."""
    if not recorded.commits:
        raise RuntimeError("no commit was seen: does the analyzer still send them with execute_command?")
    with _connected(url) as connection:
        for key in connection.changing_keys():
            connection.ask("DEL", key)
        for key, dumped in recorded.before.items():
            connection.ask("RESTORE", key, "0", dumped)
        packed = [hiredis.pack_command(tuple(map(_plain, command))) for command in recorded.commits]
        start = time.perf_counter()
        for n, command in enumerate(packed):
            connection.send(command)
            if n >= IN_FLIGHT:
                connection.expect_ok()
        for _ in range(min(IN_FLIGHT, len(packed))):
            connection.expect_ok()
        return time.perf_counter() - start


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, bytes, int)) else str(value)


class _Connection:
    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._reader = hiredis.Reader()

    def ask(self, *command: str | bytes) -> Any:
        self.send(hiredis.pack_command(command))  # type: ignore[arg-type]  # a tuple of either is one of both
        return self.reply()

    def changing_keys(self) -> list[bytes]:
        """All but the ticks, which a run only reads."""
        return [key for key in self.ask("KEYS", "*") if key != streams.ticks(0).encode()]

    def send(self, command: bytes) -> None:
        self._socket.sendall(command)

    def reply(self) -> Any:
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(1 << 16))
        if isinstance(reply, Exception):
            raise reply
        return reply

    def expect_ok(self) -> None:
        if (reply := self.reply())[0] != b"OK":
            raise RuntimeError(f"a commit of the run was answered {reply} when it was sent once more")


@contextmanager
def _connected(url: str) -> Iterator[_Connection]:
    where = parse_url(url)
    with socket.create_connection((where["host"], where["port"])) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield _Connection(sock)
