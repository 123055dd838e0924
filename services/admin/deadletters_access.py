"""What the commands on dead letters share: how they reach Redis, wait for it, and say how far they are."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.admin.arguments import WrongInput
from services.admin.interrupts import run_until_interrupted
from services.admin.settings import StatusSettings
from shared import streams
from shared.backoff import Backoff
from shared.errors import TransientError
from shared.logging import redact
from shared.processes import REFUSED
from shared.redis.client import TRY_AGAIN
from shared.redis.cluster import connect_to
from shared.redis.log import read_hash
from shared.runtime import wait_or_stop

SAY_SECONDS = 0.5
MOST_WAIT_SECONDS = 1.0

T = TypeVar("T")
Command = Callable[[Redis, int, asyncio.Event], Awaitable[int]]
"""Takes a client, PARTITIONS and the wish to stop; returns the exit code."""


class Stopped(Exception):
    """Somebody pressed Ctrl-C."""


def run_command(settings: StatusSettings, command: Command) -> int:
    """Run a command on the deployment; return its exit code, or 1 if Redis does not answer."""

    async def main(stop: asyncio.Event) -> int:
        try:
            async with connect_to(settings, service="deadletters") as redis:
                found = (await read_hash(redis, streams.CONFIG, ["partitions"]))[0]
                return await command(redis, int(found or settings.partitions), stop)
        except WrongInput as error:
            say(str(error))
            return REFUSED
        except (RedisError, OSError, TransientError) as error:
            say(f"Redis at {redact(settings.redis_url.get_secret_value())} does not answer: {redact(str(error)) or type(error).__name__}")
            return 1

    return run_until_interrupted(main)


def say(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr, flush=True)


class Progress:
    """Says on a terminal how far long work is; elsewhere nothing."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._is_shown = sys.stderr.isatty()
        self._said_at = time.monotonic()

    def show(self, done: int, total: int) -> None:
        """Say it, if it was not said a moment ago."""
        now = time.monotonic()
        if self._is_shown and now - self._said_at >= SAY_SECONDS:
            self._said_at = now
            print(f"\r\x1b[K{self._verb} {done} of {total} …", end="", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """A line in its place."""
        if self._is_shown:
            print("\r\x1b[K", end="", file=sys.stderr)
        say(text)


async def insist(attempt: Callable[[], Awaitable[T]], stop: asyncio.Event, progress: Progress) -> T:
    """Repeat what may be repeated until Redis answers, and say once why it has to wait; raise `Stopped` if that was asked for."""
    backoff = Backoff(most_seconds=MOST_WAIT_SECONDS)
    while not stop.is_set():
        try:
            return await attempt()
        except TRY_AGAIN as error:
            if backoff.failures == 0:
                progress.say(f"waiting, Ctrl-C ends it: {redact(str(error)) or type(error).__name__}")
            await wait_or_stop(stop, backoff.next_seconds())
    raise Stopped
