"""Ctrl-C for us alone: on a terminal `up` takes a foreground process group of its own, and gives the terminal back.

Without it make, which shares our group, gets the same interrupt and reports an error although we stop in order.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def own_foreground_group() -> Iterator[None]:
    """Take the terminal for the time of the block, if there is one and we are in its foreground."""
    terminal = _terminal_to_take()
    if terminal is None:
        yield
        return
    former = os.getpgrp()
    # A group that is not yet, or no longer, in the foreground would be stopped for touching the terminal.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.setpgid(0, 0)
    try:
        os.tcsetpgrp(terminal, os.getpgrp())
        yield
    finally:
        # Whoever had the terminal may be gone, and the terminal too.
        with suppress(OSError):
            os.tcsetpgrp(terminal, former)


def ignore_suspension() -> None:
    """Ctrl-Z would stop us and not make, which waits for us and never tells the shell; and it would stop all restarts."""
    if sys.stdout.isatty():
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)


def is_in_background() -> bool:
    """Whether standard output is our terminal and somebody else has it, as after `make run &`."""
    with suppress(OSError, ValueError):
        return os.tcgetpgrp(sys.stdout.fileno()) != os.getpgrp()
    return False


def _terminal_to_take() -> int | None:
    """The terminal of standard output, unless we were started in the background or lead the group already."""
    with suppress(OSError, ValueError):
        terminal = sys.stdout.fileno()
        if os.isatty(terminal) and os.tcgetpgrp(terminal) == os.getpgrp() != os.getpid():
            return terminal
    return None
