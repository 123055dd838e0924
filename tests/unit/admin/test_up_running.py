"""One `up` per directory, and what others in the directory learn of it."""

import os
from pathlib import Path

import pytest

from services.admin.running import AlreadyRunning, adopt, only_one, publish


def test_second_run_in_a_directory_is_refused_and_names_the_first(tmp_path: Path) -> None:
    with (
        only_one(tmp_path / ".data"),
        pytest.raises(AlreadyRunning, match=f"in {tmp_path} already .process {os.getpid()}"),
        only_one(tmp_path / ".data"),
    ):
        pass


def test_directory_is_free_after_the_end(tmp_path: Path) -> None:
    for _ in range(2):
        with only_one(tmp_path):
            pass


def test_other_commands_find_the_servers_of_a_running_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "")
    monkeypatch.setenv("DATABASE_URL", "postgresql://mine/x")
    monkeypatch.setenv("GATEWAY_PORT", "")
    with only_one(tmp_path):
        publish(tmp_path, {"REDIS_URL": "redis://127.0.0.1:1", "DATABASE_URL": "postgresql://theirs/x", "GATEWAY_PORT": "9001"})
        with pytest.raises(AlreadyRunning), only_one(tmp_path):
            pass
        assert (tmp_path / "running.json").stat().st_mode & 0o077 == 0
        adopt(tmp_path)
    assert os.environ["REDIS_URL"] == "redis://127.0.0.1:1"
    assert os.environ["GATEWAY_PORT"] == "9001"
    assert os.environ["DATABASE_URL"] == "postgresql://mine/x"
    assert not (tmp_path / "running.json").exists()


def test_without_a_running_up_nothing_is_adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    adopt(tmp_path)
    assert "REDIS_URL" not in os.environ
