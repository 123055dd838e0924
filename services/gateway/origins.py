"""Whose pages may connect from a browser: a WebSocket is not held back by the same-origin policy. Pure.

A browser always says where a page came from, and no page can make it say something else (RFC 6454). Whoever sends no
Origin is no browser and could claim any.
"""

import re
from collections.abc import Iterable

ANY = "*"
OPAQUE = "null"
"""What a browser calls a page without an origin: a file, a sandboxed frame."""
_ORIGIN = re.compile(r"(?P<scheme>https?)://(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>\d{1,5}))?")
_HOST = re.compile(r"(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def normal(origin: str) -> str | None:
    """An origin as it is compared: lower case, no default port, no slash behind; None if it is none."""
    found = _ORIGIN.fullmatch(origin.lower().removesuffix("/"))
    if found is None:
        return None
    scheme, host, port = found["scheme"], found["host"], found["port"]
    return f"{scheme}://{host}" if port in (None, _DEFAULT_PORTS[scheme]) else f"{scheme}://{host}:{port}"


class Origins:
    """The rule: those that are listed; nothing listed: pages of the same host name, whatever their port."""

    def __init__(self, listed: Iterable[str]) -> None:
        self._listed = frozenset(normal(origin) or origin for origin in listed)

    def allow(self, origin: str, host: str) -> bool:
        """Whether a page of `origin` may connect to what it asked for as `host`, a `Host` header."""
        if self._listed:
            return ANY in self._listed or (normal(origin) or origin) in self._listed
        found, asked = _ORIGIN.fullmatch(origin.lower()), _HOST.fullmatch(host.lower())
        return found is not None and asked is not None and found["host"] == asked["host"]
