"""`tickstream tail`: the entries of a stream over all partitions, for a person or a program. Reads only."""

import asyncio
import sys
from collections.abc import Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.admin.entry_lines import head_line, json_line, text_line, ticker_of
from services.admin.following import BLOCK_SECONDS, Following, Outage, in_order
from services.admin.interrupts import run_until_interrupted
from services.admin.output import is_coloured, is_on_terminal, leave
from services.admin.settings import StatusSettings
from services.admin.tail_request import Request
from shared import streams
from shared.errors import ConfigurationError, TransientError
from shared.logging import redact
from shared.partitions import partition_of
from shared.redis.cluster import at, connect_to

FLUSH_ENTRIES = 500


class Printer:
    """Writes entries to standard output; sets `is_gone` when nobody reads there any more."""

    def __init__(self, request: Request, is_gone: asyncio.Event) -> None:
        self._request = request
        self._is_gone = is_gone
        self._is_coloured = is_coloured()
        self._lines: list[str] = []
        if is_on_terminal() and not request.as_json:
            self._lines.append(head_line(request.stream, is_coloured=self._is_coloured))

    def show(self, partition: int, entry_id: str, entry: list[str]) -> None:
        """Take an entry; it is seen at the latest after the next `flush`."""
        if self._request.ticker not in ("", ticker_of(entry)):
            return
        if self._request.as_json:
            self._lines.append(json_line(self._request.stream, partition, entry_id, entry))
        else:
            self._lines.append(text_line(self._request.stream, partition, entry_id, entry, is_coloured=self._is_coloured))
        if len(self._lines) >= FLUSH_ENTRIES:
            self.flush()

    def flush(self) -> None:
        """Write what was taken."""
        lines, self._lines = self._lines, []
        try:
            if lines and not self._is_gone.is_set():
                print("\n".join(lines), flush=True)
        except OSError:
            leave(self._is_gone)

    def say(self, text: str) -> None:
        """A line on standard error, after the entries before it."""
        self.flush()
        print(f"tail: {text}", file=sys.stderr, flush=True)


def run_tail(settings: StatusSettings, request: Request) -> int:
    """Show what was asked for until Ctrl-C; return 0, or 1 if Redis does not answer at the start."""
    return run_until_interrupted(lambda stop: tail(settings, request, stop))


async def tail(settings: StatusSettings, request: Request, stop: asyncio.Event) -> int:
    """As `run_tail`, until `stop` is set."""
    url = settings.redis_url.get_secret_value()
    printer = Printer(request, stop)
    async with connect_to(settings, service="tail", block_seconds=BLOCK_SECONDS) as redis:
        try:
            followings = await _open(redis, settings.partitions, request, printer)
        except ConfigurationError as error:
            print(error, file=sys.stderr)
            return 2
        except (RedisError, OSError, TransientError) as error:
            print(f"Redis at {redact(url)} does not answer: {redact(str(error)) or type(error).__name__}", file=sys.stderr)
            return 1
        following = asyncio.create_task(_follow(followings, printer))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((following, stopped), return_when=asyncio.FIRST_COMPLETED)
        for task in (following, stopped):
            task.cancel()
        await asyncio.wait((following, stopped))
        if not following.cancelled():
            following.result()
    printer.flush()
    return 0


async def _open(redis: Redis, default_partitions: int, request: Request, printer: Printer) -> Sequence[Following]:
    """Stand where the request begins, in every partition that it concerns."""
    async with at(redis, streams.CONFIG) as server:
        number = int(await server.hget(streams.CONFIG, "partitions") or default_partitions)
    partitions = [partition_of(request.ticker, number)] if request.ticker else range(number)
    outage = Outage(printer.say)
    followings = [Following(redis, request.stream, p, outage, printer.say) for p in partitions]
    for following in followings:
        await following.open(request.after)
    return followings


async def _follow(followings: Sequence[Following], printer: Printer) -> None:
    """First what is there, sorted over all partitions; then what comes, each partition by itself."""
    async for shown in in_order([following.history() for following in followings]):
        printer.show(*shown)
    printer.flush()
    async with asyncio.TaskGroup() as tasks:
        for following in followings:
            tasks.create_task(_follow_one(following, printer), name=f"partition {following.partition}")


async def _follow_one(following: Following, printer: Printer) -> None:
    while True:
        for entry_id, entry in await following.next_entries():
            printer.show(following.partition, entry_id, entry)
        printer.flush()
