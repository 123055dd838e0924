"""What a running service lets others see: `/metrics`, `/healthz` and `/readyz`, if METRICS_PORT is set; else nothing is started.

Loops say what they find with `confirm` and `fail`; probers ask the servers on connections of their own.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from http import HTTPStatus

import structlog
from redis.asyncio import Redis

from shared import metrics
from shared.errors import NotReady
from shared.health import Health, Pulse, as_json, status_of
from shared.health_server import TEXT, Page, serving
from shared.logging import redact
from shared.redis.cluster import connect_to, each_primary, ping
from shared.redis.log import LIBRARY
from shared.settings import Settings

BEAT_SECONDS = 0.5
"""Each beat wakes the process; as many lags are seen as an average needs."""
PROBE_SECONDS = 1.0
ANSWER_SECONDS = 2.0
"""A server that takes longer for next to nothing counts as not answering."""
END_SECONDS = 0.5
"""For a question on its way when the service ends."""

REDIS, FUNCTIONS = "redis", "functions"
"""What every service needs, asked for here."""

Ask = Callable[[], Awaitable[object]]
"""Asks a server; any exception is the reason why the check does not hold."""

log = structlog.get_logger(__name__)

_observer: ContextVar["Observer | None"] = ContextVar("observer", default=None)
"""Of the service this task belongs to: a loop deep within it reports without a parameter in every call between."""


def confirm(check: str) -> None:
    """Say that a check of this service holds, if anybody can ask for it."""
    if (observer := _observer.get()) is not None:
        observer.health.confirm(check, time.monotonic())


def fail(check: str, reason: str) -> None:
    """Say why a check of this service does not hold, if anybody can ask for it."""
    if (observer := _observer.get()) is not None:
        observer.health.fail(check, redact(reason), time.monotonic())


@asynccontextmanager
async def observing(service: str, settings: Settings, stop: asyncio.Event, checks: Sequence[str]) -> AsyncIterator[None]:
    """Show the service to others for the time of the block, if METRICS_PORT is set; `checks` are those that its loops confirm.

    Raise `ConfigurationError` if nobody can listen there.
    """
    if not settings.metrics_port:
        yield
        return
    observer = Observer(service, stop, checks)
    _observer.set(observer)
    host, port = settings.metrics_host, settings.metrics_port
    try:
        with serving(host, port, observer.pages):
            log.info("metrics and health", url=f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics")
            async with connect_to(settings, service=service) as redis, _beating(observer), probing(_asks_of(redis)):
                yield
    finally:
        _observer.set(None)


class Observer:
    """What is known of this process, and the pages that show it."""

    def __init__(self, service: str, stop: asyncio.Event, checks: Sequence[str]) -> None:
        self.health = Health((*checks, REDIS, FUNCTIONS))
        self.pulse = Pulse(BEAT_SECONDS, time.monotonic())
        self._stop = stop
        self._registry = metrics.registry_of(service)
        self.pages = {"/metrics": self._metrics, "/healthz": self._healthz, "/readyz": self._readyz}

    def _metrics(self) -> Page:
        now = time.monotonic()
        metrics.LOOP_LAG_NOW.set(self.pulse.lag_seconds(now))
        for check, finding in self.health.findings(now).items():
            metrics.READY.labels(check).set(finding.is_ok)
        return Page(HTTPStatus.OK, metrics.CONTENT_TYPE, metrics.exposition(self._registry))

    def _healthz(self) -> Page:
        seconds = self.pulse.still_seconds(time.monotonic())
        if seconds:
            return Page(HTTPStatus.SERVICE_UNAVAILABLE, TEXT, f"the event loop has stood still for {seconds:.1f} s\n".encode())
        return Page(HTTPStatus.OK, TEXT, b"ok\n")

    def _readyz(self) -> Page:
        findings = self.health.findings(time.monotonic())
        status = status_of(findings, is_stopping=self._stop.is_set())
        code = HTTPStatus.OK if status == "ready" else HTTPStatus.SERVICE_UNAVAILABLE
        return Page(code, "application/json", as_json(findings, status))


@asynccontextmanager
async def _beating(observer: Observer) -> AsyncIterator[None]:
    async def beat() -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            metrics.LOOP_LAG.observe(observer.pulse.beat(time.monotonic()))

    beating = asyncio.create_task(beat(), name="beat")
    try:
        yield
    finally:
        beating.cancel()


def _asks_of(redis: Redis) -> dict[str, Ask]:
    async def functions() -> None:
        async with each_primary(redis) as servers:
            for name, server in servers.items():
                if not await server.function_list(library=LIBRARY):
                    raise NotReady(f"function library {LIBRARY} is not loaded in {name}; run `tickstream migrate`")

    return {REDIS: lambda: ping(redis), FUNCTIONS: functions}


@asynccontextmanager
async def probing(asks: Mapping[str, Ask]) -> AsyncIterator[None]:
    """Ask every second for the time of the block, one after the other; what stands behind a failed check is not asked."""
    observer = _observer.get()
    if observer is None:
        yield
        return
    for check in asks:
        observer.health.expect(check)
    task = asyncio.create_task(_probe(asks), name=f"probe {' '.join(asks)}")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=END_SECONDS)


async def _probe(asks: Mapping[str, Ask]) -> None:
    while True:
        failed = ""
        for check, ask in asks.items():
            reason = f"not known while {failed} fails" if failed else await _ask(check, ask)
            if reason:
                fail(check, reason)
                failed = failed or check
            else:
                confirm(check)
        await asyncio.sleep(PROBE_SECONDS)


async def _ask(check: str, ask: Ask) -> str:
    """Return why a check does not hold, nothing if it does."""
    asking = asyncio.ensure_future(ask())
    asking.add_done_callback(_error_of)
    try:
        done, _ = await asyncio.wait({asking}, timeout=ANSWER_SECONDS)
    finally:
        asking.cancel()
    if done:
        error = _error_of(asking)
        return "" if error is None else str(error) or type(error).__name__
    reason = f"no answer within {ANSWER_SECONDS:g} s"
    fail(check, reason)
    await asyncio.wait({asking})  # a driver may take long to give up, and must not be asked twice at once
    return reason


def _error_of(asking: "asyncio.Future[object]") -> BaseException | None:
    """How a question ended; one that was given up is looked at too, so that nobody reports it as forgotten."""
    return None if asking.cancelled() else asking.exception()
