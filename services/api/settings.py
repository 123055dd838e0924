"""The environment of the API."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from services.api.gateway_address import is_gateway_url
from shared.settings import PostgresqlUrl, Settings


def _a_gateway_url(url: str) -> str:
    if not is_gateway_url(url):
        raise ValueError("must look like wss://host:port or https://host:port, with a path if it is not /ws/stocks/")
    return url


def _origins(value: object) -> object:
    return tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _each_an_origin(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if origin != "*" and not (origin.startswith(("http://", "https://")) and origin.count("/") == 2):
            raise ValueError(f"{origin[:64]!r} is not an origin such as https://example.org, nor *")
    return origins


class ApiSettings(Settings):
    """Where the API listens, what it reads, and what it tells browsers."""

    database_url: PostgresqlUrl
    """Where the rows are."""
    api_host: str = Field(default="127.0.0.1", min_length=1)
    """Loopback unless somebody decides otherwise."""
    api_port: int = Field(default=8000, ge=1, le=65535)
    """Of REST, documentation and dashboard."""
    api_cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins), AfterValidator(_each_an_origin)] = ()
    """Whose pages may read the answers in a browser; none but our own unless somebody decides otherwise."""
    gateway_public_url: Annotated[str, AfterValidator(_a_gateway_url)] | None = None
    """What the dashboard connects to; None: the page's own host and GATEWAY_PORT."""
    gateway_port: int = Field(default=8001, ge=1, le=65535)
    """Of the gateway beside this API."""
