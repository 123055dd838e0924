"""How a service ends: exit codes, signals, and what it says, with real processes."""

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import shared

ROOT = str(Path(str(shared.__file__)).parents[1])
SECRET_URL = "redis://user:hunter22@localhost:1/0"

SERVICE = """
import asyncio
import shared.runtime
from shared.errors import ConfigurationError, Problem
from shared.runtime import run_service, wait_or_stop
from shared.settings import Settings

{preamble}

async def serve(settings, stop):
    url = settings.redis_url.get_secret_value()
{body}

run_service("tiny", Settings, serve)
"""
UNTIL_STOPPED = "await stop.wait()"
NEVER_DONE = "await asyncio.Event().wait()"

Start = Callable[..., Awaitable[Process]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start a service whose `serve` has this body, after a preamble; keywords are variables of its environment."""
    async with AsyncExitStack() as stack:

        async def run(body: str, preamble: str = "", **environment: str) -> Process:
            code = SERVICE.format(preamble=preamble, body="\n".join(f"    {line}" for line in body.splitlines()))
            env = {"PATH": os.environ["PATH"], "PYTHONPATH": ROOT, "REDIS_URL": SECRET_URL, "LOG_FORMAT": "json"} | environment
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=PIPE
            )
            stack.push_async_callback(reap, process)
            return process

        yield run


async def reap(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.communicate()


async def said(process: Process, event: str) -> None:
    """Wait until the service logged this."""
    assert process.stderr is not None
    async with asyncio.timeout(20):
        while json.loads(await process.stderr.readline())["event"] != event:
            pass


async def end(process: Process) -> tuple[int | None, str]:
    """Exit code and what it said on standard error."""
    async with asyncio.timeout(20):
        out, errors = await process.communicate()
    assert out == b""
    return process.returncode, errors.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_service_that_drains_after_a_signal_exits_with_0(start: Start, number: signal.Signals) -> None:
    process = await start(f"{UNTIL_STOPPED}\nawait asyncio.sleep(0.05)\nshared.runtime.log.info('drained')")
    await said(process, "starting")
    process.send_signal(number)
    code, errors = await end(process)
    lines = [json.loads(line) for line in errors.splitlines()]
    assert (code, [line["event"] for line in lines]) == (0, ["stopping", "drained", "stopped"])
    assert (lines[0]["signal"], lines[0]["service"]) == (number.name, "tiny")


async def test_a_job_that_is_finished_exits_with_0(start: Start) -> None:
    code, errors = await end(await start("pass"))
    assert (code, [json.loads(line)["event"] for line in errors.splitlines()]) == (0, ["starting", "stopped"])


async def test_a_second_signal_exits_at_once(start: Start) -> None:
    process = await start(NEVER_DONE)
    await said(process, "starting")
    process.send_signal(signal.SIGINT)
    await said(process, "stopping")
    sent = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code, errors = await end(process)
    assert code == 1
    assert "second signal, exiting at once" in errors
    assert time.monotonic() - sent < 5


# The loop has read the byte of SIGUSR1 and not yet that of SIGTERM when it asks which handlers ran.
ONE_BEHIND_ANOTHER = """
told = []
signal.signal(signal.SIGUSR1, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
shared.runtime.tell_signals([signal.SIGTERM], told.append)
threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGUSR1]).start()
while not told:
    await asyncio.sleep(0.01)
await asyncio.sleep(0.05)  # for another one
shared.runtime.log.info("listened", told=told)
"""


async def test_a_signal_right_behind_another_one_is_told_once(start: Start) -> None:
    code, errors = await end(await start(ONE_BEHIND_ANOTHER, preamble="import os, signal, threading"))
    (line,) = [line for line in map(json.loads, errors.splitlines()) if line["event"] == "listened"]
    assert (code, line["told"]) == (0, [signal.SIGTERM])


async def test_what_is_not_drained_within_the_grace_is_cancelled_and_the_exit_is_still_0(start: Start) -> None:
    body = f"try:\n    {NEVER_DONE}\nfinally:\n    shared.runtime.log.info('cancelled')"
    process = await start(body, preamble="shared.runtime.run.__kwdefaults__['grace_seconds'] = 0.05")
    await said(process, "starting")
    process.send_signal(signal.SIGTERM)
    code, errors = await end(process)
    events = [json.loads(line)["event"] for line in errors.splitlines()]
    assert (code, events) == (0, ["stopping", "not drained within the grace, cancelling", "cancelled", "stopped"])


IN_A_GROUP = "async with asyncio.TaskGroup() as group:\n    group.create_task({})\n    await asyncio.Event().wait()"


async def test_an_error_exits_with_1_and_is_one_line_without_secrets(start: Start) -> None:
    body = f"async def fail(url): raise ZeroDivisionError(url)\n{IN_A_GROUP.format('fail(url)')}"
    code, errors = await end(await start(body))
    (line,) = [found for text in errors.splitlines() if (found := json.loads(text))["level"] == "error"]
    assert (code, line["event"]) == (1, "service failed")
    assert "ZeroDivisionError: redis://***@localhost:1/0" in line["exception"]
    assert "hunter22" not in errors


async def test_an_error_while_draining_exits_with_1(start: Start) -> None:
    process = await start(f"{UNTIL_STOPPED}\nraise ZeroDivisionError")
    await said(process, "starting")
    process.send_signal(signal.SIGTERM)
    code, errors = await end(process)
    assert code == 1
    assert "ZeroDivisionError" in errors


async def test_bad_variables_exit_with_2_one_line_each_and_nothing_else(start: Start) -> None:
    code, errors = await end(await start("pass", PARTITIONS="0", LEASE_SECONDS="x", REDIS_URL="http://user:hunter22@h", FINNHUB_WS_URL="1"))
    assert code == 2
    assert [line.split(": ")[0] for line in errors.splitlines()] == [
        "FINNHUB_WS_URL=1", "REDIS_URL=(hidden)", "PARTITIONS=0", "LEASE_SECONDS=x",
    ]  # fmt: skip


@pytest.mark.parametrize("refusing", ["raise error", "raise ExceptionGroup('', [ZeroDivisionError(), ExceptionGroup('', [error])])"])
async def test_a_configuration_error_found_while_running_exits_with_2_whoever_raised_it(start: Start, refusing: str) -> None:
    body = f"error = ConfigurationError((Problem('PARTITIONS', '4', 'is 8'),))\n{refusing}"
    code, errors = await end(await start(body))
    assert (code, errors.splitlines()[-1]) == (2, "PARTITIONS=4: is 8")
    assert "Traceback" not in errors


BROKEN_LOGGING = """
def broken(name, settings):
    local = settings.redis_url.get_secret_value()
    raise ZeroDivisionError

shared.runtime.configure_logging = broken
"""


async def test_an_error_before_logging_is_set_up_shows_no_local_variables(start: Start) -> None:
    code, errors = await end(await start("pass", preamble=BROKEN_LOGGING))
    assert code == 1
    assert "ZeroDivisionError" in errors
    assert "hunter22" not in errors


SLOW_TO_CLEAR = """
class Slow:
    def __del__(self, write=__import__("os").write, sleep=__import__("time").sleep):
        write(1, b"clearing\\n")
        sleep(1)

slow = Slow()
"""
"""Cleared when the interpreter ends, which has reset every signal by then."""


async def test_a_signal_that_comes_while_the_interpreter_ends_does_not_change_the_exit_code(start: Start) -> None:
    process = await start("pass", SLOW_TO_CLEAR)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"clearing\n"
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
