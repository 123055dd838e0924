"""How a command that shows something until Ctrl-C ends: in order, with exit code 0, whoever wants it to end."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

from services.admin.output import noticing_a_closed_pipe

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_until_interrupted(main: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    """Run `main(stop)` and return its exit code; `stop` is set by a signal, or by a reader that closes its end of the pipe."""
    try:
        return asyncio.run(_run(main))
    except KeyboardInterrupt:  # before it was listened for
        return 0


async def _run(main: Callable[[asyncio.Event], Awaitable[int]]) -> int:
    stop = asyncio.Event()
    for number in ENDING:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with noticing_a_closed_pipe(stop):
        return await main(stop)
