"""When a token has to be asked for again: ahead of its `exp`, and after it was refused. Pure.

A JWT (RFC 7519) says when it ends. It is read here, not verified: that is the gateway's business.
"""

import json
import math
from base64 import urlsafe_b64decode

AHEAD_SECONDS = 60.0
"""How long before its end a token is replaced; of one that has less than twice that to live, at half of it."""
LEAST_SECONDS = 1.0
"""Between two requests for a token, also if each that is given ends at once."""


def checked_token(token: object) -> str:
    """A token that fits into a header (RFC 6750). Raise `ValueError`, never showing it."""
    if not (isinstance(token, str) and token.isascii() and token.isprintable() and token and " " not in token):
        raise ValueError("the token must be a text without blanks, control characters and letters beyond ASCII")
    return token


def seconds_to_refresh(token: str, now_epoch: float) -> float:
    """In how many seconds the next token is to be shown; infinity if this one does not say when it ends."""
    exp = expiry(token)
    if exp is None:
        return math.inf
    left = exp - now_epoch
    return max(left - AHEAD_SECONDS, left / 2, LEAST_SECONDS)


def expiry(token: str) -> float | None:
    """The claim `exp` of a JWT in epoch seconds; None for a token without one, or that is no JWT."""
    _, _, rest = token.partition(".")
    payload = rest.partition(".")[0]
    try:
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        exp = float(claims["exp"])
    except (ValueError, LookupError, TypeError, RecursionError, OverflowError):
        return None
    return exp if math.isfinite(exp) else None
