"""Where to connect: a gateway's URL completed by what is asked of it. Never by a token: proxies log URLs. Pure."""

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

PATH = "/ws/stocks/"
SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
NEVER_IN_A_URL = ("token", "access_token")
EVERY = "*"
"""The name that stands for every ticker, also those that are not known yet."""

MOST_TICKERS = 1000
MOST_CHARACTERS = 5000
"""With them, and with the longest cursor of 3 100, the line of a request stays below the 8 KiB that servers read."""

Tickers = frozenset[str]
ALL: Tickers = frozenset((EVERY,))


_find_ticker = re.compile(r"[A-Z0-9][A-Z0-9.:\-]{0,31}", re.ASCII).fullmatch


def is_ticker(name: str) -> bool:
    """Whether a name is that of a ticker."""
    return _find_ticker(name) is not None


def complete(url: str) -> str:
    """A gateway's URL as it is connected to: http becomes ws, and without a path it gets that of the stream.

    Raise `ValueError` for what is none, without showing what may be secret in it.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ValueError("not a gateway's URL, such as ws://127.0.0.1:8001")
    if any(name.lower() in NEVER_IN_A_URL for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise ValueError("a token does not belong into a URL, which proxies log")
    return SplitResult(SCHEMES[parts.scheme], parts.netloc, (parts.path.rstrip("/") and parts.path) or PATH, parts.query, "").geturl()


def asking(url: str, tickers: Tickers, since: str) -> str:
    """The URL that asks for these tickers, and for the alerts since a cursor if there is one."""
    asked = [f"tickers={quote(','.join(sorted(tickers)), safe=',:')}"] if tickers != ALL else []
    asked += [f"since={quote(since, safe='')}"] if since else []
    return f"{url}{'&' if '?' in url else '?'}{'&'.join(asked)}" if asked else url


def checked(names: Iterable[str]) -> Tickers:
    """The set that these names ask for; `*` among them is every ticker. Raise `ValueError` for what no gateway would accept."""
    if isinstance(names, str):
        raise ValueError(f"tickers are a list of names: [{names!r}]")
    found = frozenset(names)
    if malformed := sorted(repr(name) for name in found if name != EVERY and not is_ticker(name)):
        raise ValueError(f"not a ticker: {', '.join(malformed)}; one is such as AAPL or BRK.B")
    return ALL if EVERY in found else found


def bounded(tickers: Tickers) -> Tickers:
    """Tickers that one connection can have. Raise `ValueError` for none, and for too many."""
    if not tickers:
        raise ValueError("no ticker is left: name at least one, or none at all (None) for every ticker")
    if len(tickers) > MOST_TICKERS or sum(map(len, tickers)) + len(tickers) > MOST_CHARACTERS:
        raise ValueError(f"a subscription has at most {MOST_TICKERS} tickers of {MOST_CHARACTERS} characters: make several, or one of all")
    return tickers
