"""The command line: what there is, what comes later, and what wrong input gets."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from services.admin.cli import app


@pytest.mark.parametrize(
    "arguments", [["watch"], ["tail", "ticks", "--ticker", "AAPL"], ["deadletters", "retry", "1-0"], ["tail", "--help"]]
)
def test_later_commands_are_refused_with_any_arguments(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert result.stderr == f"tickstream {arguments[0]}: not available in this version\n"


def test_help_lists_the_commands() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert all(command in result.stdout for command in ("up", "migrate", "status"))


def test_version_is_shown() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith("tickstream 0.")


def test_each_bad_variable_gets_one_line_and_secrets_are_hidden() -> None:
    environment = {"PARTITIONS": "0", "SCALE": "api=2", "REDIS_URL": "http://user:geheim@x", "METRICS_PORT": ""}
    result = CliRunner().invoke(app, ["up"], env=environment)
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert {line.partition("=")[0] for line in lines} == {"PARTITIONS", "SCALE", "REDIS_URL"}
    assert len(lines) == 3
    assert "geheim" not in result.stderr


def test_status_of_an_absent_redis_is_a_clear_error() -> None:
    result = CliRunner().invoke(app, ["status"], env={"REDIS_URL": "redis://me:geheim@127.0.0.1:1"})
    assert result.exit_code == 1
    assert result.stderr.startswith("Redis at redis://***@127.0.0.1:1 does not answer: ")
    assert "geheim" not in result.stderr


def test_api_is_refused() -> None:
    result = subprocess.run([sys.executable, "-m", "services.api"], capture_output=True, text=True, timeout=30, check=False)
    assert (result.returncode, result.stderr) == (2, "services.api: not available in this version\n")


def test_help_imports_no_driver() -> None:
    code = "import sys, services.admin.cli; print([name for name in ('asyncpg', 'redis', 'websockets') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert result.stdout == "[]\n"
