"""The environment of the gateway."""

from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo
from pydantic_settings import NoDecode

from services.gateway.origins import ANY, OPAQUE, normal
from shared.settings import Settings, lower, split


def _each_an_origin(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if origin not in (ANY, OPAQUE) and normal(origin) is None:
            raise ValueError(f"{origin[:64]!r} is not an origin such as https://example.org, nor null, nor *")
    return origins


def _each_a_network(networks: tuple[str, ...]) -> tuple[str, ...]:
    for network in networks:
        try:
            ip_network(network)
        except ValueError:
            raise ValueError(f"{network[:64]!r} is not an address such as 10.0.0.7, nor a network such as 10.0.0.0/8") from None
    return networks


def _a_key_where_one_is_needed(key: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
    match others.data.get("gateway_auth"), key:
        case "jwt", None:
            raise ValueError("must be set if GATEWAY_AUTH is jwt: a secret, or a public key in PEM")
        case "jwt", SecretStr():
            # Only here, and only then: what reads keys takes 15 MB.
            from services.gateway.tokens import read_key

            read_key(key.get_secret_value())
        case "none", SecretStr():
            raise ValueError("is given, but GATEWAY_AUTH is none: set GATEWAY_AUTH=jwt, or everybody is let in")
    return key


class GatewaySettings(Settings):
    """Where clients connect, who may, and how often they hear."""

    gateway_host: str = Field(default="127.0.0.1", min_length=1)
    """Loopback unless somebody decides otherwise."""
    gateway_port: int = Field(default=8001, ge=1, le=65535)
    """Of WebSocket and `/healthz`."""
    gateway_flush_seconds: float = Field(default=0.25, ge=0, le=60, allow_inf_nan=False)
    """Conflation window: a change opens it, at its end all changes go out as one message. 0: each batch at once."""
    gateway_workers: int = Field(default=1, ge=1, le=64)
    """Processes sharing the port, each a gateway of its own; above 1 another process starts them and stands by."""
    gateway_auth: Annotated[Literal["none", "jwt"], BeforeValidator(lower)] = "none"
    """Whether clients must show a token."""
    gateway_jwt_key: Annotated[SecretStr | None, AfterValidator(_a_key_where_one_is_needed)] = Field(default=None, validate_default=True)
    """Its kind decides the algorithm: an RSA key RS256, an Ed25519 key EdDSA, any other text is the secret of HS256."""
    gateway_jwt_audience: str | None = None
    """The name of this gateway in the claim `aud`; None: it has none, and a token that is for somebody is not for it."""
    gateway_allowed_origins: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(split), AfterValidator(_each_an_origin)
    ] = ()  # fmt: skip
    """Whose pages may connect; none listed: those of the same host name, whatever their port."""
    gateway_max_connections: int = Field(default=10_000, ge=0)
    """Of this process; 0: no limit."""
    gateway_max_connections_per_ip: int = Field(default=0, ge=0)
    """Of one client's address, for IPv6 its /64; 0: no limit. Many clients may share one behind their router."""
    gateway_trusted_proxies: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(split), AfterValidator(_each_a_network)
    ] = ()  # fmt: skip
    """Whose X-Forwarded-For is believed: nobody's, or any client could name itself as it likes."""
