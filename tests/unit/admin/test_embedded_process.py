import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.admin.embedded import DataUnusable, ServerFailed, find_free_port, is_port_free, ports
from services.admin.embedded.process import (
    LAUNCHER,
    Launch,
    command_line,
    described,
    environment,
    hold,
    last_lines,
    read_pid,
    run_to_end,
    serves,
    stop_leftover,
)

PROGRAMS = ("redis-server", "valkey-server")


def test_listening_port_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not is_port_free("127.0.0.1", listener.getsockname()[1])


def test_found_port_is_free_and_no_number_of_an_outgoing_connection() -> None:
    port = find_free_port()
    assert is_port_free("127.0.0.1", port)
    assert 20_000 <= port < 32_000


def test_a_port_is_not_found_twice_while_nobody_listens_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "LAST_PORT", ports.FIRST_PORT + 199)
    found = [find_free_port() for _ in range(60)]
    assert len(set(found)) == len(found)


def test_second_holder_of_a_data_directory_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    held = hold(tmp_path)
    with pytest.raises(DataUnusable, match="another run is using it"):
        hold(tmp_path)
    os.close(held)
    os.close(hold(tmp_path))


def test_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataUnusable, match="file/redis cannot be used: Not a directory"):
        hold(tmp_path / "file" / "redis")


@pytest.mark.parametrize("text", ["", "no number\n", "12x"])
def test_broken_pid_file_names_no_process(tmp_path: Path, text: str) -> None:
    file = tmp_path / "server.pid"
    file.write_text(text)
    assert read_pid(file) is None


def test_pid_is_the_first_line(tmp_path: Path) -> None:
    file = tmp_path / "postmaster.pid"
    file.write_text("4711\n/data\n")
    assert read_pid(file) == 4711


def test_process_that_is_not_the_server_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "server.pid"
    # It has the data directory in its command line, as an editor of the log would.
    with subprocess.Popen([sys.executable, "-c", "input()", f"{tmp_path}/server.log"], stdin=subprocess.PIPE) as stranger:
        file.write_text(f"{stranger.pid}\n")
        while str(tmp_path) not in command_line(stranger.pid):
            time.sleep(0.001)
        stop_leftover(file, PROGRAMS, tmp_path, signal.SIGTERM)
        assert stranger.poll() is None
    assert not file.exists()


def test_server_of_other_data_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "/usr/bin/valkey-server --dir /home/a/.data/redis/valkey-9 "
    monkeypatch.setattr("services.admin.embedded.process.command_line", lambda pid: line)
    assert serves(1, PROGRAMS, Path("/home/a/.data/redis"))
    assert not serves(1, PROGRAMS, Path("/home/a/.data/red"))
    assert not serves(1, PROGRAMS, Path("/home/b/.data/redis"))
    assert not serves(1, ("postgres",), Path("/home/a/.data/redis"))


def test_command_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    script = "i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); done; exit 3"
    with pytest.raises(ServerFailed) as caught:
        run_to_end("initdb", Launch(("/bin/sh", "-c", script), signal.SIGTERM), log)
    text = str(caught.value)
    assert text.startswith(f"initdb ended with status 3; the last lines of {log}:\n  line 28\n")
    assert text.endswith("\n  line 39")


def test_input_of_a_command_reaches_it_and_no_log(tmp_path: Path) -> None:
    log, got = tmp_path / "server.log", tmp_path / "got"
    run_to_end("reader", Launch(("/bin/sh", "-c", f"cat > '{got}'"), signal.SIGTERM), log, "secret\n")
    assert got.read_text() == "secret\n"
    assert log.read_text() == ""


def test_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "none") == "  (nothing)"


def test_end_by_a_signal_is_named() -> None:
    assert described(-9) == "signal SIGKILL"
    assert described(1) == "status 1"


def test_secrets_and_client_settings_are_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINNHUB_API_KEY", "secret")
    monkeypatch.setenv("PGOPTIONS", "-c search_path=x")
    assert set(environment()) <= {"LC_ALL", "PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR"}


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells of a parent's death only on Linux")
def test_server_whose_parent_died_before_it_could_ask_does_not_start(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    started = tmp_path / "started"
    command = [sys.executable, "-I", "-S", str(LAUNCHER), str(gone.pid), "15", "", "", "", "/bin/sh", "-c", f"touch '{started}'"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "is gone" in answer.stderr
    assert not started.exists()
