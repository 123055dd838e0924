"""What the environment may say: one line per bad variable, secrets never shown, nothing ignored that is not available yet."""

import os
from pathlib import Path

import pytest

from services.admin.settings import UpSettings
from services.analyzer.settings import AnalyzerSettings
from services.api.settings import ApiSettings
from services.fetcher.settings import FetcherSettings
from services.gateway.settings import GatewaySettings
from services.persister.settings import PersisterSettings
from shared.errors import ConfigurationError
from shared.settings import DEFAULT_TICKERS, NOT_AVAILABLE, SECRETS, PostgresqlUrl, Settings, TickerList, read_settings

TABLE = """
REDIS_URL REDIS_CLUSTER DATABASE_URL PARTITIONS SMA_PERIOD TICKERS SOURCE FINNHUB_API_KEY FINNHUB_BASE_URL FINNHUB_WS_URL
FETCH_INTERVAL_SECONDS MARKET_HOURS EXCHANGE REPLAY_FILE REPLAY_SPEED REPLAY_ID SIMULATED_RATE SIMULATED_SEED LEASE_SECONDS
STREAM_CAP REPLAY_WINDOW_SECONDS RETENTION_DAYS GATEWAY_HOST GATEWAY_PORT GATEWAY_PUBLIC_URL GATEWAY_WORKERS
GATEWAY_FLUSH_SECONDS GATEWAY_AUTH GATEWAY_JWT_KEY GATEWAY_ALLOWED_ORIGINS GATEWAY_MAX_CONNECTIONS
GATEWAY_MAX_CONNECTIONS_PER_IP API_HOST API_PORT METRICS_HOST METRICS_PORT LOG_LEVEL LOG_FORMAT
"""
CONTRACT = TABLE.split()
"""The variables of the contract's table."""

REDIS = "redis://user:hunter22@localhost:6379/0"
DATABASE = "postgresql://user:hunter33@localhost/ticks"


class Everything(Settings):
    """A service that needs whatever the shared types offer."""

    database_url: PostgresqlUrl
    tickers: TickerList = tuple(DEFAULT_TICKERS.split(","))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which only the two URLs are set."""
    for name in (*CONTRACT, *SECRETS):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    monkeypatch.setenv("REDIS_URL", REDIS)
    monkeypatch.setenv("DATABASE_URL", DATABASE)
    return monkeypatch


def refused() -> list[str]:
    with pytest.raises(ConfigurationError) as error:
        read_settings(Everything)
    assert error.value.__cause__ is None
    assert "hunter" not in repr(error.value)
    return str(error.value).split("\n")


def test_the_defaults_are_those_of_the_contract() -> None:
    found = read_settings(Everything)
    assert (found.partitions, found.sma_period, found.lease_seconds, found.stream_cap) == (4, 5, 5, 100_000)
    assert (found.log_level, found.log_format) == ("info", None)
    assert (found.metrics_host, found.metrics_port) == ("127.0.0.1", 0)
    assert read_settings(UpSettings).metrics_port == 9101
    assert ",".join(found.tickers) == "AAPL,MSFT,AMZN,GOOGL,TSLA,META,NVDA,NFLX,BRK.B,JNJ,V,PG,DIS,JPM,KO"


def test_every_variable_that_is_not_available_yet_is_one_of_the_contract() -> None:
    assert set(NOT_AVAILABLE) <= set(CONTRACT)


def test_every_variable_of_the_contract_is_either_read_by_a_service_or_refused() -> None:
    models = (AnalyzerSettings, ApiSettings, FetcherSettings, GatewaySettings, PersisterSettings, UpSettings)
    read = {name.upper() for model in models for name in model.model_fields}
    assert set(CONTRACT) - read == set(NOT_AVAILABLE)
    assert read - set(CONTRACT) == {"SCALE", "API_CORS_ORIGINS", "GATEWAY_JWT_AUDIENCE", "GATEWAY_TOKEN", "GATEWAY_TRUSTED_PROXIES"}


@pytest.mark.parametrize("name", NOT_AVAILABLE)
def test_a_variable_that_is_not_available_yet_is_refused_by_name(name: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv(name, "hunter44")
    shown = "(hidden)" if name in SECRETS else "hunter44"
    with pytest.raises(ConfigurationError) as error:
        read_settings(Settings)
    assert str(error.value) == f"{name}={shown}: not available in this version"


@pytest.mark.parametrize("name", NOT_AVAILABLE)
def test_its_file_form_is_refused_too(name: str, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter44")
    environment.setenv(f"{name}_FILE", str(tmp_path / "secret"))
    assert refused() == [f"{name}_FILE={tmp_path / 'secret'}: not available in this version"]


@pytest.mark.parametrize("name", [*NOT_AVAILABLE, "PARTITIONS", "TICKERS", "LOG_FORMAT", "REDIS_URL_FILE", "FINNHUB_API_KEY_FILE"])
def test_an_empty_variable_counts_as_not_set(name: str, environment: pytest.MonkeyPatch) -> None:
    before = read_settings(Everything)
    environment.setenv(name, "")
    assert read_settings(Everything) == before


def test_an_empty_url_counts_as_not_set_and_must_be_set(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("REDIS_URL", "")
    assert refused() == ["REDIS_URL=(not set): must be set"]


BAD = [
    ("PARTITIONS", "0", "greater than or equal to 1"),
    ("PARTITIONS", "65", "less than or equal to 64"),
    ("PARTITIONS", "four", "valid integer"),
    ("SMA_PERIOD", "1", "greater than or equal to 2"),
    ("SMA_PERIOD", "501", "less than or equal to 500"),
    ("LEASE_SECONDS", "0", "greater than or equal to 0.1"),
    ("LEASE_SECONDS", "nan", "finite"),
    ("LEASE_SECONDS", "inf", "finite"),
    ("STREAM_CAP", "1", "greater than or equal to 2"),
    ("STREAM_CAP", "many", "valid integer"),
    ("METRICS_PORT", "-1", "greater than or equal to 0"),
    ("METRICS_PORT", "65536", "less than or equal to 65535"),
    ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
    ("LOG_FORMAT", "xml", "'json' or 'text'"),
    ("TICKERS", "AAPL,msft", "'msft' is not a ticker; each must match ^[A-Z0-9]"),
    ("TICKERS", ",", "at least one ticker"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), BAD)
def test_a_bad_variable_is_one_line_with_name_value_and_what_is_allowed(
    name: str, value: str, allowed: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv(name, value)
    (line,) = refused()
    assert line.startswith(f"{name}={value}: ")
    assert allowed in line


def test_all_bad_variables_are_named_at_once_one_line_each(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DATABASE_URL", "mysql://root:hunter44@localhost")
    environment.setenv("REDIS_URL_FILE", "/nowhere/secret")
    environment.setenv("FINNHUB_WS_URL", "wss://h")
    environment.setenv("PARTITIONS", "0")
    environment.setenv("SMA_PERIOD", "x")
    assert sorted(line.split("=")[0] for line in refused()) == [
        "DATABASE_URL",
        "FINNHUB_WS_URL",
        "PARTITIONS",
        "REDIS_URL_FILE",
        "SMA_PERIOD",
    ]


def test_a_value_of_several_lines_is_shown_in_one_and_cut(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PARTITIONS", "4\n5\x1b[31m" + "9" * 1000)
    (line,) = refused()
    assert line.startswith(r"PARTITIONS=4\n5\x1b[31m999")
    assert len(line) < 400


@pytest.mark.parametrize(("name", "allowed"), [("REDIS_URL", "redis:// or rediss://"), ("DATABASE_URL", "postgresql://")])
def test_a_url_of_another_scheme_is_refused_without_being_shown(name: str, allowed: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv(name, "http://user:hunter44@localhost")
    assert refused() == [f"{name}=(hidden): must start with {allowed}"]


@pytest.mark.parametrize("url", ["redis://h", "rediss://h:6380/1"])
def test_both_schemes_of_redis_are_taken(url: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("REDIS_URL", url)
    assert read_settings(Everything).redis_url.get_secret_value() == url


def test_secrets_do_not_show_in_repr_or_dump() -> None:
    found = read_settings(Everything)
    assert "hunter" not in f"{found!r} {found} {found.model_dump()} {found.model_dump_json()}"


@pytest.mark.parametrize("name", ["REDIS_URL", "DATABASE_URL"])
def test_a_secret_may_be_given_as_a_file(name: str, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url = os.environ[name] + "-of-file"
    (tmp_path / "secret").write_text(f" {url}\n")
    environment.delenv(name)
    environment.setenv(f"{name}_FILE", str(tmp_path / "secret"))
    assert getattr(read_settings(Everything), name.lower()).get_secret_value() == url


def test_a_secret_file_may_be_a_pipe_that_can_be_read_once(environment: pytest.MonkeyPatch) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, REDIS.encode())
    os.close(theirs)
    environment.delenv("REDIS_URL")
    environment.setenv("REDIS_URL_FILE", f"/dev/fd/{ours}")
    assert read_settings(Everything).redis_url.get_secret_value() == REDIS
    os.close(ours)


def test_a_bad_secret_of_a_file_is_hidden(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("http://user:hunter44@localhost")
    environment.delenv("REDIS_URL")
    environment.setenv("REDIS_URL_FILE", str(tmp_path / "secret"))
    assert refused() == ["REDIS_URL=(hidden): must start with redis:// or rediss://"]


@pytest.mark.parametrize("content", [None, "a directory", b"", b" \n", b"redis://\xff\xfe"])
def test_a_secret_file_that_gives_nothing_is_one_line(content: str | bytes | None, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.mkdir()
    environment.delenv("REDIS_URL")
    environment.setenv("REDIS_URL_FILE", str(path))
    assert refused() == [f"REDIS_URL_FILE={path}: must name a file that can be read and is not empty"]


def test_a_secret_given_twice_is_refused(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(REDIS)
    environment.setenv("REDIS_URL_FILE", str(tmp_path / "secret"))
    assert refused() == [f"REDIS_URL_FILE={tmp_path / 'secret'}: give either REDIS_URL_FILE or REDIS_URL, not both"]


def test_only_secrets_have_a_file_form(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "number").write_text("8")
    environment.setenv("PARTITIONS_FILE", str(tmp_path / "number"))
    assert read_settings(Everything).partitions == 4


def test_tickers_are_a_comma_list_without_blanks_and_repetitions(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TICKERS", " KO, AAPL ,,KO,BRK.B")
    assert read_settings(Everything).tickers == ("KO", "AAPL", "BRK.B")


def test_levels_and_formats_may_be_written_in_capitals(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LOG_LEVEL", "DEBUG")
    environment.setenv("LOG_FORMAT", "JSON")
    found = read_settings(Everything)
    assert (found.log_level, found.log_format) == ("debug", "json")


def test_settings_are_values_that_nobody_changes() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read_settings(Everything).partitions = 8


@pytest.mark.parametrize("value", ["0", "65", "many"])
def test_a_wrong_number_of_gateway_workers_is_refused_by_all_who_read_it(environment: pytest.MonkeyPatch, value: str) -> None:
    environment.setenv("GATEWAY_WORKERS", value)
    for model in (GatewaySettings, UpSettings):
        with pytest.raises(ConfigurationError, match=f"^GATEWAY_WORKERS={value}: "):
            read_settings(model)
