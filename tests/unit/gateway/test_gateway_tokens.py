"""Which keys there may be, and that only their own algorithm and a right signature count."""

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from services.gateway.permits import Fault, Permit
from services.gateway.tokens import TokenCheck, read_key
from tests.keys import ED25519, RSA, SECRET, part, private_pem, public_pem, sign, sign_bytes

NOW = 1_800_000_000.0
KEYS = {"HS256": (SECRET, SECRET), "RS256": (RSA, public_pem(RSA)), "EdDSA": (ED25519, public_pem(ED25519))}
"""Algorithm to the key that signs and the one that checks."""


def judge(token: str, key: str = SECRET) -> Permit | Fault:
    return TokenCheck(key, None)(token, NOW)


@pytest.mark.parametrize("algorithm", KEYS)
def test_kind_of_key_decides_the_algorithm(algorithm: str) -> None:
    signing, checking = KEYS[algorithm]
    assert read_key(checking).algorithm == algorithm
    token = sign({"tickers": ["KO"], "exp": NOW + 10}, signing, algorithm)
    assert judge(token, checking) == Permit(frozenset(("KO",)), NOW + 10)


@pytest.mark.parametrize("algorithm", KEYS)
def test_token_of_another_algorithm_is_worth_nothing_whatever_signed_it(algorithm: str) -> None:
    checking = KEYS[algorithm][1]
    for other, (signing, _) in KEYS.items():
        if other != algorithm:
            assert judge(sign({}, signing, other), checking) is Fault.ALGORITHM
    assert judge(sign({}, RSA, "PS256"), checking) is Fault.ALGORITHM
    assert judge(sign({}, RSA, "RS512"), checking) is Fault.ALGORITHM


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", None, 7, ["HS256"], {"HS256": 1}, "hs256"])
@pytest.mark.parametrize("algorithm", KEYS)
def test_token_that_names_no_algorithm_is_worth_nothing(algorithm: str, name: object) -> None:
    for signature in ("", part(b"x" * 32)):
        token = f"{part({'alg': name, 'typ': 'JWT'})}.{part({})}.{signature}"
        assert judge(token, KEYS[algorithm][1]) is Fault.ALGORITHM


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
def test_public_key_used_as_a_secret_forges_nothing(algorithm: str) -> None:
    pem = KEYS[algorithm][1]
    signed = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({})}"
    signature = hmac.digest(pem.encode(), signed.encode(), hashlib.sha256)
    assert judge(f"{signed}.{part(signature)}", pem) is Fault.ALGORITHM


@pytest.mark.parametrize("algorithm", KEYS)
def test_forged_token_is_worth_nothing(algorithm: str) -> None:
    signing, checking = KEYS[algorithm]
    head, _, signature = sign({"tickers": ["KO"]}, signing, algorithm).split(".")
    assert judge(f"{head}.{part({'tickers': ['*']})}.{signature}", checking) is Fault.SIGNATURE
    assert judge(f"{head}.{part({'tickers': ['KO']})}.", checking) is Fault.SIGNATURE
    others = {"HS256": SECRET + "!", "RS256": rsa.generate_private_key(65537, 2048), "EdDSA": ed25519.Ed25519PrivateKey.generate()}
    assert judge(sign({}, others[algorithm], algorithm), checking) is Fault.SIGNATURE


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "...", "a.b.c", "garbage", "é.é.é", "\ud800", "x" * 8192, f"{part({'alg': 'HS256'})}.!.!", f"{part([])}.{part({})}.x"],
)
def test_what_is_no_token_is_malformed(token: str) -> None:
    assert judge(token) is Fault.MALFORMED


def test_header_that_is_nested_beyond_reason_is_malformed() -> None:
    for header in (b"[" * 5000, b'{"alg":"HS256","x":' + b"[" * 5000 + b"]" * 5000 + b"}"):
        assert judge(f"{part(header)}.{part({})}.{part(b'x')}") is Fault.MALFORMED


def test_extension_that_must_be_understood_and_is_not_makes_it_malformed() -> None:
    assert judge(sign({}, crit=["exp2"], exp2=1)) is Fault.MALFORMED


def test_claims_are_looked_at_once_the_signature_is_right() -> None:
    assert judge(sign_bytes(b"not json")) is Fault.CLAIMS
    assert judge(sign({"tickers": None})) is Fault.CLAIMS
    assert judge(sign({"exp": int(NOW) - 60})) is Fault.EXPIRED
    assert judge(sign({"aud": "others"})) is Fault.AUDIENCE


def test_valid_token_of_eight_kilobytes_is_read() -> None:
    names = [f"T{n}" for n in range(750)]
    token = sign({"tickers": names})
    assert 6000 < len(token) < 8192
    assert judge(token) == Permit(frozenset(names))


@given(st.text() | st.builds("{}.{}.{}".format, *[st.binary(max_size=60).map(part)] * 3))
def test_no_text_raises(token: str) -> None:
    assert isinstance(judge(token), Fault)


def test_pem_in_one_line_of_the_environment_is_read() -> None:
    assert read_key(public_pem(RSA).strip().replace("\n", "\\n")).algorithm == "RS256"


def ssh(key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def inside_of_the_pem(key: rsa.RSAPrivateKey) -> str:
    return b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


BAD_KEYS: dict[str, tuple[Callable[[], str], str]] = {
    "short secret": (lambda: "short", "at least 32 bytes"),
    "secret of 31 bytes": (lambda: "x" * 31, "at least 32 bytes"),
    "private RSA": (lambda: private_pem(RSA), "neither a private key"),
    "private Ed25519": (lambda: private_pem(ED25519), "neither a private key"),
    "private behind a comment": (lambda: f"comment\n{private_pem(ED25519)}", "neither a private key"),
    "certificate": (lambda: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", "nor a certificate"),
    "garbage in PEM": (lambda: "-----BEGIN PUBLIC KEY-----\ngarbage\n-----END PUBLIC KEY-----", "must be a public key"),
    "first line of a PEM": (lambda: "-----BEGIN PUBLIC KEY-----", "must be a public key"),
    "elliptic curve": (lambda: public_pem(ec.generate_private_key(ec.SECP256R1())), "RSA or an Ed25519"),
    "RSA of 1024 bits": (lambda: public_pem(rsa.generate_private_key(65537, 1024)), "at least 2048 bits"),
    "Ed25519 of SSH": (lambda: ssh(ED25519), "give it in PEM"),
    "RSA of SSH": (lambda: ssh(RSA), "give it in PEM"),
    "inside of a PEM": (lambda: inside_of_the_pem(RSA), "give it in PEM"),
    "JWK": (lambda: json.dumps(RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True)), "give it in PEM"),
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_key_that_may_not_be_used_is_refused_without_being_shown(name: str) -> None:
    make, problem = BAD_KEYS[name]
    text = make()
    with pytest.raises(ValueError, match=problem) as refused:
        read_key(text)
    assert refused.value.__cause__ is None
    assert not any(line in str(refused.value) for line in text.splitlines() if len(line) > 26)


def test_long_secret_of_any_text_is_taken() -> None:
    for secret in ("x" * 32, "ä" * 16, "c2VjcmV0" * 8, '"quoted" and {braced} in thirty-two bytes'):
        assert read_key(secret).algorithm == "HS256"
