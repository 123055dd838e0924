"""Checks the signature of a token (JWS, RFC 7515) with the one configured key, by the one algorithm that this kind of key has.

What a token says of its own algorithm chooses nothing. Imported only where GATEWAY_AUTH is jwt: cryptography takes 15 MB.
"""

from base64 import b64decode
from binascii import Error as NotBase64
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import InvalidAlgorithmError, InvalidKeyError, InvalidSignatureError, InvalidTokenError, PyJWS

from services.gateway.permits import LEEWAY_SECONDS, Fault, Permit, read_claims

LEAST_RSA_BITS = 2048
"""RFC 7518, 3.3."""
LEAST_SECRET_BYTES = 32
"""RFC 7518, 3.2: at least as long as the hash."""


class Key(NamedTuple):
    """A key and the only algorithm it is used with."""

    algorithm: str
    key: RSAPublicKey | Ed25519PublicKey | str


def read_key(text: str) -> Key:
    """Tell what kind of key this is. Raise `ValueError`, which never shows any of it, if it is none that may be used."""
    if "-----BEGIN" in text:
        # In a variable of one line, line ends are commonly written as \n.
        return _public_key(text.replace("\\n", "\n"))
    _refuse_what_is_no_secret(text)
    if len(text.encode()) < LEAST_SECRET_BYTES:
        raise ValueError(f"a secret must have at least {LEAST_SECRET_BYTES} bytes (RFC 7518, 3.2), else a public key in PEM")
    return Key("HS256", text)


def _public_key(pem: str) -> Key:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("must be a public key in PEM, -----BEGIN PUBLIC KEY-----; neither a private key nor a certificate") from None
    if isinstance(key, Ed25519PublicKey):
        return Key("EdDSA", key)
    if not isinstance(key, RSAPublicKey):
        raise ValueError("must be an RSA or an Ed25519 public key, or a secret")
    if key.key_size < LEAST_RSA_BITS:
        raise ValueError(f"an RSA key must have at least {LEAST_RSA_BITS} bits (RFC 7518, 3.3)")
    return Key("RS256", key)


def _refuse_what_is_no_secret(text: str) -> None:
    """Public keys in other forms: everybody knows them, and would sign tokens with them."""
    hmac = PyJWS().get_algorithm_by_name("HS256")
    try:
        hmac.prepare_key(text)  # no JWK, nor a key of SSH
        hmac.prepare_key(b64decode(text, validate=True) or text)  # nor the inside of a PEM
    except (NotBase64, ValueError):
        return
    except InvalidKeyError:
        raise ValueError("is a public key in a form that is not understood: give it in PEM, -----BEGIN PUBLIC KEY-----") from None


class TokenCheck:
    """Turns the text of a token into a permit, or the kind of its fault. Raise `ValueError` for a key as `read_key` does."""

    def __init__(self, key: str, audience: str | None, leeway_seconds: float = LEEWAY_SECONDS) -> None:
        self._key = read_key(key)
        self._audience = audience
        self._leeway_seconds = leeway_seconds
        self._signatures = PyJWS(algorithms=[self._key.algorithm])

    def __call__(self, token: str, now: float) -> Permit | Fault:
        """Judge a token at `now` epoch seconds."""
        try:
            payload = self._signatures.decode(token, self._key.key, algorithms=[self._key.algorithm])
        except InvalidAlgorithmError:
            return Fault.ALGORITHM
        except InvalidSignatureError:
            return Fault.SIGNATURE
        except (InvalidTokenError, ValueError, TypeError, RecursionError):
            return Fault.MALFORMED
        return read_claims(payload, self._audience, now, self._leeway_seconds)
