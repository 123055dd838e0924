"""The environment of `tickstream up`, `status`, `tail` and `watch`."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from services.admin.scale import parse_scale
from shared.settings import PostgresqlUrl, RedisUrl, Settings


def _read_scale(value: Any) -> Any:
    return parse_scale(value) if isinstance(value, str) else value


class StatusSettings(Settings):
    """What `tickstream status` and `tickstream tail` need: a Redis."""


class WatchSettings(Settings):
    """What `tickstream watch` needs: where a gateway listens."""

    redis_url: RedisUrl = Field(default=SecretStr(""), validate_default=False)
    """Not asked: prices come from the gateway."""
    gateway_host: str = "127.0.0.1"
    gateway_port: int = Field(default=8001, ge=1, le=65535)
    gateway_token: SecretStr = SecretStr("")
    """Shown to the gateway, where it wants one."""


class UpSettings(Settings):
    """What `tickstream up` needs: nothing. The other variables go on to the services as they are."""

    redis_url: RedisUrl = Field(default=SecretStr(""), validate_default=False)
    """Empty: an embedded server is started."""
    database_url: PostgresqlUrl = Field(default=SecretStr(""), validate_default=False)
    """Empty: an embedded server is started."""
    gateway_host: str = "127.0.0.1"
    gateway_port: int = Field(default=8001, ge=1, le=65535)
    """Of the first gateway; further ones count up."""
    gateway_workers: int = Field(default=1, ge=1, le=64)
    """Of each gateway; each has a port for its metrics."""
    gateway_token: SecretStr = SecretStr("")
    """Of the table's own connection, where gateways want one."""
    metrics_port: int = Field(default=9101, ge=0, le=65535)
    """Of the first process; the others get the next free ones. 0: off."""
    api_host: str = "127.0.0.1"
    api_port: int = Field(default=8000, ge=1, le=65535)
    """Of REST and page."""
    source: str = ""
    finnhub_api_key: SecretStr | None = None
    """These two choose where ticks come from; the fetcher judges them, here the choice is only shown."""
    scale: Annotated[Mapping[str, int], NoDecode, BeforeValidator(_read_scale)] = Field(default_factory=lambda: parse_scale(""))
    """Processes of each service."""

    @property
    def chosen_source(self) -> tuple[str, str]:
        """The source that the fetcher chooses, and why."""
        if self.source:
            return self.source, "SOURCE is set"
        if self.finnhub_api_key is not None:
            return "finnhub", "FINNHUB_API_KEY is set"
        return "simulated", "SOURCE is not set and there is no FINNHUB_API_KEY"
