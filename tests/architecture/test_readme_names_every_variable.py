"""The table of variables in README.md is that of the settings: nothing missing, nothing invented, the same defaults."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from services.admin.migrate import MigrateSettings
from services.admin.settings import StatusSettings, UpSettings
from services.analyzer.settings import AnalyzerSettings
from services.api.settings import ApiSettings
from services.fetcher.settings import FetcherSettings
from services.gateway.settings import GatewaySettings
from services.persister.settings import PersisterSettings
from shared.settings import SECRETS

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
MODELS = (UpSettings, StatusSettings, MigrateSettings, FetcherSettings, AnalyzerSettings, PersisterSettings, GatewaySettings, ApiSettings)
ROW = re.compile(r"^\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \| (.*?) \| ", re.MULTILINE)
CHOSEN = {
    "REDIS_URL": "embedded, in `make run`",
    "DATABASE_URL": "embedded, in `make run`",
    "TICKERS": "fifteen large US stocks",
    "SOURCE": "`finnhub` if a key is set, else `simulated`",
    "FETCH_INTERVAL_SECONDS": "60, simulated 1",
    "REPLAY_ID": "digest of file and TICKERS",
    "GATEWAY_ALLOWED_ORIGINS": "same host name, any port",
    "GATEWAY_PUBLIC_URL": "the page's host, GATEWAY_PORT",
    "LOG_FORMAT": "`json` unless a terminal reads it",
    "METRICS_PORT": "0 = off; `make run`: 9101 upwards",
    "SCALE": "one of each",
}
"""Variables whose default is chosen, or depends on who asks."""


def settings() -> dict[str, FieldInfo]:
    """Variable to its field; of one that several models have, the one with a plain default."""
    fields: dict[str, FieldInfo] = {}
    for model in MODELS:
        for name, field in model.model_fields.items():
            fields[name.upper()] = field
    return fields


def documented() -> dict[str, str]:
    """Variable to the default that the README states; of a row with several variables each has its own, in the same order."""
    found: dict[str, str] = {}
    for names, defaults in ROW.findall(README):
        variables = re.findall(r"[A-Z_]+", names)
        parts = defaults.split(", ") if len(variables) > 1 else [defaults]
        found.update(zip(variables, parts, strict=True))
    return found


def text_of(default: Any) -> str:
    if default in (None, ()) or (isinstance(default, SecretStr) and not default.get_secret_value()):
        return "none"
    if isinstance(default, bool):
        return str(int(default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def test_every_variable_is_in_the_table_and_none_is_invented() -> None:
    assert set(documented()) == set(settings())


@pytest.mark.parametrize("variable", sorted(set(settings()) - set(CHOSEN)))
def test_default_in_the_table_is_that_of_the_settings(variable: str) -> None:
    field = settings()[variable]
    assert field.default is not PydanticUndefined, "a variable that must be set has a reason in CHOSEN"
    assert documented()[variable].strip("`") == text_of(field.default)


@pytest.mark.parametrize("variable", sorted(set(CHOSEN) & set(settings())))
def test_default_that_is_chosen_is_told_in_words(variable: str) -> None:
    assert documented()[variable] == CHOSEN[variable]


@pytest.mark.parametrize("secret", sorted(set(SECRETS) & set(settings())))
def test_file_form_of_each_secret_is_told(secret: str) -> None:
    assert f"`{secret}_FILE`" in README
