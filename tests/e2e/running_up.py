"""`tickstream up` and `make run` as a user starts them, in a directory of their own, and what they leave behind."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from websockets.sync.client import connect

from services.admin.embedded import find_free_port
from services.admin.ports import remember

CHECKOUT = Path(__file__).parents[2]
PATIENCE_SECONDS = 60.0
MARK = "TICKSTREAM_TEST_MARK"

OURS = (
    "REDIS_URL",
    "DATABASE_URL",
    "SCALE",
    "SOURCE",
    "TICKERS",
    "PARTITIONS",
    "SMA_PERIOD",
    "GATEWAY_PORT",
    "GATEWAY_HOST",
    "API_PORT",
    "API_HOST",
    "METRICS_PORT",
    "LOG_FORMAT",
    "FINNHUB_API_KEY",
    "COLUMNS",
    "LINES",
)
"""Variables that a developer may have set, and that a test must not inherit."""

UP = (sys.executable, "-m", "services.admin", "up")


def environment(directory: Path, gateway_port: int, **variables: str) -> dict[str, str]:
    """A user's environment, with free ports for all servers: several tests run at the same time."""
    data_dir = directory / ".data"
    data_dir.mkdir(parents=True, exist_ok=True)
    if not (data_dir / "ports.json").exists():
        for server in ("redis", "postgresql"):
            remember(data_dir / "ports.json", server, find_free_port())
    inherited = {
        name: value for name, value in os.environ.items() if name not in OURS and not name.startswith(("PYTEST", "MAKE", "MFLAGS"))
    }
    own = {
        "PYTHONPATH": str(CHECKOUT),
        "API_PORT": str(find_free_port()),
        "GATEWAY_PORT": str(gateway_port),
        "METRICS_PORT": "0",
        "SIMULATED_SEED": "7",
        MARK: uuid4().hex,
    }
    return {**inherited, **own, **variables}


class Up:
    """A started `up`: its lines, its clients, its end."""

    def __init__(self, directory: Path, variables: Mapping[str, str], command: tuple[str, ...] = UP) -> None:
        self.directory = directory
        self.variables = variables
        self.process = subprocess.Popen(
            command, cwd=directory, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()

    def says(self, words: str, after: int = 0) -> str:
        """Wait for a line with these words among those after the first `after`, and return it."""
        with self._changed:
            found = self._changed.wait_for(lambda: [line for line in self.lines[after:] if words in line], PATIENCE_SECONDS)
        assert found, f"{words!r} was not said:\n" + "\n".join(self.lines)
        return found[0]

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the end; return the exit code."""
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def pid_of(self, service: str) -> int:
        """The process id of a running service."""
        (pid,) = [pid for pid, command in left_behind(self.directory, self.variables).items() if f"services.{service}" in command]
        return pid

    def prices(self, port: str | None = None) -> Iterator[dict[str, Any]]:
        """The messages of the gateway, as a client that knows only the contract."""
        self.says("| ready")
        with connect(f"ws://127.0.0.1:{port or self.variables['GATEWAY_PORT']}/ws/stocks/", proxy=None, close_timeout=1) as client:
            while True:
                yield json.loads(client.recv(PATIENCE_SECONDS))


class Terminal:
    """A command on a terminal of its own, as an interactive user starts it."""

    TAKE_IT = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"

    def __init__(self, directory: Path, variables: Mapping[str, str], command: tuple[str, ...], rows: int = 24, columns: int = 80) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        # Not pty.fork: this process may have threads.
        take_it = (sys.executable, "-c", self.TAKE_IT, *command)
        self.process = subprocess.Popen(
            take_it, cwd=directory, env=variables, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)

    def shows(self, until: str = "") -> str:
        """Read what is shown until these words, or to the end."""
        shown = ""
        while not until or until not in shown:
            try:
                shown += os.read(self._ours, 65536).decode(errors="replace")
            except OSError:  # how Linux tells the end
                break
        assert until in shown, f"{until!r} was not shown:\n{shown}"
        return shown

    def press(self, keys: str) -> None:
        """Type on the keyboard of the terminal."""
        os.write(self._ours, keys.encode())

    def close(self) -> None:
        """Close the window."""
        if self._ours >= 0:
            os.close(self._ours)
        self._ours = -1


@contextmanager
def on_terminal(
    directory: Path, variables: Mapping[str, str], command: tuple[str, ...] = UP, rows: int = 24, columns: int = 80
) -> Iterator[Terminal]:
    """Start a command on a terminal; whatever a failing test leaves behind is ended."""
    terminal = Terminal(directory, variables, command, rows, columns)
    try:
        yield terminal
    finally:
        terminal.close()
        if terminal.process.poll() is None:
            terminal.process.kill()
            terminal.process.wait()
        _clean_up(directory, variables)


def left_behind(directory: Path, variables: Mapping[str, str]) -> dict[int, str]:
    """Processes that `up` started in `directory` and that still run: those with its mark, and servers on its data."""
    return dict(_processes(variables[MARK], str(directory / ".data")))


def gone(directory: Path, variables: Mapping[str, str]) -> bool:
    """Whether nothing is left, or goes within moments: orphans are told by the kernel and need time to stop."""
    deadline = time.monotonic() + 15
    while left_behind(directory, variables) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not left_behind(directory, variables)


def _clean_up(directory: Path, variables: Mapping[str, str]) -> None:
    for pid in left_behind(directory, variables):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _processes(mark: str, data_dir: str) -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                surroundings = (entry / "environ").read_bytes() if os.access(entry / "environ", os.R_OK) else b""
                if mark.encode() in surroundings or data_dir in command:
                    yield int(entry.name), command


@contextmanager
def running(directory: Path, variables: Mapping[str, str], command: tuple[str, ...] = UP) -> Iterator[Up]:
    """Start `up`; whatever a failing test leaves behind is ended."""
    up = Up(directory, variables, command)
    try:
        yield up
    finally:
        up.process.kill()
        up.wait()
        _clean_up(directory, variables)
