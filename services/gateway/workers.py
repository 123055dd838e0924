"""GATEWAY_WORKERS above 1: the parent starts so many gateways that share the port, and another one for each that ends.

A worker is a gateway like any other; workers share nothing but the streams. Its standard input is a pipe of which only the parent
holds the other end: however the parent dies, the worker reads the end of it and ends at once, so that none is left with the port.
"""

import asyncio
import os
import socket
import sys
import threading
from asyncio.subprocess import Process
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

import structlog

from services.gateway.settings import GatewaySettings
from shared.backoff import Backoff
from shared.errors import ConfigurationError, NotReady, Problem
from shared.listening import address_problem
from shared.observe import probing
from shared.processes import REFUSED, command_of, described
from shared.redis.cluster import connect_to
from shared.redis.deployment import join
from shared.runtime import until_ready, wait_or_stop

READY_CHECK = "workers"
"""What the parent finds by asking: that every worker is ready."""
ROLE = "worker"
"""The argument, followed by its number, that makes a process a worker."""
HEALTHY_SECONDS = 30.0
"""A worker that ran this long did not crash at its start: the next one is started soon again."""
MOST_WAIT_SECONDS = 10.0

log = structlog.get_logger(__name__)


async def supervise(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Run the workers until `stop`; raise `ConfigurationError` if they cannot work, before they are started where that can be known."""
    _check_platform(settings)
    await _check_address(settings)
    with _lifeline() as lifeline:
        workers = [Worker(number, settings, lifeline) for number in range(1, settings.gateway_workers + 1)]
        async with probing({READY_CHECK: lambda: _ask(workers)}):
            await _join(settings, stop)
            async with asyncio.TaskGroup() as tasks:
                for worker in workers:
                    tasks.create_task(worker.run(stop))
    if any(worker.was_refused for worker in workers):
        raise ConfigurationError(())


async def _join(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Find out what is wrong with the deployment here: each worker would say it again."""
    async with connect_to(settings, service="gateway") as redis:
        await until_ready(lambda: join(redis, settings.partitions, settings.sma_period), what="redis", stop=stop)


def _check_platform(settings: GatewaySettings) -> None:
    workers, last_port = settings.gateway_workers, settings.metrics_port + settings.gateway_workers
    if not hasattr(socket, "SO_REUSEPORT"):
        allowed = "this platform cannot share a port; leave it at 1 and start gateways with a GATEWAY_PORT each"
        raise ConfigurationError((Problem("GATEWAY_WORKERS", str(workers), allowed),))
    if settings.metrics_port and last_port > 65535:
        allowed = f"{workers} workers count up from it, beyond port 65535"
        raise ConfigurationError((Problem("METRICS_PORT", str(settings.metrics_port), allowed),))


async def _check_address(settings: GatewaySettings) -> None:
    """Refuse an address where somebody listens: with SO_REUSEPORT a worker would share it with a stranger, silently."""
    host, port = settings.gateway_host, settings.gateway_port
    try:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port, start_serving=False)
    except OSError as error:
        raise ConfigurationError((address_problem("GATEWAY", host, port, error),)) from error
    server.close()
    await server.wait_closed()


@contextmanager
def _lifeline() -> Iterator[int]:
    """The end of the pipe that the workers get; ours is closed after them, at the latest by our death."""
    theirs, ours = os.pipe()
    try:
        yield theirs
    finally:
        os.close(theirs)
        os.close(ours)


async def _ask(workers: Sequence["Worker"]) -> None:
    await asyncio.gather(*(worker.ask() for worker in workers))


class Worker:
    """One of the workers: `run` keeps it running."""

    def __init__(self, number: int, settings: GatewaySettings, lifeline: int) -> None:
        self.was_refused = False
        self._number = number
        self._metrics_host = settings.metrics_host
        self._metrics_port = settings.metrics_port + number if settings.metrics_port else 0
        self._lifeline = lifeline
        self._ending = "was not started yet"

    async def run(self, stop: asyncio.Event) -> None:
        """Start the worker again whenever it ends, until `stop`, which is set here if it refuses its configuration."""
        backoff, now = Backoff(most_seconds=MOST_WAIT_SECONDS), asyncio.get_running_loop().time
        while not stop.is_set():
            started = now()
            self.was_refused = await self._run_once(stop) == REFUSED
            if self.was_refused:
                stop.set()
            if stop.is_set():
                return
            if now() - started >= HEALTHY_SECONDS:
                backoff.reset()
            seconds = backoff.next_seconds()
            log.error("a worker ended, starting another one", worker=self._number, ending=self._ending, seconds=round(seconds, 1))
            await wait_or_stop(stop, seconds)

    async def _run_once(self, stop: asyncio.Event) -> int:
        """Run the worker until it ends, or end it in order once `stop` is set; return its exit code (negative: a signal)."""
        try:
            process = await self._start()
        except OSError as error:  # no memory, no process: it may pass, and the other workers have clients
            self._ending = f"cannot be started: {error}"
            return 1
        self._ending = ""
        log.info("worker started", worker=self._number, worker_pid=process.pid)
        code = await _until_end(process, stop)
        self._ending = described(code)
        return code

    async def _start(self) -> Process:
        environment = {**os.environ, "METRICS_PORT": str(self._metrics_port)}
        return await asyncio.create_subprocess_exec(
            *command_of("services.gateway", ROLE, str(self._number)), stdin=self._lifeline, env=environment
        )

    async def ask(self) -> None:
        """Raise `NotReady`, saying why, unless the worker is ready."""
        if self._ending:
            raise NotReady(f"worker {self._number}: {self._ending}")
        try:
            status = await _status(self._metrics_host, self._metrics_port, "/readyz")
        except OSError as error:
            raise NotReady(f"worker {self._number} does not answer yet: {error}") from None
        if status != b"200":
            raise NotReady(f"worker {self._number} is not ready: /readyz on port {self._metrics_port} says why")


async def _status(host: str, port: int, path: str) -> bytes:
    """The status of a GET, empty if there was none."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
        return b"".join((await reader.readline()).split()[1:2])
    finally:
        writer.transport.abort()


async def _until_end(process: Process, stop: asyncio.Event) -> int:
    ended, stopped = asyncio.create_task(process.wait()), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            with suppress(ProcessLookupError):
                process.terminate()
        return await ended
    finally:
        stopped.cancel()
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()


def become(number: str) -> None:
    """Make this process that worker: its log lines carry the number, and it ends with its parent."""
    structlog.contextvars.bind_contextvars(worker=int(number))
    threading.Thread(target=_end_with_parent, name="lifeline", daemon=True).start()


def _end_with_parent() -> NoReturn:
    """A thread of its own: an event loop that stands still must not hold the port, either."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)
