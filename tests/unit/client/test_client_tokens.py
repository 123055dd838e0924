"""When the next token is due: read from the token itself, never verified, never shown."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickstream_client.tokens import AHEAD_SECONDS, LEAST_SECONDS, checked_token, expiry, seconds_to_refresh

from tests.keys import part, sign, sign_bytes


@pytest.mark.parametrize(("claims", "exp"), [({"exp": 1000}, 1000), ({"exp": 1000.5}, 1000.5), ({"sub": "x"}, None), ({}, None)])
def test_end_is_read_from_the_claims(claims: dict[str, Any], exp: float | None) -> None:
    assert expiry(sign(claims)) == exp


@pytest.mark.parametrize(
    "token", ["", "opaque", "a.b", "a.b.c", "..", f"x.{part([])}.y", f"x.{part({'exp': 'soon'})}.y", f"x.{part({})}.y"]
)
def test_token_that_is_no_jwt_has_no_known_end(token: str) -> None:
    assert expiry(token) is None
    assert seconds_to_refresh(token, 0) == math.inf


@pytest.mark.parametrize("exp", [b"1e999", b"NaN", b"-Infinity", b"1" * 400])
def test_end_that_is_no_time_is_none(exp: bytes) -> None:
    assert expiry(sign_bytes(b'{"exp":' + exp + b"}")) is None


@given(st.text())
def test_any_text_is_read(token: str) -> None:
    expiry(token)


@pytest.mark.parametrize(
    ("left_seconds", "refresh_seconds"),
    [(3600, 3600 - AHEAD_SECONDS), (120, 60), (100, 50), (10, 5), (1, LEAST_SECONDS), (0, LEAST_SECONDS), (-50, LEAST_SECONDS)],
)
def test_token_is_replaced_ahead_of_its_end(left_seconds: float, refresh_seconds: float) -> None:
    assert seconds_to_refresh(sign({"exp": 5000 + left_seconds}), 5000) == refresh_seconds


@pytest.mark.parametrize("token", ["", "ge heim", "geheim\r\nX: y", "gehéim", None, 7, b"geheim"])
def test_what_fits_into_no_header_is_refused_and_not_shown(token: object) -> None:
    with pytest.raises(ValueError, match="token") as refused:
        checked_token(token)
    assert "heim" not in str(refused.value)
