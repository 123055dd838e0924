"""Where the dashboard finds the gateway: as configured, or on the host that the page itself came from. Pure."""

import re

PATH = "/ws/stocks/"
_URL = re.compile(
    r"(?P<scheme>ws|wss|http|https)://(?P<host>(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?)(?P<path>/[A-Za-z0-9._~/-]*)?"
)
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
"""A `Host` header is a stranger's text and ends up in a policy: nothing but a name or an address may."""
_SECURE = {"ws": "wss", "http": "wss", "wss": "wss", "https": "wss"}
_PLAIN = {"ws": "ws", "http": "ws", "wss": "wss", "https": "wss"}


def is_gateway_url(url: str) -> bool:
    """Whether `url` may be GATEWAY_PUBLIC_URL."""
    return _URL.fullmatch(url) is not None


def gateway_url(public_url: str | None, page_host: str, gateway_port: int, *, is_secure: bool) -> str:
    """The WebSocket URL for a page that was asked for as `page_host` (a `Host` header); "" if that is no host.

    A page that came over TLS may open no plain connection: it gets `wss`.
    """
    if public_url is None:
        host = _HOST.fullmatch(page_host)
        public_url = f"ws://{host[1]}:{gateway_port}" if host else ""
    found = _URL.fullmatch(public_url)
    if found is None:
        return ""
    scheme = (_SECURE if is_secure else _PLAIN)[found["scheme"]]
    path = found["path"] or ""
    return f"{scheme}://{found['host']}{path if path.strip('/') else PATH}"


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL of `gateway_url`, as a policy names it."""
    return "/".join(url.split("/", 3)[:3])
