"""Services as processes that begin in milliseconds: each is forked from a server that has imported all of them before.

Most of a start is importing: half a second of the processor, which tests that start a hundred services cannot spend.
"""

import multiprocessing
import os
import runpy
import sys
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

SERVICES = ("fetcher", "analyzer", "persister", "gateway")
PRELOADED = (__name__, "uvloop", *(f"services.{name}.__main__" for name in (*SERVICES, "api")))


def fork_server() -> ForkServerContext:
    """The one of this test process; it ends with it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def become(command: tuple[str, ...], environment: dict[str, str], log_file: str) -> None:
    """Be `python -m <command>` in an environment, with its output in a file."""
    module, *_ = command
    os.environ.clear()
    os.environ.update(environment)
    log = os.open(log_file, os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = list(command)
    sys.modules.pop(f"{module}.__main__", None)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


class ForkedProcess:
    """What a test asks of a `subprocess.Popen`, of a process that the fork server started."""

    def __init__(self, command: tuple[str, ...], environment: dict[str, str], log_file: Path) -> None:
        """Begin; `log_file` gets the output, and must be there."""
        self._process: ForkServerProcess = fork_server().Process(target=become, args=(command, environment, str(log_file)))
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        return self._process.exitcode

    def wait(self) -> int:
        """Wait for its end."""
        wait([self._process.sentinel])
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)
