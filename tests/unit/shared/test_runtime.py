"""Running until stopped, the grace, and waiting for another side; signals and exit codes are tested with processes."""

import asyncio
import time

import pytest
from structlog.testing import capture_logs

from shared import runtime
from shared.errors import ConfigurationError, NotReady, Problem
from shared.runtime import do_all, run, until_ready, wait_or_stop


class Life:
    """A service's main that notes what happens to it."""

    def __init__(self, stop: asyncio.Event, drain_seconds: float = 0) -> None:
        self.stop = stop
        self.started = asyncio.Event()
        self.notes: list[str] = []
        self._drain_seconds = drain_seconds

    async def main(self) -> None:
        try:
            self.started.set()
            await self.stop.wait()
            self.notes.append("draining")
            await asyncio.sleep(self._drain_seconds)
            self.notes.append("drained")
        except asyncio.CancelledError:
            self.notes.append("cancelled")
            raise


async def test_a_main_that_ends_by_itself_ends_the_run() -> None:
    ran = []

    async def main() -> None:
        ran.append(1)

    await run(main(), stop=asyncio.Event())
    assert ran == [1]


async def test_an_error_of_main_is_raised() -> None:
    async def main() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await run(main(), stop=asyncio.Event())


async def test_on_stop_main_is_given_time_to_drain() -> None:
    life = Life(asyncio.Event(), drain_seconds=0.02)
    running = asyncio.create_task(run(life.main(), stop=life.stop, grace_seconds=5))
    await life.started.wait()
    assert not running.done()
    life.stop.set()
    await running
    assert life.notes == ["draining", "drained"]


async def test_what_is_not_drained_within_the_grace_is_cancelled_and_said() -> None:
    life = Life(asyncio.Event(), drain_seconds=60)
    life.stop.set()
    began = time.monotonic()
    with capture_logs() as logs:
        await run(life.main(), stop=life.stop, grace_seconds=0.02)
    assert life.notes == ["draining", "cancelled"]
    assert time.monotonic() - began < 30
    assert [line["event"] for line in logs] == ["not drained within the grace, cancelling"]


async def test_a_main_that_ignores_its_cancellation_does_not_hold_the_run_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "CANCEL_SECONDS", 0.01)
    release = asyncio.Event()

    async def main() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    stop = asyncio.Event()
    stop.set()
    asyncio.get_running_loop().call_later(30, release.set)
    await run(main(), stop=stop, grace_seconds=0.01)
    assert not release.is_set()
    release.set()


async def test_an_error_while_draining_is_raised() -> None:
    stop = asyncio.Event()

    async def main() -> None:
        await stop.wait()
        raise ValueError("broken")

    stop.set()
    with pytest.raises(ValueError, match="broken"):
        await run(main(), stop=stop)


async def test_a_run_that_is_cancelled_takes_its_main_along() -> None:
    life = Life(asyncio.Event())
    running = asyncio.create_task(run(life.main(), stop=life.stop))
    await life.started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(0)
    assert life.notes == ["cancelled"]


async def test_a_main_that_ends_as_cancelled_though_nobody_asked_is_an_error() -> None:
    """An exit code of 0 would say that the work is done, and nobody would start it again."""

    async def main() -> None:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="nobody had asked"):
        await run(main(), stop=asyncio.Event())


async def test_of_works_done_together_a_failed_one_ends_the_others_and_leaves_its_caller_as_it_was() -> None:
    ended = []

    async def fail() -> None:
        await asyncio.sleep(0)
        raise NotReady("no")

    async def wait_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("others")

    with pytest.raises(NotReady):
        await do_all([wait_for_ever(), fail(), wait_for_ever()])
    assert ended == ["others", "others"]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0, "a TaskGroup leaves 1"


async def test_of_works_that_fail_at_once_a_bad_configuration_is_told() -> None:
    async def fail(error: Exception) -> None:
        raise error

    for _ in range(20):  # they are held in a set, whose order is chance
        errors = [NotReady("no"), ConfigurationError((Problem("PARTITIONS", "4", "is 8 here"),)), NotReady("no")]
        with pytest.raises(ConfigurationError):
            await do_all(map(fail, errors))


async def test_works_done_together_end_with_their_caller() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def wait_for_ever() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    doing = asyncio.create_task(do_all([wait_for_ever()]))
    await began.wait()
    doing.cancel()
    await asyncio.wait({doing})
    assert doing.cancelled()
    assert ended.is_set()


async def test_waiting_ends_at_once_when_stopped() -> None:
    stop = asyncio.Event()
    waiting = asyncio.create_task(wait_or_stop(stop, 60))
    await asyncio.sleep(0)
    stop.set()
    async with asyncio.timeout(1):
        assert await waiting is True


async def test_waiting_ends_when_the_time_is_over() -> None:
    assert await wait_or_stop(asyncio.Event(), 0.001) is False


class Flaky:
    """An attempt that fails so many times before it succeeds."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.tries = 0
        self._failures = failures
        self._error = error

    async def __call__(self) -> str:
        self.tries += 1
        if self.tries <= self._failures:
            raise self._error
        return "done"


@pytest.mark.parametrize("error", [NotReady("not migrated"), ConnectionError("refused"), TimeoutError()])
async def test_an_attempt_is_repeated_until_the_other_side_is_ready_and_the_wait_is_said_once(error: Exception) -> None:
    attempt = Flaky(2, error)
    with capture_logs() as logs:
        assert await until_ready(attempt, what="redis", stop=asyncio.Event()) == "done"
    assert attempt.tries == 3
    assert [(line["event"], line["what"]) for line in logs] == [("waiting", "redis"), ("ready", "redis")]
    assert logs[0]["reason"] == (str(error) or "TimeoutError")
    assert logs[1]["tries"] == 3


async def test_an_attempt_that_succeeds_at_once_says_nothing() -> None:
    with capture_logs() as logs:
        assert await until_ready(Flaky(0, NotReady("")), what="redis", stop=asyncio.Event()) == "done"
    assert logs == []


async def test_a_configuration_error_is_not_waited_out() -> None:
    with pytest.raises(ConfigurationError):
        await until_ready(Flaky(9, ConfigurationError((Problem("A", "1", "no"),))), what="redis", stop=asyncio.Event())


async def test_an_error_that_waiting_does_not_heal_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await until_ready(Flaky(9, ZeroDivisionError()), what="redis", stop=asyncio.Event())


async def test_stop_ends_the_wait_for_another_side() -> None:
    stop = asyncio.Event()
    waiting = asyncio.create_task(until_ready(Flaky(10_000, NotReady("")), what="redis", stop=stop))
    await asyncio.sleep(0.01)
    stop.set()
    async with asyncio.timeout(1):
        assert await waiting is None
