"""Standard output as interactive commands need it: what it can show, and an end in order when nobody reads it any more."""

import asyncio
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def is_on_terminal() -> bool:
    """Whether standard output is a terminal that knows more than lines of text."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def is_coloured() -> bool:
    """Whether colours are wanted on standard output, see https://no-color.org."""
    return is_on_terminal() and not os.environ.get("NO_COLOR")


def leave(is_gone: asyncio.Event) -> None:
    """Nobody reads any more: say so, and write to nowhere from now on, also when the interpreter empties its buffers."""
    is_gone.set()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@contextmanager
def noticing_a_closed_pipe(is_gone: asyncio.Event) -> Iterator[None]:
    """Set `is_gone` as soon as the reading end of standard output is closed, also while there is nothing to write."""
    loop, output = asyncio.get_running_loop(), _pipe()

    def on_readable() -> None:
        # Nothing can be read from this end: what makes it readable is that the other one is gone.
        is_gone.set()
        loop.remove_reader(output)

    if output >= 0:
        # Where the system cannot watch it, the next write tells.
        with suppress(OSError):
            loop.add_reader(output, on_readable)
    try:
        yield
    finally:
        if output >= 0:
            loop.remove_reader(output)
            os.close(output)


def _pipe() -> int:
    """A file descriptor of our own of the pipe that standard output is; -1 if it is none."""
    with suppress(OSError, ValueError):
        if stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
            return os.dup(sys.stdout.fileno())
    return -1
