"""A cursor comes back as it was given; any other text is none, whatever it is."""

from base64 import urlsafe_b64encode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.protocol import MOST_CURSOR_CHARACTERS, Position, decode_cursor, encode_cursor, parse_query

LIFE = "1795346662034123-3fa9c1d2"
positions = st.builds(Position, st.from_regex(r"[0-9]{1,17}-[0-9a-f]{8}", fullmatch=True), st.integers(0, 2**53))


@given(st.lists(positions, min_size=1, max_size=64))
def test_cursor_comes_back_from_a_url_as_it_was_given(given_out: list[Position]) -> None:
    since = parse_query(f"since={encode_cursor(given_out)}").since
    assert since is not None
    assert decode_cursor(since) == tuple(given_out)


def test_longest_cursor_is_not_too_long() -> None:
    cursor = encode_cursor([Position("9" * 17 + "-" + "f" * 8, 2**53)] * 64)
    assert len(cursor) < MOST_CURSOR_CHARACTERS
    assert decode_cursor(cursor) is not None


encoded = st.binary(max_size=200).map(urlsafe_b64encode).map(bytes.decode)


@given(st.one_of(st.text(), st.text(alphabet="ABCabc_-0123=", max_size=100), encoded))
def test_no_text_makes_it_raise(text: str) -> None:
    cursor = decode_cursor(text)
    assert cursor is None or all(isinstance(position, Position) for position in cursor)


def packed(value: object) -> str:
    return urlsafe_b64encode(msgspec.msgpack.encode(value)).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "text",
    [
        packed([[LIFE, -1]]),
        packed([["", 1]]),
        packed([["now-3fa9c1d2", 1]]),
        packed([[LIFE + "\n", 1]]),
        packed([["9" * 400 + "-3fa9c1d2", 1]]),
        packed([[LIFE, "1"]]),
        packed([[LIFE, 1.5]]),
        packed([[LIFE]]),
        packed({"a": 1}),
        packed([[LIFE, 1]]) + "!",
        urlsafe_b64encode(b"\x91" * 3000).decode(),
        encode_cursor([Position(LIFE, 2**53)] * 100),
    ],
)
def test_what_no_gateway_gave_is_unreadable(text: str) -> None:
    assert decode_cursor(text) is None
