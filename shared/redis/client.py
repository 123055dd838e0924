"""Redis clients whose failures we see: no hidden retry, no hidden reuse of a connection with an unread answer.

A retry inside the client would repeat a write whose answer was lost; our own code owns every retry, because it alone
knows whether a repetition is harmless.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from redis.asyncio import Connection, Redis, SSLConnection
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig

from shared.errors import TransientError

REDIS_AWAY: tuple[type[Exception], ...] = (RedisConnectionError, RedisTimeoutError, OSError)
"""Redis did not answer: whether it did what was asked is not known."""

TRY_AGAIN: tuple[type[Exception], ...] = (TransientError, *REDIS_AWAY)
"""What a loop that may repeat its step waits out with back-off."""

ANSWER_SECONDS = 5.0
"""No call of ours runs longer than a few milliseconds; this long without an answer is a dead connection."""

CONNECTIONS = 512
"""Enough for a reader and a writer of each of 64 partitions; the pool raises beyond it."""

DRIVER = DriverInfo()
"""What connections say of the library. By default each reads it from the installed package anew, which costs more than connecting."""

READ_BYTES = 256 * 1024
"""A batch of 1 000 ticks in one read of the socket, instead of in six."""


class _HonestSender:
    """Sends so that neither a cancellation nor a dead connection is taken for something else.

    Given a `socket_timeout`, redis-py sends in `asyncio.wait_for`. Before Python 3.12 that swallows a cancellation that comes when the
    sending is just done: the task would go on, and whoever cancelled it would wait for an end that does not come. And it makes
    a task for each request. So it is given none, and the time is kept here. uvloop raises a `RuntimeError` for a write to
    a connection that died a moment ago.
    """

    socket_timeout: float | None

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        """Send; raise one of `REDIS_AWAY` if the connection is dead or takes nothing."""
        seconds, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(seconds):
                await super().send_packed_command(command, check_health)  # type: ignore[misc]  # a mixin: the connection has it
        except RuntimeError as error:
            raise RedisConnectionError(str(error)) from error
        except TimeoutError as error:
            raise RedisTimeoutError("timeout writing to socket") from error
        finally:
            self.socket_timeout = seconds


class _PlainConnection(_HonestSender, Connection):
    pass


class _TlsConnection(_HonestSender, SSLConnection):
    pass


def connect(url: str, *, service: str, block_seconds: float = 0) -> Redis:
    """Return a client (`async with`) that shows in `CLIENT LIST` as `tickstream:<service>`.

    `block_seconds` is the longest BLOCK this client will use; a client for blocking reads is a client of its own.
    """
    client: Redis = Redis.from_url(
        url,
        protocol=3,
        decode_responses=True,
        # A stranger's entry may hold any bytes: it becomes a dead letter, not an exception in the parser.
        encoding_errors="backslashreplace",
        client_name=f"tickstream:{service}",
        socket_timeout=block_seconds + 2.0 if block_seconds else ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        socket_read_size=READ_BYTES,
        driver_info=DRIVER,
        retry=Retry(NoBackoff(), 0),
        max_connections=CONNECTIONS,
        # With the default the guard against an unread answer is off under RESP3 (a later GET returned another key's value).
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    # The callback would make a dict of every entry, which costs more than receiving it; see `shared.events.read_tick`.
    client.response_callbacks.pop("XREAD", None)
    pool = client.connection_pool
    pool.connection_class = _TlsConnection if issubclass(pool.connection_class, SSLConnection) else _PlainConnection
    return client


async def exchange(redis: Redis, *commands: Iterable[str | int]) -> list[Any]:
    """Send commands at once on one connection, and return their answers as they came; others may come in between.

    What a pipeline of redis-py does, for little more than half of its CPU (58 instead of 100 µs for three commands): whatever waits for a
    tick waits for this. Raise the first error that Redis answered, when all are read, or one of `REDIS_AWAY`.
    """
    pool = redis.connection_pool
    connection = await pool.get_connection()
    try:
        # Sending and reading close the connection when they are not brought to their end: no later call gets an answer to this one.
        await connection.send_packed_command(connection.pack_commands(commands))
        answers = [await _answer(connection) for _ in commands]
    finally:
        await pool.release(connection)
    for answer in answers:
        if isinstance(answer, ResponseError):
            raise answer
    return answers


async def _answer(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error
