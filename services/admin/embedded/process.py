"""Runs a server as a child that ends with us, on a data directory that no other run uses.

On Linux the kernel signals the child when this process dies, however it dies (launch.py asks for it). What slips
through, or ran on another system, is found by its pid file at the next start and stopped first.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from services.admin.embedded.errors import DataUnusable, ServerFailed

LAUNCHER = Path(__file__).with_name("launch.py")
START_SECONDS = 120.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.01
LAST_LINES = 12

# Settings of the user's own clients (PGOPTIONS, PGDATA) and secrets of the services are not for a server.
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")

# The kernel sends the death signal when the thread that started the child ends, so that thread must live as long as we do.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedded-servers")


@dataclass(frozen=True)
class Account:
    """Whom a child runs as. With `reaches_all`, directories that are closed to that user are open to the child."""

    uid: int
    gid: int
    reaches_all: bool = False


@dataclass(frozen=True)
class Launch:
    """A command (absolute path first), the signal that ends it in order, and whom it runs as (None: as we do)."""

    command: tuple[str, ...]
    stop_signal: signal.Signals
    account: Account | None = None


def spawn(launch: Launch, log_file: Path, *, pid_file: Path | None = None, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Start the command in a session of its own, where a Ctrl-C of our terminal does not reach it."""
    account = launch.account
    arguments = (
        str(os.getpid()),
        str(launch.stop_signal.value),
        str(pid_file or ""),
        f"{account.uid}:{account.gid}" if account else "",
        "reach" if account and account.reaches_all else "",
    )

    def start() -> subprocess.Popen[bytes]:
        with log_file.open("ab") as log:
            return subprocess.Popen(
                (sys.executable, "-I", "-S", str(LAUNCHER), *arguments, *launch.command),
                stdin=stdin,
                stdout=log,
                stderr=log,
                env=environment(),
                start_new_session=True,
            )

    return _starter.submit(start).result()


def environment() -> dict[str, str]:
    """The few variables that a server needs of ours."""
    return {"LC_ALL": "C"} | {name: os.environ[name] for name in PASSED_ON if name in os.environ}


def end(process: subprocess.Popen[bytes], stop_signal: signal.Signals, timeout_seconds: float) -> None:
    """Stop in order, or by force after `timeout_seconds`; returns when the child is gone."""
    process.send_signal(stop_signal)
    try:
        process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run_to_end(name: str, launch: Launch, log_file: Path, text: str = "") -> None:
    """Run a command that ends by itself, with `text` as its input; ServerFailed if it ends badly."""
    process = spawn(launch, log_file, stdin=subprocess.PIPE)
    try:
        process.communicate(text.encode())
    except BaseException:
        end(process, launch.stop_signal, STOP_SECONDS)
        raise
    if process.returncode != 0:
        raise ServerFailed(name, f"ended with {described(process.returncode)}", log_file, last_lines(log_file))


def described(status: int) -> str:
    """An exit status in words."""
    return f"status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"


def last_lines(log_file: Path) -> str:
    """The end of a log, indented."""
    try:
        lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        lines = []
    return "\n".join(f"  {line}" for line in lines[-LAST_LINES:]) or "  (nothing)"


def command_line(pid: int) -> str:
    """The command line of a process, words separated by spaces; empty if there is none such."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    ps = shutil.which("ps") or "/bin/ps"
    return subprocess.run((ps, "-ww", "-o", "command=", "-p", str(pid)), capture_output=True, text=True, check=False).stdout


def read_pid(pid_file: Path) -> int | None:
    """The process id in the first line of the file; None if there is none."""
    try:
        return int(pid_file.read_text(encoding="utf-8").split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def serves(pid: int, programs: tuple[str, ...], data_dir: Path) -> bool:
    """Whether that process is one of these programs on data below `data_dir`: ids are used again by others."""
    line = command_line(pid)
    is_program = re.search(rf"(?:^|/)(?:{'|'.join(map(re.escape, programs))}) ", line)
    return is_program is not None and f"{data_dir}/" in line


def stop_leftover(pid_file: Path, programs: tuple[str, ...], data_dir: Path, stop_signal: signal.Signals) -> None:
    """Stop the server that an earlier run left behind on this data, if it still runs; the file is gone afterwards."""
    pid = read_pid(pid_file)
    if pid is not None:
        for sign in (stop_signal, signal.SIGKILL):
            deadline = time.monotonic() + STOP_SECONDS
            while serves(pid, programs, data_dir) and time.monotonic() < deadline:
                _signal_if_there(pid, sign)
                time.sleep(POLL_SECONDS * 5)
    pid_file.unlink(missing_ok=True)


def _signal_if_there(pid: int, sign: signal.Signals) -> None:
    try:
        os.kill(pid, sign)
    except ProcessLookupError:
        return


def hold(data_dir: Path) -> int:
    """Create the directory and lock it for us alone until the returned descriptor is closed, at the latest by our death."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataUnusable(data_dir, f"{error.strerror}; it must be a directory of your own") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise DataUnusable(data_dir, "another run is using it; stop that one first") from None
    return descriptor


class EmbeddedServer(ABC):
    """A server on loopback and the directory of its data. Use as `with`; start and stop may be called from any thread."""

    name: ClassVar[str]
    programs: ClassVar[tuple[str, ...]]
    stop_signal: ClassVar[signal.Signals]

    flavour = "not started"
    """Which server it is, its version and where it comes from."""
    why = "not started"
    """Why this one was chosen."""

    def __init__(self, data_dir: Path, port: int) -> None:
        # Without symbolic links: a leftover is known by this path in its command line.
        self.data_dir = data_dir.resolve()
        self.port = port
        self.log_file = self.data_dir / "server.log"
        self.pid_file = self.data_dir / "server.pid"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        # A stop that comes while another thread starts the server must find what was started.
        self._one_at_a_time = threading.RLock()

    @abstractmethod
    def _prepare(self) -> Launch:
        """Choose the binary and make the data directory ready."""

    @abstractmethod
    def _is_ready(self, pid: int) -> bool:
        """Whether the server answers, and is the process `pid`: somebody else may have the port."""

    @abstractmethod
    def _complete(self) -> None:
        """Do what is left once the server answers."""

    def start(self) -> None:
        """Return when the server answers. Raises EmbeddedError, and then nothing is left running."""
        with self._one_at_a_time:
            if self._lock is not None:
                raise RuntimeError(f"{self.name} was started already")
            self._lock = hold(self.data_dir)
            try:
                stop_leftover(self.pid_file, self.programs, self.data_dir, self.stop_signal)
                self._keep_one_old_log()
                self._run(self._prepare())
                self._complete()
            except OSError as error:
                self.stop()
                raise DataUnusable(self.data_dir, str(error)) from error
            except BaseException:
                self.stop()
                raise

    def stop(self, timeout_seconds: float = STOP_SECONDS) -> None:
        """End the server in order, by force after `timeout_seconds`; does nothing if it does not run."""
        with self._one_at_a_time:
            if self._process is not None:
                end(self._process, self.stop_signal, timeout_seconds)
                self.pid_file.unlink(missing_ok=True)
            self._let_go()

    def kill(self) -> None:
        """End the server as a crash would (kill -9); `start` may follow."""
        with self._one_at_a_time:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
            self._let_go()

    @property
    def is_running(self) -> bool:
        """Whether the server was started and has not ended since."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the started server."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not started")
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _run(self, launch: Launch) -> None:
        deadline = time.monotonic() + START_SECONDS
        self._process = spawn(launch, self.log_file, pid_file=self.pid_file)
        while not self._is_ready(self._process.pid):
            if self._process.poll() is not None:
                raise self._failed(f"did not start (port {self.port}): it ended with {described(self._process.returncode)}")
            if time.monotonic() > deadline:
                raise self._failed(f"did not answer within {START_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)

    def _failed(self, what: str) -> ServerFailed:
        return ServerFailed(self.name, what, self.log_file, last_lines(self.log_file))

    def _keep_one_old_log(self) -> None:
        if self.log_file.exists():
            self.log_file.replace(self.log_file.with_suffix(".log.1"))

    def _let_go(self) -> None:
        self._process = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
