"""The four services as processes on given servers: started, killed, started again, and none left behind.

What a test waits for is asked of the servers again and again, with a deadline; a process that ends before it should ends
the wait. What the processes logged is shown when a test fails.
"""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random, SystemRandom
from types import TracebackType
from typing import Any, Protocol, Self

from services.admin.embedded import find_free_port
from services.admin.migrate import migrate_postgres, migrate_redis
from shared.redis.client import connect
from tests.e2e.forked import ForkedProcess
from tests.e2e.market_data import PERIOD

ROOT = Path(__file__).parents[2]
SERVICES = ("gateway", "persister", "analyzer", "fetcher")
"""In the order of their start, against the stream: whoever comes first must be able to wait for the rest."""
END_BY_THEMSELVES = ("migrate", "fetcher")
"""Their work can be done: a replay has an end."""

LEASE_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
STOP_SECONDS = 10.0
"""The contract's bound from SIGTERM to the end."""
POLL_SECONDS = 0.03
LINES_SHOWN = 40

PASSED_ON = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR")
"""Variables of the tests' own environment that a service gets; others could be variables of the contract."""


async def until(
    condition: Callable[[], Awaitable[bool]], what: str, seconds: float = PATIENCE_SECONDS, poll_seconds: float = POLL_SECONDS
) -> None:
    """Wait for what only another process can tell; fail after `seconds`, saying what was waited for."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(poll_seconds)


def random_moments(name: str) -> Random:
    """The chances of a test; the seed is printed, and TEST_SEED gives it again."""
    seed = os.environ.get("TEST_SEED") or str(SystemRandom().randrange(10**6))
    print(f"the same moments again: TEST_SEED={seed}")
    return Random(f"{seed}:{name}")


class Process(Protocol):
    """What is asked of a `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self) -> int: ...

    def send_signal(self, sig: int) -> None: ...


class Service:
    """A process, and what it logged."""

    def __init__(self, name: str, process: Process, log_file: Path) -> None:
        self.name = name
        self.process = process
        self.may_end = False
        self.may_fail = False
        """Whether what it logs may show a traceback: it was made to fail."""
        self._log_file = log_file

    @property
    def text(self) -> str:
        """All it wrote."""
        return self._log_file.read_text(encoding="utf-8", errors="replace")

    @property
    def log(self) -> list[dict[str, Any]]:
        """Its log lines so far; a last one that is still being written is left out."""
        return self._lines_with("")

    def _lines_with(self, text: str) -> list[dict[str, Any]]:
        whole = self.text.rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if text in line and line.startswith("{")]

    def said(self, event: str) -> list[dict[str, Any]]:
        """The log lines with that event text."""
        # Asked a hundred times a second: the others are not parsed.
        return [line for line in self._lines_with(event) if line["event"] == event]

    def has_said(self, event: str) -> Callable[[], Awaitable[bool]]:
        """A condition: that event was logged."""

        async def has() -> bool:
            return bool(self.said(event))

        return has

    def forget_log(self) -> None:
        """Delete what it wrote."""
        self._log_file.unlink()

    async def heeds_signals(self) -> bool:
        """Whether it has come so far that a signal ends it in order."""
        return bool(self.said("starting"))

    def kill(self) -> None:
        """End it as a crash would (kill -9)."""
        self.may_end = True
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self.may_end = True
        self.process.send_signal(signal.SIGTERM)

    def pause(self) -> None:
        """Stop it where it is (SIGSTOP)."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let a paused one go on."""
        self.process.send_signal(signal.SIGCONT)

    async def finish(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for its end; return the exit code."""

        async def has_ended() -> bool:
            return self.process.poll() is not None

        await until(has_ended, f"the end of {self.name}", seconds)
        return self.process.wait()

    def check_alive(self) -> None:
        """Fail if it ended unasked."""
        code = self.process.poll()
        assert code is None or self.may_end or (self.name in END_BY_THEMSELVES and code == 0), f"{self.name} ended with {code}"

    def check_log(self, errors_allowed: tuple[str, ...] = ()) -> None:
        """Fail if it showed a traceback, or logged an error whose text does not begin as allowed."""
        assert "Traceback" not in self.text, f"{self.name} shows a traceback"
        errors = [line for line in self.log if line["level"] in ("error", "critical") and not line["event"].startswith(errors_allowed)]
        assert not errors, f"{self.name} logged errors: {errors}"


class Pipeline:
    """`async with Pipeline(…)`: nothing runs yet. Whatever was started ends with it."""

    def __init__(self, redis_url: str, database_url: str, folder: Path, partitions: int, **variables: str) -> None:
        """`variables` go to every service; `folder` gets the logs."""
        self.port = find_free_port()
        self.started: list[Service] = []
        self._folder = folder
        self._numbers = itertools.count(1)
        self._variables = {
            "REDIS_URL": redis_url,
            "DATABASE_URL": database_url,
            "PARTITIONS": str(partitions),
            "SMA_PERIOD": str(PERIOD),
            "LEASE_SECONDS": str(LEASE_SECONDS),
            "GATEWAY_PORT": str(self.port),
            **variables,
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        ended_before = {service: service.process.poll() for service in self.started}
        for service in self.started:
            service.kill()
        if error is not None:
            for service, code in ended_before.items():
                lines = service.text.splitlines()[-LINES_SHOWN:]
                print(f"--- {service.name}, {'ran to the end of the test' if code is None else f'exit code {code}'}", *lines, sep="\n")

    def run(self, name: str, *command: str, **variables: str) -> Service:
        """Start `python -m <command>` with the variables of this pipeline, and more; an empty one counts as not set."""
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        log_file = self._folder / f"{next(self._numbers):02d}-{name}.log"
        process = self._spawn(command, {**environment, **self._variables, **variables}, log_file)
        service = Service(name, process, log_file)
        self.started.append(service)
        return service

    def _spawn(self, command: tuple[str, ...], environment: dict[str, str], log_file: Path) -> Process:
        log_file.touch()
        return ForkedProcess(command, environment, log_file)

    async def migrate(self) -> None:
        """Make Redis and PostgreSQL ready."""
        partitions = int(self._variables["PARTITIONS"])
        async with connect(self._variables["REDIS_URL"], service="migrate") as redis:
            await migrate_redis(redis, partitions, PERIOD)
        await migrate_postgres(self._variables["DATABASE_URL"], partitions)

    def start(self, name: str, **variables: str) -> Service:
        """Start a service."""
        return self.run(name, f"services.{name}", **variables)

    def forget(self, service: Service) -> None:
        """Drop a process that has ended, and what it logged."""
        self.started.remove(service)
        service.forget_log()

    def start_all(self, **variables: str) -> dict[str, Service]:
        """Start one of each service."""
        return {name: self.start(name, **variables) for name in SERVICES}

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait for a condition; fail at once when a service ended unasked."""

        async def holds() -> bool:
            for service in self.started:
                service.check_alive()
            return await condition()

        await until(holds, what, seconds)

    async def stop(self) -> None:
        """SIGTERM to all that still run: each must end with 0, within the contract's bound."""
        running = [service for service in self.started if service.process.poll() is None]
        for service in running:
            await self.until(service.heeds_signals, f"{service.name} to have started")
            service.terminate()
        for service in running:
            assert await service.finish(STOP_SECONDS) == 0, f"{service.name} ended with {service.process.wait()} after SIGTERM"

    def check_logs(self, errors_allowed: tuple[str, ...] = ()) -> None:
        """Fail if any process ever started showed a traceback, or logged an error whose text does not begin as allowed."""
        for service in self.started:
            if not service.may_fail:
                service.check_log(errors_allowed)


class FreshPipeline(Pipeline):
    """A pipeline whose services are each a Python of its own from the start, as a user starts them."""

    def _spawn(self, command: tuple[str, ...], environment: dict[str, str], log_file: Path) -> Process:
        with log_file.open("wb") as log:
            return subprocess.Popen(
                (sys.executable, "-m", *command), cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
