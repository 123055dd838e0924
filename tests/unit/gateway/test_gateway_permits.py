"""What claims permit, and that a wrong one permits nothing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.permits import Fault, Permit, read_claims
from services.gateway.protocol import ALL

NOW = 1_800_000_000.0


def read(audience: str | None = None, **claims: Any) -> Permit | Fault:
    return read_claims(json.dumps(claims).encode(), audience, NOW)


def test_token_without_claims_permits_everything_for_ever() -> None:
    assert read() == read(sub="somebody", iat="whenever") == Permit(ALL, None)


@pytest.mark.parametrize(("tickers", "allowed"), [(["KO", "BRK.B"], {"KO", "BRK.B"}), (["*"], ALL), (["KO", "*"], ALL), ([], set())])
def test_tickers_are_what_may_be_subscribed(tickers: list[str], allowed: set[str]) -> None:
    assert read(tickers=tickers) == Permit(frozenset(allowed), None)


def test_exp_ends_it_without_a_leeway() -> None:
    assert read(exp=NOW + 60) == Permit(ALL, NOW + 60)
    assert read(exp=NOW + 0.5) == Permit(ALL, NOW + 0.5)
    assert read(exp=NOW) is Fault.EXPIRED
    assert read(exp=-1) is Fault.EXPIRED


def test_nbf_begins_it_before_the_leeway() -> None:
    assert read(nbf=NOW + 5) == Permit()
    assert read(nbf=NOW + 5.1) is Fault.EARLY


@pytest.mark.parametrize("aud", ["other", "", ["other"], ["other", "ticks2"], []])
def test_token_for_others_is_worth_nothing_here(aud: object) -> None:
    assert read("ticks", aud=aud) is Fault.AUDIENCE
    assert read(None, aud=aud) is Fault.AUDIENCE  # RFC 7519, 4.1.3: who has no name is not meant


def test_token_for_this_gateway_must_say_so_if_it_has_a_name() -> None:
    assert read("ticks", aud="ticks") == read("ticks", aud=["other", "ticks"]) == Permit()
    assert read("ticks") is Fault.AUDIENCE
    assert read(None) == Permit()


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": None}, {"exp": "9999999999"}, {"exp": True}, {"exp": [1]}, {"nbf": None}, {"nbf": "0"}, {"nbf": False},
        {"tickers": None}, {"tickers": "*"}, {"tickers": {"*": 1}}, {"tickers": [None]}, {"tickers": [7]}, {"tickers": ["ko"]},
        {"tickers": ["KO", ""]}, {"tickers": [["KO"]]}, {"aud": None}, {"aud": 7}, {"aud": [None]},
    ],
)  # fmt: skip
def test_claim_of_a_wrong_type_makes_the_token_worthless(claims: dict[str, Any]) -> None:
    assert read(**claims) is Fault.CLAIMS


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"null", b'"x"', b"{", b"\xff\xfe", b'{"exp":1e999}', b'{"exp":NaN}', b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}"],
)
def test_payload_that_is_no_object_of_claims_is_worth_nothing(payload: bytes) -> None:
    assert read_claims(payload, None, NOW) is Fault.CLAIMS


@given(st.binary() | st.text().map(str.encode))
def test_no_payload_raises(payload: bytes) -> None:
    read_claims(payload, None, NOW)


def test_limited_permit_gives_what_it_allows_and_names_the_rest() -> None:
    permit = Permit(frozenset(("KO", "PG")))
    assert permit.split(frozenset(("KO", "V"))) == (frozenset(("KO",)), frozenset(("V",)))
    assert permit.split(frozenset()) == (frozenset(), frozenset())


def test_star_of_a_limited_permit_is_spelled_out_and_nothing_is_refused() -> None:
    permit = Permit(frozenset(("KO", "PG")))
    assert permit.split(ALL) == (frozenset(("KO", "PG")), frozenset())


def test_permit_for_everything_gives_what_is_wanted() -> None:
    assert Permit().split(ALL) == (ALL, frozenset())
    assert Permit().split(frozenset(("KO",))) == (frozenset(("KO",)), frozenset())
