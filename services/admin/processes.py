"""Processes that end with us: started in sessions of their own, watched, started again with back-off after a crash.

A session of its own keeps the Ctrl-C of our terminal away, so that we decide on the order of stopping; on Linux the
kernel ends the process when we die, however we die.
"""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from enum import Enum
from io import FileIO

from services.admin.embedded.process import LAUNCHER
from services.admin.endings import Ending, ending_report, judge
from shared.backoff import Backoff
from shared.runtime import wait_or_stop

STOP_SECONDS = 10.0
"""The contract's: a service that needs longer is killed."""

HEALTHY_SECONDS = 30.0
"""A process that ran this long did not crash at its start: the next crash waits the shortest time again."""

LAST_LINES = 8
LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class Program:
    """What to run, under which name it is told of."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    may_finish: bool = False
    """Whether exit code 0 means that its work is done."""


class State(Enum):
    """What a service does at the moment."""

    RUNNING = "running"
    WAITING = "waiting"
    FINISHED = "finished"
    STOPPED = "stopped"


Log = Callable[[str, str], None]
"""Takes the name of a process and a line of its output."""
Say = Callable[[str], None]
"""Takes a line of our own."""


class Service:
    """One supervised process: runs until `stop`, whatever happens to it in between."""

    def __init__(self, program: Program, log: Log, say: Say) -> None:
        self.program = program
        self.state = State.STOPPED
        self.was_refused = False
        self._log = log
        self._say = say
        self._process: Process | None = None
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)
        """What the process said last."""

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return self._process.pid if self._process else None

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the process running until `stop` is set, which it sets itself if the configuration is refused."""
        backoff = Backoff(0.5, 30)
        while not stop.is_set():
            started = time.monotonic()
            code = await self.run_once(stop)
            if stop.is_set():
                return
            if time.monotonic() - started >= HEALTHY_SECONDS:
                backoff.reset()
            if await self._is_over(code, backoff, stop):
                return

    async def run_once(self, stop: asyncio.Event) -> int:
        """Run the process until it ends, or end it when `stop` is set; return its exit code (negative: a signal)."""
        self.last_lines.clear()
        process, output = await start(self.program)
        self._process = process
        self.state = State.RUNNING
        reading = asyncio.create_task(self._read(output))
        try:
            return await _until_end(process, stop)
        finally:
            # What it said last is still in the pipe; a grandchild that holds the pipe open must not hold us.
            await asyncio.wait({reading}, timeout=1.0)
            reading.cancel()
            self._process = None
            self.state = State.STOPPED

    async def _is_over(self, code: int, backoff: Backoff, stop: asyncio.Event) -> bool:
        ending = judge(code, may_finish=self.program.may_finish)
        if ending is Ending.FINISHED:
            self.state = State.FINISHED
            self._say(f"{self.program.name} has finished; the other services go on")
            return True
        if ending is Ending.REFUSED:
            self.was_refused = True
            self._tell(code, "")
            stop.set()
            return True
        wait_seconds = backoff.next_seconds()
        self.state = State.WAITING
        self._tell(code, f", starts again in {wait_seconds:.1f} s")
        return await wait_or_stop(stop, wait_seconds)

    def _tell(self, code: int, consequence: str) -> None:
        for line in ending_report(self.program.name, code, self.last_lines, consequence):
            self._say(line)

    async def _read(self, output: int) -> None:
        reader = asyncio.StreamReader(limit=LONGEST_LINE)
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), FileIO(output))
        with closing(pipe):
            while line := await _line(reader):
                self.last_lines.append(line.rstrip())
                self._log(self.program.name, line.rstrip())

    def kill(self) -> None:
        """End the process at once, with all that it started."""
        if self._process is not None:
            _signal_group(self._process, signal.SIGKILL)


async def start(program: Program) -> tuple[Process, int]:
    """Start a program; return it and a pipe of what it writes to standard output and standard error.

    The pipe is ours, not asyncio's: with that one `Process.wait` also waits for every heir of the process to close it.
    """
    launcher = (sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(signal.SIGTERM.value), "", "", "")
    output, inlet = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *launcher,
            *program.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=inlet,
            stderr=inlet,
            env=program.environment,
            start_new_session=True,
        )
    except BaseException:
        os.close(output)
        raise
    finally:
        os.close(inlet)
    return process, output


async def _line(reader: asyncio.StreamReader) -> str:
    """The next line with its end, empty after the last one."""
    try:
        return (await reader.readline()).decode(errors="replace")
    except ValueError:
        return "(a line too long to show)\n"


async def _until_end(process: Process, stop: asyncio.Event) -> int:
    ended = asyncio.create_task(process.wait())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            _signal_group(process, signal.SIGTERM)
            await asyncio.wait({ended}, timeout=STOP_SECONDS)
    finally:
        stopped.cancel()
        # Also after an end by itself: what a crashed process had started must not live on beside its successor.
        _signal_group(process, signal.SIGKILL)
    return await ended


def _signal_group(process: Process, number: signal.Signals) -> None:
    """Signal the process and whatever it started: its session is its group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
