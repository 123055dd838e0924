"""The page for writers of clients says what the code does: the table of close codes, and the bounds."""

import re

from services.gateway.admission import LEAST_SPARE
from services.gateway.close_codes import CLOSE_CODES, Reconnect
from services.gateway.entrance import MOST_HANDSHAKE_BYTES, Bounds
from services.gateway.permits import LEEWAY_SECONDS
from services.gateway.protocol import MOST_TICKERS, ErrorCode
from tests.architecture.deployment import CHECKOUT

PAGE = (CHECKOUT / "docs" / "websocket.md").read_text(encoding="utf-8")
RECONNECT = {Reconnect.AFTER_HINT: "yes, after the hint", Reconnect.WITH_NEW_TOKEN: "with a new token", Reconnect.NEVER: "no"}


def test_every_close_code_is_in_the_table_with_its_meaning_and_what_to_do() -> None:
    rows = re.findall(r"^\| (\d{4}) \| (.*?) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    assert [(int(code), reconnect) for code, _, reconnect, _ in rows] == [(close.code, RECONNECT[close.reconnect]) for close in CLOSE_CODES]
    for (_, meaning, _, advice), close in zip(rows, CLOSE_CODES, strict=True):
        assert meaning.startswith(close.meaning)
        assert advice


def test_every_error_code_is_named() -> None:
    (errors,) = re.findall(r'`\{"type":"error".*?tenth error', PAGE, re.DOTALL)
    assert set(re.findall(r"`([a-z_]{5,})`", errors)) == set(ErrorCode)


def test_bounds_are_those_of_the_code() -> None:
    bounds = Bounds()
    assert f"| {bounds.rate.burst} at once, {bounds.rate.per_second:g} a second |" in PAGE
    assert f"| {bounds.handshake_seconds:g} s, {MOST_HANDSHAKE_BYTES // 1024} KiB |" in PAGE
    assert f"first message, within {bounds.token_seconds:g} s" in PAGE
    assert f"{LEEWAY_SECONDS:g} s of leeway" in PAGE
    assert f"| {MOST_TICKERS:,}, or `*` |".replace(",", " ", 1) in PAGE
    assert f"at least {LEAST_SPARE}" in PAGE
