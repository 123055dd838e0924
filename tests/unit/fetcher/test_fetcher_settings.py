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
    assert len(settings.simulated_tickers) == 15
    assert settings.tickers is None
    assert settings.fetch_interval_seconds == 1


@pytest.mark.parametrize("source", ["finnhub", "finnhub-stream"])
def test_sources_of_later_versions_are_refused(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    assert complaint(monkeypatch, SOURCE=source) == f"SOURCE={source}: not available in this version"


def test_an_unknown_source_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaint(monkeypatch, SOURCE="csv") == "SOURCE=csv: must be one of simulated, replay"


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
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    line = complaint(monkeypatch, **{name: value})
    assert line.startswith(f"{name}={repr(value)[1:-1]}: ")
