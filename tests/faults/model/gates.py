"""Clients of Redis and PostgreSQL that stop before each request until the scheduler lets them pass, and suffer what it decides."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Any, Protocol

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from shared.redis import client
from shared.redis.lease import Lease


class Fate(Enum):
    """What becomes of a request."""

    ANSWERED = auto()
    LATE = auto()
    """Executed; the answer is seen some steps later."""
    UNSENT = auto()
    """Never executed; the sender sees an error."""
    UNANSWERED = auto()
    """Executed; the sender sees an error."""
    TWICE = auto()
    """Executed twice; the sender sees the second answer."""
    STRAY = auto()
    """The sender sees an error; it is executed later, at the latest behind the sender's next request."""


@dataclass(eq=False)
class Gate:
    """A request that waits to be let through."""

    what: str
    passed: "asyncio.Future[None]"
    is_open: Callable[[], bool]


@dataclass(eq=False)
class Actor:
    """A process, or a part of one that can die alone."""

    name: str
    live: Callable[[], Awaitable[None]]
    task: "asyncio.Task[None] | None" = None
    gates: list[Gate] = field(default_factory=list)
    paused_until: int = 0
    strays: list[tuple[str, Callable[[], object]]] = field(default_factory=list)
    is_dead: bool = False

    def die(self) -> None:
        """Come to no request any more, neither the task itself nor those it has started."""
        self.is_dead = True
        for waiting in self.gates:
            waiting.passed.cancel()
        if self.task is not None:
            self.task.cancel()


current_actor: ContextVar[Actor] = ContextVar("current_actor")


def always() -> bool:
    """The condition of a gate that is nobody's to block."""
    return True


async def gate(what: str, is_open: Callable[[], bool] = always) -> None:
    """Wait until the scheduler lets this actor go on with `what`; it does so only while `is_open`."""
    actor = current_actor.get()
    if actor.is_dead:
        raise asyncio.CancelledError
    waiting = Gate(what, asyncio.get_running_loop().create_future(), is_open)
    actor.gates.append(waiting)
    try:
        await waiting.passed
    finally:
        actor.gates.remove(waiting)


async def wait_or_stop(stop: asyncio.Event, _seconds: float) -> bool:
    """In place of the real one: a wait takes as long as the scheduler likes."""
    await gate("wait")
    return stop.is_set()


async def idle(lease: Lease, _seconds: float) -> bool:
    """In place of the lease's own, in the same way; by the clock it would end at another step each time a seed is played."""
    lease.progress()
    return await wait_or_stop(lease.ended, _seconds)


class Umpire(Protocol):
    """Who decides what becomes of requests, and hears of them."""

    redis_lives: int
    """How often Redis was started."""
    locks: dict[str, Actor]
    """Stream to the actor whose open transaction has locked its cursor."""

    def fate_of(self, what: str) -> Fate:
        """Draw what becomes of a request."""

    def execute(self, name: str, run: Callable[[], Any]) -> Any:
        """Run a request against Redis, under the eyes of the oracle."""

    def working(self) -> "asyncio.Event":
        """An event to set when the work on a request of PostgreSQL, which begins now, has ended."""

    def hear_of(self, error: asyncpg.PostgresError) -> None:
        """PostgreSQL refused a request by itself."""


class GatedRedis:
    """Takes the place of the client of redis-py: every method is a request behind a gate."""

    def __init__(self, real: Any, umpire: Umpire) -> None:
        self._real = real
        self._umpire = umpire

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def request(*args: Any, **options: Any) -> Any:
            what = str(args[0]) if name == "fcall" else name
            return await self._send(what, lambda: getattr(self._real, name)(*args, **options))

        return request

    def pipeline(self, transaction: bool = True) -> "GatedPipeline":
        """Requests that others may come in between, unless it is a transaction."""
        return GatedPipeline(self._real, self._send, lambda: self._umpire.redis_lives)

    async def _send(self, what: str, run: Callable[[], Any]) -> Any:
        await gate(what)
        fate = self._umpire.fate_of(what)
        actor = current_actor.get()
        if fate is Fate.STRAY:
            actor.strays.append((what, run))
        if fate in (Fate.UNSENT, Fate.STRAY):
            raise RedisConnectionError(f"{what}: {fate.name}")
        answer = self._umpire.execute(what, run)
        while actor.strays:
            with suppress(ResponseError):  # nobody waits for its answer
                self._umpire.execute(*actor.strays.pop(0))
        if fate is Fate.TWICE:
            answer = self._umpire.execute(what, run)
        if fate is Fate.UNANSWERED:
            raise RedisConnectionError(f"{what}: {fate.name}")
        if fate is Fate.LATE:
            await gate(f"answer of {what}")
        return answer


class GatedPipeline:
    """Collects requests, sends them one after the other; all are answered by one life of the server, or there is an error."""

    def __init__(self, real: Any, send: Callable[[str, Callable[[], Any]], Awaitable[Any]], lives: Callable[[], int]) -> None:
        self._real = real
        self._send = send
        self._lives = lives
        self._requests: list[tuple[str, Callable[[], Any]]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        def collect(*args: Any, **options: Any) -> None:
            options.pop("block", None)  # a request that waits would stop the whole model
            self._requests.append((name, lambda: getattr(self._real, name)(*args, **options)))

        return collect

    def ask(self, *command: str | int) -> None:
        """Collect a command in its own words."""
        if "BLOCK" in command:  # as above
            place = command.index("BLOCK")
            command = command[:place] + command[place + 2 :]
        self._requests.append((str(command[0]).lower(), lambda: self._real.execute_command(*command)))

    async def execute(self) -> list[Any]:
        """Send them; others may come in between."""
        answers: list[Any] = []
        lives: set[int] = set()

        def run_in_this_life(run: Callable[[], Any]) -> Any:
            lives.add(self._lives())
            return run()

        for what, run in self._requests:
            answers.append(await self._send(what, partial(run_in_this_life, run)))
            if lives != {self._lives()}:
                raise RedisConnectionError("the connection did not outlive the server")
        return answers


async def exchange(redis: "GatedRedis | Redis", *commands: Sequence[str | int]) -> list[Any]:
    """In place of the client's own: a request after the other. Those of nobody's actor are not behind a gate."""
    if not isinstance(redis, GatedRedis):
        return await client.exchange(redis, *commands)
    asked = redis.pipeline(transaction=False)
    for command in commands:
        asked.ask(*command)
    return await asked.execute()


class GatedPool:
    """Takes the place of asyncpg's pool, over one connection of the actor's own."""

    def __init__(self, real: Any, umpire: Umpire) -> None:
        self._connection = GatedConnection(real, umpire)

    async def acquire(self) -> "GatedConnection":
        """The connection."""
        return self._connection

    async def release(self, _connection: "GatedConnection") -> None:
        """Nothing: there is one for all."""

    async def fetchrow(self, query: str, *args: Any) -> Any:
        """One row, in a transaction of its own."""
        return await self._connection.fetchrow(query, *args)


class GatedConnection:
    """Takes the place of a connection of asyncpg."""

    def __init__(self, real: Any, umpire: Umpire) -> None:
        self.real = real
        self.depth = 0
        self._umpire = umpire

    async def execute(self, query: str, *args: Any) -> str:
        """A statement on a cursor waits for the transaction that has it locked, as in PostgreSQL."""
        actor, locks = current_actor.get(), self._umpire.locks
        is_on_cursor = " cursors " in query
        status: str = await self._ask(
            "UPDATE" if "UPDATE" in query else "INSERT",
            lambda: self.real.execute(query, *args),
            (lambda: locks.get(args[0], actor) is actor) if is_on_cursor else always,
        )
        if is_on_cursor and self.depth:
            locks[args[0]] = actor
        return status

    async def fetchrow(self, query: str, *args: Any) -> Any:
        """One row or None."""
        return await self._ask("SELECT", lambda: self.real.fetchrow(query, *args))

    async def copy_to_table(self, table: str, **options: Any) -> Any:
        """COPY."""
        return await self._ask("COPY", lambda: self.real.copy_to_table(table, **options))

    def terminate(self) -> None:
        """Nothing: only the dead do it, and they come through no gate any more, which rolls back what they began."""

    def transaction(self) -> "GatedTransaction":
        """A transaction, or a savepoint within one."""
        return GatedTransaction(self)

    async def _ask(self, what: str, run: Callable[[], Awaitable[Any]], is_open: Callable[[], bool] = always) -> Any:
        await gate(what, is_open)
        fate = self._umpire.fate_of(what)
        answer = None if fate is Fate.UNSENT else await self.run(run)
        if fate is not Fate.ANSWERED:
            raise ConnectionResetError(f"{what}: {fate.name}")
        return answer

    async def run(self, run: Callable[[], Awaitable[Any]]) -> Any:
        """Await what PostgreSQL does at once; the scheduler waits for it."""
        done = self._umpire.working()
        try:
            return await run()
        except asyncpg.PostgresError as error:
            self._umpire.hear_of(error)
            raise
        finally:
            done.set()

    async def fate_of_commit(self) -> Fate:
        """Wait at the gate of the outermost COMMIT; a savepoint is released at once."""
        if self.depth:
            return Fate.ANSWERED
        await gate("COMMIT")
        return self._umpire.fate_of("COMMIT")

    def unlock(self) -> None:
        """The outermost transaction has ended."""
        for stream in [stream for stream, holder in self._umpire.locks.items() if holder is current_actor.get()]:
            del self._umpire.locks[stream]


class GatedTransaction:
    """A transaction whose COMMIT waits at a gate, and may be lost on the way there or back."""

    def __init__(self, connection: GatedConnection) -> None:
        self._connection = connection
        self._real = connection.real.transaction()

    async def __aenter__(self) -> None:
        await self._connection.run(self._real.start)
        self._connection.depth += 1

    async def __aexit__(self, kind: object, *_: object) -> None:
        self._connection.depth -= 1
        fate = Fate.UNSENT
        try:
            if kind is None:
                fate = await self._connection.fate_of_commit()
        finally:
            await self._connection.run(self._real.rollback if fate is Fate.UNSENT else self._real.commit)
            if not self._connection.depth:
                self._connection.unlock()
        if kind is None and fate is not Fate.ANSWERED:
            raise ConnectionResetError(f"COMMIT: {fate.name}")
