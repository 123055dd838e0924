"""How a service lives: read the environment, run until a signal, stop intake, drain within the grace, exit with the right code.

Exit codes: 0 after SIGTERM, SIGINT or a finished job, 2 for a bad configuration (one line per bad variable), 1 otherwise.
A second signal exits at once.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import nullcontext
from typing import Any, NoReturn, TypeVar

import structlog

from shared import crash_points
from shared.backoff import Backoff
from shared.errors import ConfigurationError
from shared.logging import configure_logging
from shared.observe import observing
from shared.processes import REFUSED
from shared.redis.client import TRY_AGAIN
from shared.settings import Settings, read_settings

GRACE_SECONDS = 9.0
"""Below the ten seconds after which an orchestrator kills."""
CANCEL_SECONDS = 0.9
"""For what is cancelled after the grace; what ignores that is left behind."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)

S = TypeVar("S", bound=Settings)
T = TypeVar("T")
Serve = Callable[[S, asyncio.Event], Awaitable[None]]
log = structlog.get_logger(__name__)


def run_service(
    name: str,
    model: type[S],
    serve: Serve[S],
    *,
    checks: Sequence[str] | Callable[[S], Sequence[str]] = ("leases",),
    is_observed: bool = True,
    is_hurried: bool = True,
) -> NoReturn:
    """Run `serve(settings, stop)` as the service `name` and exit; `stop` is set by the first SIGTERM or SIGINT.

    `checks` are what `/readyz` waits to be confirmed by the service's loops, beside its servers; without `is_observed`
    there is no METRICS_PORT. Without `is_hurried` a second signal changes nothing: somebody else decides when it has been enough.
    """
    try:
        settings = read_settings(model)
    except ConfigurationError as error:
        _refuse(error)
    # Outside of a `try`: unless it is configured, structlog shows local variables, and they may hold secrets.
    configure_logging(name, settings)
    crash_points.arm(crash_points.parse_fault(os.environ.get(crash_points.VARIABLE, "")))
    try:
        named = checks(settings) if callable(checks) else checks
        _run(_main(name, settings, serve, named if is_observed else None, is_hurried=is_hurried))
    except ConfigurationError as error:
        _refuse(error)
    except KeyboardInterrupt:
        sys.exit(0)
    except Exception:
        log.exception("service failed")
        sys.exit(1)
    sys.exit(0)


def _refuse(error: ConfigurationError) -> NoReturn:
    if error.problems:  # else another process has said them
        print(error, file=sys.stderr)
    sys.exit(REFUSED)


def _run(main: Coroutine[Any, Any, None]) -> None:
    try:
        from uvloop import new_event_loop as loop_factory
    except ImportError:  # where uvloop does not install, the standard loop serves
        asyncio.run(main)
        return
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main)


async def _main(name: str, settings: S, serve: Serve[S], checks: Sequence[str] | None, *, is_hurried: bool) -> None:
    stop = asyncio.Event()
    _stop_on_signals(stop, is_hurried=is_hurried)
    log.info("starting", pid=os.getpid())
    try:
        async with nullcontext() if checks is None else observing(name, settings, stop, checks):
            await run(serve(settings, stop), stop=stop)
    except BaseExceptionGroup as group:
        raise first_cause(group) from group
    finally:
        # The interpreter resets its handlers when it ends: a signal that comes then would give the process another exit code.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    log.info("stopped")


def _stop_on_signals(stop: asyncio.Event, *, is_hurried: bool) -> None:
    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            if not is_hurried:
                return
            log.warning("second signal, exiting at once", signal=number.name)
            os._exit(1)
        log.info("stopping", signal=number.name)
        stop.set()

    tell_signals(SIGNALS, on_signal)


def tell_signals(numbers: Sequence[signal.Signals], on_signal: Callable[[signal.Signals], None]) -> None:
    """Call `on_signal(number)` in the running loop once for each signal that comes.

    Not by `loop.add_signal_handler`: uvloop hears of a signal by its handler and by its pipe, and when one comes while
    it reads the byte of another from the pipe, it tells it by each of them. A second SIGTERM would be a wish nobody had.
    """
    loop = asyncio.get_running_loop()

    def on_any(number: int, _: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(on_signal, signal.Signals(number))

    for number in numbers:
        signal.signal(number, on_any)


async def run(main: Awaitable[None], *, stop: asyncio.Event, grace_seconds: float = GRACE_SECONDS) -> None:
    """Await `main`; once `stop` is set, give it the grace to drain and then cancel it."""
    task = asyncio.ensure_future(main)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await asyncio.wait({task}, timeout=grace_seconds)
        if not task.done():
            log.error("not drained within the grace, cancelling", grace_seconds=grace_seconds)
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_SECONDS)
    finally:
        stopped.cancel()
        if not task.done():
            task.cancel()
    if task.cancelled():
        if not stop.is_set():
            raise RuntimeError("the work of the service was cancelled, and nobody had asked for that")
    elif task.done():
        task.result()


def first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """A configuration error if there is one within the group, whoever raised it, else its first plain exception."""
    configuration, others = group.split(ConfigurationError)
    error: BaseException = configuration or others or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def wait_or_stop(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for `seconds` or until `stop` is set; return whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
    return stop.is_set()


async def result_or_stop(doing: "asyncio.Future[T]", stop: asyncio.Event) -> T | None:
    """Await what is being done; None, and it is given up, once `stop` is set: a server that hangs must not hold up the end."""
    stopped = asyncio.ensure_future(stop.wait())
    try:
        waited: set[asyncio.Future[Any]] = {doing, stopped}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        return None if stop.is_set() else doing.result()
    finally:
        stopped.cancel()
        await give_up(doing)


async def do_all(works: Iterable[Awaitable[None]]) -> None:
    """Await all of some works, at least one; once one has failed, give up the others and raise its error, of several the `first_cause`.

    Not by a `TaskGroup`, in a task that goes on after that: before Python 3.13 it may leave its task counted as being cancelled, and with
    the Python 3.11.2 of Debian 12 every `asyncio.timeout` that expires in such a task then ends it.
    """
    doing = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(doing, return_when=asyncio.FIRST_EXCEPTION)
        if errors := [error for each in done if (error := each.exception()) is not None]:
            raise first_cause(BaseExceptionGroup("works that failed at once", errors))
    finally:
        for each in doing:
            each.cancel()
        for each in doing:
            await see_off(each)


async def give_up(doing: "asyncio.Future[Any] | None") -> None:
    """Cancel what is being done, and await its end."""
    if doing is not None:
        doing.cancel()
        await see_off(doing)


async def see_off(doing: "asyncio.Future[Any] | None") -> None:
    """Await the end of what is being done, whatever it is; looked at here, an error is not reported once more."""
    if doing is not None:
        await asyncio.wait({doing})
        if not doing.cancelled():
            doing.exception()


async def until_ready(
    attempt: Callable[[], Awaitable[T]], *, what: str, stop: asyncio.Event, away: tuple[type[Exception], ...] = TRY_AGAIN
) -> T | None:
    """Repeat `attempt` with back-off while the other side is away or not ready, and say so once; None if stopped first."""
    backoff = Backoff()
    while not stop.is_set():
        try:
            result = await result_or_stop(asyncio.ensure_future(attempt()), stop)
        except away as error:
            if backoff.failures == 0:
                log.warning("waiting", what=what, reason=str(error) or type(error).__name__)
            if await wait_or_stop(stop, backoff.next_seconds()):
                return None
        else:
            if backoff.failures and not stop.is_set():
                log.info("ready", what=what, tries=backoff.failures + 1)
            return result
    return None
