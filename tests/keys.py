"""Real keys, and tokens signed with them or wrongly."""

import json
from base64 import urlsafe_b64encode
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey

SECRET = "a secret of no less than 32 bytes, as RFC 7518 wants it"
RSA = rsa.generate_private_key(65537, 2048)
ED25519 = ed25519.Ed25519PrivateKey.generate()


def public_pem(key: PrivateKey) -> str:
    """The key that a gateway is given."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem(key: PrivateKey) -> str:
    """The key that only the issuer may have."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def sign(claims: dict[str, Any], key: Any = SECRET, algorithm: str = "HS256", **headers: Any) -> str:
    """A token as an issuer makes it."""
    return jwt.encode(claims, key, algorithm, headers)


def part(value: object) -> str:
    """One part of a token made by hand."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def sign_bytes(payload: bytes, key: Any = SECRET, algorithm: str = "HS256") -> str:
    """A token that holds anything, with a signature that is right."""
    return jwt.PyJWS().encode(payload, key, algorithm)
