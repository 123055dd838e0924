"""Moments by name at which FAULT makes this process die, hang, fail, come late or stop: between a write and what depends on it.

Each is declared here, once, so that tests can walk over all of them. FAULT is for tests alone: unless it is set, reaching a
point costs one comparison and gives up no turn of the event loop.
"""

import asyncio
import os
import re
import signal
from collections.abc import Coroutine
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple, TypeVar

import structlog

log = structlog.get_logger(__name__)
T = TypeVar("T")

VARIABLE = "FAULT"
TURNS_TO_SEND = 10
"""Of the event loop: more than a client needs to put a request on the wire, far fewer than an answer takes."""


class CrashPoint(StrEnum):
    """Where: `<who>.<what has just happened, or is about to>`."""

    LEASE_ACQUIRED = "lease.acquired"
    """Ours in Redis; its worker has not begun."""
    LEASE_BEFORE_RELEASE = "lease.before_release"
    """Its worker has ended; still ours in Redis."""

    FETCHER_NUMBERS_READ = "fetcher.numbers_read"
    """How far a replay is stored is known; nothing was read from the file."""
    FETCHER_BATCH_FROZEN = "fetcher.batch_frozen"
    """Its ticks have their numbers; nothing was sent."""
    FETCHER_APPEND_SENT = "fetcher.append_sent"
    """On the wire, the answer not taken."""
    FETCHER_APPEND_ANSWERED = "fetcher.append_answered"
    """The answer is known; the next number is not moved."""

    ANALYZER_LOADED = "analyzer.loaded"
    """Windows, sides and cursor are known; nothing was read."""
    ANALYZER_BATCH_READ = "analyzer.batch_read"
    """A batch was read; it is not judged."""
    ANALYZER_BEFORE_COMMIT = "analyzer.before_commit"
    """Judged; nothing was sent."""
    ANALYZER_COMMIT_SENT = "analyzer.commit_sent"
    """On the wire, the answer not taken."""
    ANALYZER_COMMIT_ANSWERED = "analyzer.commit_answered"
    """The answer is known; nothing was made of it."""
    ANALYZER_BEFORE_TRIM = "analyzer.before_trim"
    """What every reader has behind it is still there."""

    PERSISTER_POSITION_READ = "persister.position_read"
    """The cursor of PostgreSQL and the head of the partition are known; they were not compared."""
    PERSISTER_BATCH_READ = "persister.batch_read"
    """A batch was read; PostgreSQL knows nothing of it."""
    PERSISTER_CURSOR_MOVED = "persister.cursor_moved"
    """In the transaction; no row is copied."""
    PERSISTER_ROWS_COPIED = "persister.rows_copied"
    """In the transaction; it is not committed."""
    PERSISTER_COMMITTED = "persister.committed"
    """The group does not know."""
    PERSISTER_MIRRORED = "persister.mirrored"
    """The group knows; the next batch is not read."""

    GATEWAY_SNAPSHOT_READ = "gateway.snapshot_read"
    """The hub does not have it."""
    GATEWAY_RETAINED_READ = "gateway.retained_read"
    """The alerts among them are not collected; the hub has neither these nor the snapshot."""
    GATEWAY_BATCH_READ = "gateway.batch_read"
    """The hub does not have it."""
    GATEWAY_BEFORE_FLUSH = "gateway.before_flush"
    """The hub has changes that no client was sent."""
    GATEWAY_FLUSHED = "gateway.flushed"
    """Every client's outbox has them."""


class Kind(StrEnum):
    """What happens to the process, or to the task that reaches the point."""

    KILL = "kill"
    """The process is gone (SIGKILL)."""
    HANG = "hang"
    """The task never goes on; the process lives."""
    RAISE = "raise"
    """An exception that nobody expects."""
    DELAY = "delay"
    """The task goes on late: after some seconds, or when the process is told to (SIGCONT); the process lives."""
    STOP = "stop"
    """The process stands still (SIGSTOP) until somebody lets it go on (SIGCONT)."""


class Fault(NamedTuple):
    """What FAULT says: strike at the hit of that number, counted from 1 over the whole process, once."""

    point: CrashPoint
    hit: int
    kind: Kind
    seconds: float | None = None
    """Of a delay; None: until the process is told to go on (SIGCONT)."""


class InjectedError(Exception):
    """What the kind `raise` raises: no loop knows it."""


_FAULT = re.compile(
    r"(?P<point>[a-z._]+):(?P<hit>[1-9]\d{0,5}):(?:(?P<kind>kill|hang|raise|delay|stop)|delay=(?P<seconds>\d{1,4}(?:\.\d{1,3})?))"
)
_ALLOWED = (
    "must be name:hit:kind with a hit from 1 on, a kind of kill, hang, raise, delay, delay=SECONDS or stop, and a name of "
    + ", ".join(CrashPoint)
)


def parse_fault(text: str) -> Fault | None:
    """Read the text of FAULT, None if it is empty; raise `ValueError` that says what is allowed."""
    if not text:
        return None
    match = _FAULT.fullmatch(text)
    if match is None or match["point"] not in tuple(CrashPoint):
        raise ValueError(_ALLOWED)
    seconds = float(match["seconds"]) if match["seconds"] else None
    return Fault(CrashPoint(match["point"]), int(match["hit"]), Kind(match["kind"] or "delay"), seconds)


class _Armed:
    """A fault that waits for its hit."""

    now: ClassVar["_Armed | None"] = None
    """That of this process."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._hits = 0

    async def reach(self, point: CrashPoint) -> None:
        if point is not self.fault.point:
            return
        self._hits += 1
        if self._hits == self.fault.hit:
            log.warning("fault strikes", point=point, hit=self._hits, kind=self.fault.kind)
            await _strike(self.fault)


def arm(fault: Fault | None) -> None:
    """Arm this process, and say so: nobody is to run with a fault unawares."""
    _Armed.now = None if fault is None else _Armed(fault)
    if fault is not None:
        log.warning("armed with a fault, for tests only", point=fault.point, hit=fault.hit, kind=fault.kind)


async def reach(point: CrashPoint) -> None:
    """Say that a point is reached."""
    if _Armed.now is not None:
        await _Armed.now.reach(point)


async def answer_of(request: Coroutine[Any, Any, T], sent: CrashPoint) -> T:
    """Await the answer of a request; `sent` is reached when it is on its way and the answer is not known here."""
    if _Armed.now is None or _Armed.now.fault.point is not sent:
        return await request
    sending = asyncio.ensure_future(request)
    try:
        for _ in range(TURNS_TO_SEND):
            await asyncio.sleep(0)
        await reach(sent)
        return await sending
    finally:
        sending.cancel()


async def _strike(fault: Fault) -> None:
    match fault.kind:
        case Kind.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Kind.STOP:
            os.kill(os.getpid(), signal.SIGSTOP)
        case Kind.HANG:
            await asyncio.Event().wait()
        case Kind.RAISE:
            raise InjectedError(f"at {fault.point}")
        case Kind.DELAY:
            await _wait(fault.seconds)


async def _wait(seconds: float | None) -> None:
    if seconds is not None:
        await asyncio.sleep(seconds)
        return
    goes_on = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGCONT, goes_on.set)
    await goes_on.wait()
