"""SCALE: what it means, and that nothing wrong in it is overlooked."""

import pytest

from services.admin.scale import parse_scale
from services.admin.settings import UpSettings
from shared.errors import ConfigurationError
from shared.settings import read_settings


def test_unnamed_services_get_one_process() -> None:
    assert parse_scale("analyzer=3 gateway=2") == {"fetcher": 1, "analyzer": 3, "persister": 1, "gateway": 2}


def test_parts_may_be_divided_by_commas() -> None:
    assert parse_scale("analyzer=3,persister=2")["persister"] == 2


@pytest.mark.parametrize(
    "text",
    [
        "api=2",
        "redis=2",
        "analyzer=0",
        "analyzer=-1",
        "analyzer=65",
        "analyzer=99999999999999999999",
        "analyzer",
        "analyzer=",
        "=3",
        "analyzer=2.5",
        "analyzer=²",
        "analyzer = 3",
        "analyzer=2 analyzer=3",
        "gateway=2 x",
    ],
)
def test_wrong_scale_is_one_problem_that_names_it(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALE", text)
    with pytest.raises(ConfigurationError) as refused:
        read_settings(UpSettings)
    (problem,) = refused.value.problems
    assert str(problem).startswith(f"SCALE={text}: ")
    assert "\n" not in str(problem)


def test_api_is_said_to_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCALE", "api=2")
    with pytest.raises(ConfigurationError, match="api runs once"):
        read_settings(UpSettings)


def test_nothing_needs_to_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("SCALE", "REDIS_URL", "DATABASE_URL", "GATEWAY_PORT", "SOURCE"):
        monkeypatch.delenv(variable, raising=False)
    settings = read_settings(UpSettings)
    assert set(settings.scale.values()) == {1}
    assert not settings.redis_url.get_secret_value()
