"""The environment of the gateway."""

from pydantic import Field

from shared.settings import Settings


class GatewaySettings(Settings):
    """Where clients connect, and how often they hear."""

    gateway_host: str = Field(default="127.0.0.1", min_length=1)
    """Loopback unless somebody decides otherwise."""
    gateway_port: int = Field(default=8001, ge=1, le=65535)
    """Of WebSocket and `/healthz`."""
    gateway_flush_seconds: float = Field(default=0.25, ge=0, le=60, allow_inf_nan=False)
    """Conflation window: a change opens it, at its end all changes go out as one message. 0: each batch at once."""
    gateway_workers: int = Field(default=1, ge=1, le=64)
    """Processes sharing the port, each a gateway of its own; above 1 another process starts them and stands by."""
