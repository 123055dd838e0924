"""The fetcher's environment: one line per bad variable."""

from pathlib import Path

import pytest

from services.fetcher.settings import FetcherSettings
from shared.errors import ConfigurationError
from shared.settings import read_settings


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FetcherSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("REDIS_URL", "redis://localhost")


def complaint(monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as refused:
        read_settings(FetcherSettings)
    return str(refused.value)


def test_without_a_source_prices_are_simulated_and_the_reason_is_known() -> None:
    settings = read_settings(FetcherSettings)
    assert settings.chosen_source == ("simulated", "SOURCE is not set and no key is given")
    assert len(settings.live_tickers) == 15
    assert settings.tickers is None
    assert settings.interval_seconds == 1


def test_a_key_makes_finnhub_the_source_unless_another_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINNHUB_API_KEY", "abc123")
    settings = read_settings(FetcherSettings)
    assert settings.chosen_source == ("finnhub", "FINNHUB_API_KEY is set")
    assert settings.interval_seconds == 60
    assert (settings.finnhub_base_url, settings.market_hours, settings.exchange) == ("https://finnhub.io/api/v1", "auto", "XNYS")
    monkeypatch.setenv("SOURCE", "simulated")
    assert read_settings(FetcherSettings).chosen_source == ("simulated", "SOURCE=simulated")


def test_a_key_may_come_from_a_file_and_is_never_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tmp_path.joinpath("key").write_text("c0ffee-secret\n", encoding="utf-8")
    monkeypatch.setenv("FINNHUB_API_KEY_FILE", str(tmp_path / "key"))
    settings = read_settings(FetcherSettings)
    assert settings.finnhub_api_key is not None
    assert settings.finnhub_api_key.get_secret_value() == "c0ffee-secret"
    assert "c0ffee" not in repr(settings)


@pytest.mark.parametrize("empty", [None, ""])
def test_finnhub_needs_a_key_and_an_empty_one_is_none(monkeypatch: pytest.MonkeyPatch, empty: str | None) -> None:
    environment = {"SOURCE": "finnhub"} if empty is None else {"SOURCE": "finnhub", "FINNHUB_API_KEY": empty}
    line = complaint(monkeypatch, **environment)
    assert line.startswith("FINNHUB_API_KEY=(not set): must be set when SOURCE=finnhub; a free key is to be had at https://")


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel", " ", "x" * 257])
def test_a_key_that_cannot_stand_in_a_header_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    assert complaint(monkeypatch, FINNHUB_API_KEY=key) == (
        "FINNHUB_API_KEY=(hidden): must be the key alone: printable characters without blanks"
    )


@pytest.mark.parametrize("url", ["finnhub.io", "ftp://finnhub.io", "https://"])
def test_a_base_url_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert complaint(monkeypatch, FINNHUB_BASE_URL=url).startswith(f"FINNHUB_BASE_URL={url}: must be http:// or https://")


@pytest.mark.parametrize("url", ["https://me:hunter44@finnhub.io", "https://finnhub.io/?token=hunter44"])
def test_a_base_url_with_a_secret_is_refused_and_the_secret_not_shown(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    line = complaint(monkeypatch, FINNHUB_BASE_URL=url)
    assert line.startswith("FINNHUB_BASE_URL=https://")
    assert "hunter44" not in line


def test_a_source_of_a_later_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaint(monkeypatch, SOURCE="finnhub-stream") == "SOURCE=finnhub-stream: not available in this version"


def test_an_unknown_source_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaint(monkeypatch, SOURCE="csv") == "SOURCE=csv: must be one of finnhub, simulated, replay"


def test_a_replay_needs_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaint(monkeypatch, SOURCE="replay") == "REPLAY_FILE=(not set): must name a CSV file when SOURCE=replay"


def test_a_replay_needs_a_file_that_can_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expected = f"REPLAY_FILE={tmp_path}: must name a file that can be read"
    assert complaint(monkeypatch, SOURCE="replay", REPLAY_FILE=str(tmp_path)) == expected


def test_the_file_of_another_source_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPLAY_FILE", "/nowhere")
    assert read_settings(FetcherSettings).chosen_source[0] == "simulated"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REPLAY_SPEED", "-1"),
        ("REPLAY_SPEED", "inf"),
        ("REPLAY_SPEED", "nan"),
        ("REPLAY_ID", "no spaces"),
        ("REPLAY_ID", "x" * 65),
        ("REPLAY_ID", "x\n"),
        ("SIMULATED_RATE", "100001"),
        ("SIMULATED_RATE", "-1"),
        ("FETCH_INTERVAL_SECONDS", "0"),
        ("TICKERS", "KO,ko"),
        ("MARKET_HOURS", "sometimes"),
        ("EXCHANGE", "New York"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    line = complaint(monkeypatch, **{name: value})
    assert line.startswith(f"{name}={repr(value)[1:-1]}: ")
