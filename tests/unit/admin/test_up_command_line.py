"""The command line: what there is, and what wrong input gets."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from services.admin.addresses import gateway_url
from services.admin.cli import app
from services.admin.settings import WatchSettings
from services.admin.watch import url_of


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tail", "prices"], "'prices' is no stream to show; choose ticks or enriched"),
        (["tail", "ticks", "--ticker", "aapl"], "--ticker 'aapl': not a ticker, such as AAPL or BRK.B"),
        (["tail", "ticks", "--from", "yesterday"], "--from 'yesterday': give 0, an entry id such as "),
        (["deadletters", "show", "1795-0"], "'1795-0' is no name of a letter, such as 3:1795346662034-0"),
        (["deadletters", "retry"], "give either names, as `tickstream deadletters list` shows them, or --all"),
        (["deadletters", "drop", "0:1-0", "--all", "--yes"], "give either names, "),
        (["deadletters", "drop", "0:1-0", "--reason", "x", "--yes"], "--reason, --ticker and --partition choose among --all"),
        (["deadletters", "drop", "--all"], "nobody can be asked here: --yes deletes without asking"),
        (["deadletters", "retry", "--all", "--set", "price=1"], "--set is for one letter: give its name alone"),
        (["deadletters", "retry", "0:1-0", "--set", "seq=1"], "--set 'seq=1': give FIELD=VALUE, and as the field one of ticker, "),
        (["deadletters", "list", "--ticker", "aapl"], "--ticker 'aapl': not a ticker, such as AAPL or BRK.B"),
        (["deadletters", "list", "--partition", "64"], "--partition 64: from 0 to 63"),
        (["watch", "--tickers", "AAPL,$"], "--tickers '$': not a ticker, such as AAPL or BRK.B"),
        (["watch", "--url", "http://x"], "--url http://x: not a WebSocket URL, such as ws://127.0.0.1:8001/ws/stocks/"),
        (["watch", "--url", "ws://x/?token=geheim"], "--url ws://x/?token=***: a token does not belong into a URL"),
        (["watch", "--url", "ftp://me:geheim@x"], "--url ftp://***@x: not a WebSocket URL"),
    ],
)
def test_wrong_arguments_get_one_line_and_exit_code_2(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(app, arguments, env={"REDIS_URL": "redis://127.0.0.1:1"})
    assert result.exit_code == 2
    assert result.stderr.startswith(words)
    assert result.stderr.count("\n") == 1
    assert not result.stdout


def test_tail_of_an_absent_redis_is_a_clear_error() -> None:
    result = CliRunner().invoke(app, ["tail", "ticks"], env={"REDIS_URL": "redis://me:geheim@127.0.0.1:1"})
    assert result.exit_code == 1
    assert result.stderr.startswith("Redis at redis://***@127.0.0.1:1 does not answer: ")


def test_watch_is_told_where_the_gateway_of_the_environment_is() -> None:
    settings = WatchSettings(gateway_host="0.0.0.0", gateway_port=9)
    assert url_of(settings, "", "") == "ws://127.0.0.1:9/ws/stocks/"
    assert url_of(settings, "", "AAPL, BRK.B,") == "ws://127.0.0.1:9/ws/stocks/?tickers=AAPL,BRK.B"
    assert url_of(settings, "wss://x/y?z=1", "KO") == "wss://x/y?z=1&tickers=KO"


@pytest.mark.parametrize(("host", "shown"), [("::", "[::1]"), ("fe80::1", "[fe80::1]"), ("example.com", "example.com")])
def test_address_to_listen_on_becomes_one_to_connect_to(host: str, shown: str) -> None:
    assert gateway_url(host, 8001) == f"ws://{shown}:8001/ws/stocks/"


def test_help_lists_the_commands() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert all(command in result.stdout for command in ("up", "migrate", "status", "watch", "tail"))


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


def test_help_imports_no_driver() -> None:
    code = "import sys, services.admin.cli; print([name for name in ('asyncpg', 'redis', 'websockets') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert result.stdout == "[]\n"
