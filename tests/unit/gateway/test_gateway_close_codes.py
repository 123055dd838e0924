"""The table of close codes, and the hint when to come back."""

import re

import pytest

from services.gateway.close_codes import CLOSE_CODES, CloseCode, Reconnect, reason

BACK_AFTER_HINT = {1001, 1011, 1012, 1013, 4408, 4429}

OF_THE_LIBRARY = {1002, 1007}
"""For what is no WebSocket at all; the contract leaves them to RFC 6455."""


def test_table_is_the_one_of_the_contract() -> None:
    assert {close.code for close in CLOSE_CODES if close.reconnect is Reconnect.AFTER_HINT} == BACK_AFTER_HINT
    assert {close.code for close in CLOSE_CODES if close.reconnect is Reconnect.WITH_NEW_TOKEN} == {4401}
    assert {close.code for close in CLOSE_CODES if close.reconnect is Reconnect.NEVER} == {1009, 4400, 4403} | OF_THE_LIBRARY


@pytest.mark.parametrize("close", CLOSE_CODES, ids=lambda close: str(close.code))
def test_reason_hints_where_a_return_is_welcome_and_fits_a_close_frame(close: CloseCode) -> None:
    text = reason(close)
    assert bool(re.search(r"reconnect in \d+\.\d s$", text)) is (close.code in BACK_AFTER_HINT)
    assert len(text.encode()) <= 123


def test_hints_of_a_crowd_are_spread() -> None:
    assert reason(CLOSE_CODES[0], lambda: 0.0) == "going away; reconnect in 1.0 s"
    assert reason(CLOSE_CODES[0], lambda: 1.0) == "going away; reconnect in 5.0 s"
