"""The environment, read once: one frozen model per service, and one line per bad variable.

A variable of the contract that this version does not have yet is refused, never ignored.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared import crash_points
from shared.errors import ConfigurationError, Problem
from shared.events import is_ticker
from shared.logging import redact

DEFAULT_TICKERS = "AAPL,MSFT,AMZN,GOOGL,TSLA,META,NVDA,NFLX,BRK.B,JNJ,V,PG,DIS,JPM,KO"

NOT_AVAILABLE = ("FINNHUB_WS_URL",)
"""Variables of the contract that a later version brings."""

SECRETS = ("REDIS_URL", "DATABASE_URL", "FINNHUB_API_KEY", "GATEWAY_JWT_KEY", "GATEWAY_TOKEN")
"""Variables whose value is never shown; each may be given as a file, with `_FILE` behind its name."""


S = TypeVar("S", bound="Settings")


def split(value: object) -> object:
    """The parts of a comma list, if it is text."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _each_a_ticker(value: tuple[str, ...]) -> tuple[str, ...]:
    for ticker in value:
        if not is_ticker(ticker):
            raise ValueError(f"{ticker[:64]!r} is not a ticker; each must match ^[A-Z0-9][A-Z0-9.:\\-]{{0,31}}$")
    if not value:
        raise ValueError("a comma list of at least one ticker")
    return tuple(dict.fromkeys(value))


def _redis_scheme(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("redis://", "rediss://")):
        raise ValueError("must start with redis:// or rediss://")
    return url


def _postgresql_scheme(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("postgresql://", "postgres://")):
        raise ValueError("must start with postgresql://")
    return url


def lower(value: object) -> object:
    """The value in lower case, if it is text: names of the environment are not told apart by case."""
    return value.lower() if isinstance(value, str) else value


TickerList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split), AfterValidator(_each_a_ticker)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_scheme)]
PostgresqlUrl = Annotated[SecretStr, AfterValidator(_postgresql_scheme)]


class Settings(BaseSettings):
    """What every service needs. Read once with `read_settings`, then passed on as values."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore", hide_input_in_errors=True)

    redis_url: RedisUrl
    """Where the streams live."""
    redis_cluster: bool = False
    """Whether that is a node of a Redis Cluster, from which the others are found."""
    partitions: int = Field(default=4, ge=1, le=64)
    """Fixed for a deployment: order is kept per partition."""
    sma_period: int = Field(default=5, ge=2, le=500)
    """Prices in a moving average."""
    lease_seconds: float = Field(default=5, ge=0.1, le=3600, allow_inf_nan=False)
    """How long a holder's counter must stand still before its partition is taken over."""
    stream_cap: int = Field(default=100_000, ge=2)
    """Entries per partition and stream at which `append` and `commit` answer FULL."""
    metrics_host: str = Field(default="127.0.0.1", min_length=1)
    """Loopback unless somebody decides otherwise: what it shows is for operators."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Of `/metrics`, `/healthz` and `/readyz`; 0: off."""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lower)] = "info"
    log_format: Annotated[Literal["json", "text"] | None, BeforeValidator(lower)] = None
    """None: json unless standard error is a terminal."""

    @property
    def read_block_seconds(self) -> float:
        """How long a read may wait for an entry: an idle holder must finish several rounds within its lease."""
        return min(2.0, self.lease_seconds / 3)


def read_settings(model: type[S]) -> S:
    """Read the environment into `model`; raise `ConfigurationError` with every bad variable."""
    values, problems = _secret_files(model)
    problems += [*_refused(), *_bad_fault()]
    said = {problem.variable.removesuffix("_FILE") for problem in problems}
    try:
        settings = model(**values)
    except ValidationError as error:
        found = [_problem(dict(detail)) for detail in error.errors()]
        problems += [problem for problem in found if problem.variable not in said]
    if problems:
        raise ConfigurationError(tuple(problems))
    return settings


def _refused() -> list[Problem]:
    """Variables that ask for what this version does not have; an empty variable counts as not set."""
    named = [name for known in NOT_AVAILABLE for name in (known, f"{known}_FILE") if os.environ.get(name)]
    return [Problem(name, _shown(name), "not available in this version") for name in named]


def _bad_fault() -> list[Problem]:
    """FAULT is no field of a model: it is for tests, and no service decides anything by it."""
    try:
        crash_points.parse_fault(os.environ.get(crash_points.VARIABLE, ""))
    except ValueError as error:
        return [Problem(crash_points.VARIABLE, _shown(crash_points.VARIABLE), str(error))]
    return []


def _secret_files(model: type[Settings]) -> tuple[dict[str, Any], list[Problem]]:
    """What the `_FILE` form of each secret gives, read once (it may be a pipe), and what is wrong with it."""
    values, problems = {}, []
    for secret in SECRETS:
        name = f"{secret}_FILE"
        path = os.environ.get(name)
        if not path or secret.lower() not in model.model_fields:
            continue
        if os.environ.get(secret):
            problems.append(Problem(name, _shown(name), f"give either {name} or {secret}, not both"))
        elif (content := _content(path)) is None:
            problems.append(Problem(name, _shown(name), "must name a file that can be read and is not empty"))
        else:
            values[secret.lower()] = content
    return values, problems


def _content(path: str) -> str | None:
    """The text of a file without blanks around it; None if there is none."""
    try:
        return Path(path).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeError):
        return None


def _problem(detail: dict[str, Any]) -> Problem:
    variable = str(detail["loc"][0]).upper() if detail["loc"] else "environment"
    if detail["type"] == "missing":
        return Problem(variable, "(not set)", "must be set")
    return Problem(variable, _shown(variable), str(detail["msg"]).removeprefix("Value error, "))


def _shown(variable: str) -> str:
    """The value as it may be shown, in one line: a secret never is, nor the user of a URL; the name of the file that holds one is."""
    if variable in SECRETS:
        return "(hidden)" if os.environ.get(variable) or os.environ.get(f"{variable}_FILE") else "(not set)"
    return redact(repr(os.environ.get(variable, "(not set)")[:200])[1:-1])
