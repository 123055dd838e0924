"""What a client may be sent: everything, or what the claims of its token allow, until the token expires. Pure.

The claims of RFC 7519 are read strictly: one that is there with a wrong type makes the whole token worthless, never wider.
"""

from enum import StrEnum
from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from services.gateway.protocol import ALL, Subscription
from shared.events import is_ticker

LEEWAY_SECONDS = 5.0
"""How much earlier than its `nbf` a token is taken: it is used as soon as it was made, by a clock that may be ahead of ours.

None at the end: whoever makes a token chooses its `exp` late enough, and a leaked one must not last longer than it says."""


class Fault(StrEnum):
    """Why a token is worth nothing. Logs and metrics tell only this."""

    MISSING = "missing"
    MALFORMED = "malformed"
    ALGORITHM = "algorithm"
    SIGNATURE = "signature"
    CLAIMS = "claims"
    EXPIRED = "expired"
    EARLY = "not_yet_valid"
    AUDIENCE = "audience"


class Permit(NamedTuple):
    """What may be subscribed, and the epoch second at which that ends; None: never."""

    tickers: Subscription = ALL
    expires_at: float | None = None

    def split(self, wanted: Subscription) -> tuple[Subscription, Subscription]:
        """What may be had of `wanted`, and what may not. Of a limited permit `*` is all that it allows, spelled out."""
        if self.tickers == ALL:
            return wanted, frozenset()
        if wanted == ALL:
            return self.tickers, frozenset()
        return wanted & self.tickers, wanted - self.tickers


class _Claims(msgspec.Struct):
    """Those that are heeded. UNSET, not None: `"tickers":null` is no claim of this type, and must not mean all."""

    exp: float | UnsetType = UNSET
    nbf: float | UnsetType = UNSET
    aud: str | list[str] | UnsetType = UNSET
    tickers: list[str] | UnsetType = UNSET


_decoder = msgspec.json.Decoder(_Claims)


def read_claims(payload: bytes, audience: str | None, now: float, leeway_seconds: float = LEEWAY_SECONDS) -> Permit | Fault:
    """The permit that claims give at `now` epoch seconds; their signature has been checked before.

    RFC 7519, 4.1.3: a token that names audiences is rejected by whoever is none of them, hence also by a gateway without a name.
    """
    try:
        claims = _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return Fault.CLAIMS
    tickers = _allowed(claims.tickers)
    if tickers is None:
        return Fault.CLAIMS
    expires_at = None if claims.exp is UNSET else claims.exp
    if expires_at is not None and now >= expires_at:
        return Fault.EXPIRED
    if claims.nbf is not UNSET and now < claims.nbf - leeway_seconds:
        return Fault.EARLY
    if not _is_meant(claims.aud, audience):
        return Fault.AUDIENCE
    return Permit(tickers, expires_at)


def _allowed(names: list[str] | UnsetType) -> Subscription | None:
    """The set that the claim `tickers` allows; None if it is none of tickers."""
    if names is UNSET:
        return ALL
    if not all(name == "*" or is_ticker(name) for name in names):
        return None
    return ALL if "*" in names else frozenset(names)


def _is_meant(named: str | list[str] | UnsetType, audience: str | None) -> bool:
    if named is UNSET:
        return audience is None
    return audience is not None and audience in ([named] if isinstance(named, str) else named)
