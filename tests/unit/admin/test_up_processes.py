"""Supervision, with real processes: crash, refusal, end of work, stop, and nothing left behind."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.admin.endings import Ending, ending_report, judge
from services.admin.processes import Program, Service, State
from shared.processes import described

FOREVER = "import time; print('up', flush=True); time.sleep(60)"


class Listener:
    """Collects what a service says, and waits for words in it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._changed = asyncio.Event()

    def log(self, name: str, line: str) -> None:
        self.say(f"{name}: {line}")

    def say(self, line: str) -> None:
        self.lines.append(line)
        self._changed.set()

    async def heard(self, words: str, times: int = 1) -> None:
        async with asyncio.timeout(20):
            while sum(words in line for line in self.lines) < times:
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
def heard() -> Listener:
    return Listener()


@pytest.fixture
def service(heard: Listener) -> Callable[..., Service]:
    def make(code: str, *, may_finish: bool = False) -> Service:
        program = Program("analyzer", (sys.executable, "-c", code), os.environ, may_finish)
        return Service(program, heard.log, heard.say)

    return make


async def test_crashed_service_is_reported_with_its_last_words_and_started_again(service: Callable[..., Service], heard: Listener) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(service("print('my last words'); raise SystemExit(3)").run(stop))
    await heard.heard("analyzer ended (exit code 3), starts again in", times=2)
    stop.set()
    await running
    assert "  my last words" in heard.lines


async def test_killed_service_is_named_with_its_signal(service: Callable[..., Service], heard: Listener) -> None:
    stop, analyzer = asyncio.Event(), service(FOREVER)
    running = asyncio.create_task(analyzer.run(stop))
    await heard.heard("analyzer: up")
    assert analyzer.pid
    assert analyzer.state is State.RUNNING
    os.kill(analyzer.pid, signal.SIGKILL)
    await heard.heard("analyzer ended (SIGKILL), starts again in")
    await heard.heard("analyzer: up", times=2)
    stop.set()
    await running


async def test_refused_configuration_stops_everything(service: Callable[..., Service], heard: Listener) -> None:
    stop, analyzer = asyncio.Event(), service("print('SMA_PERIOD=1: too small'); raise SystemExit(2)")
    await asyncio.wait_for(analyzer.run(stop), 20)
    assert stop.is_set()
    assert analyzer.was_refused
    assert "  SMA_PERIOD=1: too small" in heard.lines


async def test_finished_service_is_not_started_again(service: Callable[..., Service], heard: Listener) -> None:
    stop, replay = asyncio.Event(), service("print('done')", may_finish=True)
    await asyncio.wait_for(replay.run(stop), 20)
    assert replay.state is State.FINISHED
    assert not stop.is_set()


async def test_stop_ends_a_service_in_order(service: Callable[..., Service], heard: Listener) -> None:
    # Not by `print`, within which the signal may have come.
    code = f"import os, signal, sys; signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'drained\\n'), sys.exit(0))); {FOREVER}"
    stop = asyncio.Event()
    running = asyncio.create_task(service(code).run(stop))
    await heard.heard("up")
    stop.set()
    await asyncio.wait_for(running, 20)
    assert heard.lines[-1] == "analyzer: drained"


async def test_service_that_ignores_the_stop_is_killed(
    service: Callable[..., Service], heard: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.admin.processes.STOP_SECONDS", 0.2)
    stop, stubborn = asyncio.Event(), service(f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {FOREVER}")
    running = asyncio.create_task(stubborn.run(stop))
    await heard.heard("up")
    stop.set()
    await asyncio.wait_for(running, 20)
    assert stubborn.state is State.STOPPED


async def test_what_a_crashed_process_started_does_not_live_on(service: Callable[..., Service], heard: Listener, tmp_path: Path) -> None:
    held = tmp_path / "held"
    os.mkfifo(held)
    heir = f"held = open({str(held)!r}, 'w'); {FOREVER}"
    code = f"import subprocess as s, sys; s.Popen([sys.executable, '-c', {heir!r}], stdout=s.PIPE).stdout.readline(); sys.exit(1)"
    stop = asyncio.Event()
    running = asyncio.create_task(service(code).run(stop))
    # The other end is closed by the end of the heir, and not before.
    end_of_heir = asyncio.create_task(asyncio.to_thread(held.read_bytes))
    await heard.heard("analyzer ended (exit code 1)")
    stop.set()
    await running
    await asyncio.wait_for(end_of_heir, 20)


async def test_endless_line_is_not_kept(service: Callable[..., Service], heard: Listener) -> None:
    await service("print('x' * 3_000_000); print('after')", may_finish=True).run(asyncio.Event())
    assert "analyzer: after" in heard.lines
    assert max(map(len, heard.lines)) < 2_000_000


@pytest.mark.parametrize(
    ("code", "may_finish", "ending"),
    [
        (0, True, Ending.FINISHED),
        (0, False, Ending.CRASHED),
        (1, True, Ending.CRASHED),
        (-9, False, Ending.CRASHED),
        (2, False, Ending.REFUSED),
    ],
)
def test_exit_code_decides_what_happens_next(code: int, may_finish: bool, ending: Ending) -> None:
    assert judge(code, may_finish=may_finish) is ending


def test_report_of_a_silent_end_is_one_line() -> None:
    assert ending_report("gateway", -9, [], ", starts again in 0.5 s") == ["gateway ended (SIGKILL), starts again in 0.5 s"]
    assert described(-200) == "signal 200"
