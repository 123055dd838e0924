"""Installs the locked packages into .venv, with the standard library alone: `python scripts/install.py run|dev|node|peers`.

While packages are written `.venv/.installing` exists: an interrupted installation is thrown away, never trusted.
Nothing is done when the lock files are those of the last installation.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

VENV = Path(".venv")
PEERS = Path(".venv-peers")
"""What `make bench` compares with has packages that nothing of ours stands on."""
LOCKS = {
    "run": ["requirements/run.txt"],
    "dev": ["requirements/dev.txt", "requirements/bokeh.txt"],
    "node": ["requirements/node.txt"],
    "peers": ["benchmarks/peers/requirements.txt"],
}
CONTAINS = {"run": ["run"], "dev": ["dev", "run"], "node": ["node"], "peers": ["peers"]}
"""What else is installed once a set is: the development set has every package of the other."""

COMMAND = """\
#!/bin/sh
# -P: a directory "services" where the user happens to stand must not be taken for ours.
exec "$(dirname -- "$0")/python" -P -m services.admin "$@"
"""


class InstallationError(Exception):
    """What went wrong, and what the reader can do."""


def main(wanted: str) -> int:
    """Bring .venv to the state of the lock files; return the exit code."""
    os.chdir(Path(__file__).resolve().parent.parent)
    try:
        with one_at_a_time():
            if not is_current(wanted):
                install(wanted)
    except InstallationError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the next make starts the installation again", file=sys.stderr)
        return 130
    return 0


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold a lock on the checkout, so that `make run` and `make test` together do not write the same files."""
    checkout = os.open(".", os.O_RDONLY)
    try:
        try:
            fcntl.flock(checkout, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another installation in this directory …", flush=True)
            fcntl.flock(checkout, fcntl.LOCK_EX)
        except OSError:
            pass  # some network file systems have no locks
        yield
    finally:
        os.close(checkout)


def is_current(wanted: str) -> bool:
    """Whether `wanted` was installed completely, from the lock files as they are now."""
    with suppress(OSError):
        return not installing(wanted).exists() and stamp(wanted).read_text() == digest(wanted) and runs(python_of(wanted))
    return False


def venv(wanted: str) -> Path:
    """The environment that a set belongs to."""
    return PEERS if wanted == "peers" else VENV


def python_of(wanted: str) -> Path:
    """The Python of that environment."""
    return venv(wanted) / "bin" / "python"


def installing(wanted: str) -> Path:
    """The file that exists while packages are written."""
    return venv(wanted) / ".installing"


def stamp(name: str) -> Path:
    """The file that holds the digest of what was installed."""
    return venv(name) / f".installed-{name}"


def digest(name: str) -> str:
    """Of the lock files of a set, and of this file: how it installs may change too."""
    total = hashlib.sha256(Path(__file__).read_bytes())
    for lock in LOCKS[name]:
        total.update(Path(lock).read_bytes())
    return total.hexdigest()


def runs(python: Path) -> bool:
    """Whether the environment's Python still starts: it is a link to one that may have been removed."""
    check = [str(python), "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    with suppress(OSError):
        return subprocess.run(check, stderr=subprocess.DEVNULL, check=False).returncode == 0
    return False


def install(wanted: str) -> None:
    """Create the environment where needed, then install the packages and, into ours, the `tickstream` command."""
    uv = shutil.which("uv")
    print(f"Installing into {venv(wanted)} (about {2 if uv else 15 if wanted == 'run' else 30} s) …", flush=True)
    started = monotonic()
    venv(wanted).mkdir(exist_ok=True)
    if installing(wanted).exists() or not runs(python_of(wanted)):
        create(wanted)
    installing(wanted).touch()
    packages(uv, python_of(wanted), LOCKS[wanted])
    if venv(wanted) == VENV:
        command(python_of(wanted))
    for name in CONTAINS[wanted]:
        stamp(name).write_text(digest(name))
    installing(wanted).unlink()
    print(f"Installed in {monotonic() - started:.0f} s.", flush=True)


def create(wanted: str) -> None:
    """An empty environment without pip, whatever was there: uv needs no pip, and who needs it adds it."""
    installing(wanted).touch()
    for entry in venv(wanted).iterdir():
        if entry != installing(wanted):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    if not succeeds([sys.executable, "-m", "venv", "--without-pip", str(venv(wanted))]):
        raise InstallationError(f"{sys.executable} could not create {venv(wanted)}")


def packages(uv: str | None, python: Path, locks: list[str]) -> None:
    """Install what the lock files name, every file with its hash; the locks are complete, so nothing is resolved."""
    files = [argument for lock in locks for argument in ("-r", lock)]
    if uv and succeeds([uv, "pip", "install", "-q", "--python", str(python), "--require-hashes", "--no-deps", *files]):
        return
    if uv:
        print("uv could not install the packages; trying pip (about 15 s) …", flush=True)
    if not has_pip(python) and not succeeds([str(python), "-m", "ensurepip", "--default-pip"], quietly=True):
        raise InstallationError("pip is missing: apt install python3-venv (or the like), then make again")
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input", "--no-warn-script-location"]
    if not succeeds([*pip, "--require-hashes", "--no-deps", *files]):
        raise InstallationError("the packages could not be installed (see above); the next make tries again")


def has_pip(python: Path) -> bool:
    """Whether an earlier installation already brought pip."""
    return succeeds([str(python), "-c", "import pip"], quietly=True)


def succeeds(command: list[str], quietly: bool = False) -> bool:
    """Run a command; PIP_USER of the caller's environment would write outside of .venv."""
    output = subprocess.DEVNULL if quietly else None
    environment = {**os.environ, "PIP_USER": "0"}
    return subprocess.run(command, check=False, stdout=output, stderr=output, env=environment).returncode == 0


def command(python: Path) -> None:
    """Make `services`, `shared` and `tickstream_client` importable, and `.venv/bin/tickstream`, by relative paths: a checkout may move.

    Building the project itself would ask an index for the build backend.
    """
    where = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip())
    here = Path(os.path.relpath(Path.cwd(), site.resolve()))
    (site / "tickstream.pth").write_text(f"{here}\n{here / 'clients' / 'python'}\n")
    script = VENV / "bin" / "tickstream"
    script.write_text(COMMAND)
    script.chmod(0o755)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
