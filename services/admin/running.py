"""What a running `up` tells other commands in the same directory: that it runs, and how to reach its servers."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

DATA_DIR = Path(".data")
LOCK = "up.lock"
ADDRESSES = "running.json"


class AlreadyRunning(Exception):
    """Another `up` uses this directory."""


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Hold the directory for the time of the block; raise `AlreadyRunning` if another process holds it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    lock = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(lock, data_dir)
        try:
            os.ftruncate(lock, 0)
            os.write(lock, str(os.getpid()).encode())
            yield
        finally:
            (data_dir / ADDRESSES).unlink(missing_ok=True)
    finally:
        os.close(lock)


def _take(lock: int, data_dir: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
        where = data_dir.absolute().parent
        raise AlreadyRunning(
            f"`make run` is running in {where} already (process {holder}); stop it first, or run in another directory"
        ) from None


def publish(data_dir: Path, addresses: Mapping[str, str]) -> None:
    """Let other commands find servers and gateway by variable; the file is ours alone, as a URL may hold a password."""
    file = data_dir / ADDRESSES
    with suppress(FileNotFoundError):
        file.unlink()
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        json.dump(dict(addresses), stream)


def adopt(data_dir: Path = DATA_DIR) -> None:
    """Complete the environment by the servers and the gateway of the `up` that runs in this directory; what is set stays."""
    with suppress(OSError, ValueError):
        found = json.loads((data_dir / ADDRESSES).read_text(encoding="utf-8"))
        if _is_set("REDIS_URL"):
            found.pop("REDIS_CLUSTER", None)  # it tells what kind that URL is, and this is another
        for variable in found.keys() - set(filter(_is_set, found)):
            os.environ[variable] = found[variable]


def _is_set(variable: str) -> bool:
    return bool(os.environ.get(variable) or os.environ.get(f"{variable}_FILE"))
