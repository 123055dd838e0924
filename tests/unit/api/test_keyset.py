"""Cursors: opaque, exact, and nothing else is taken for one."""

from base64 import urlsafe_b64encode
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.keyset import MOST_CHARACTERS, Place, before, decode_cursor, encode_cursor

TIMES = st.datetimes(timezones=st.just(UTC), max_value=datetime(9999, 12, 31, 23, 59, 59))
PLACES = st.builds(Place, TIMES, st.from_regex(r"[0-9]{16}-[0-9a-f]{8}", fullmatch=True), st.integers(0, 63), st.integers(0, 2**53))
CLOSE_PLACES = st.builds(
    Place,
    st.sampled_from([datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2)]),
    st.sampled_from("ab"),
    st.integers(0, 1),
    st.integers(0, 3),
)


@given(PLACES)
def test_a_cursor_reads_back_as_the_place_it_was_made_of(place: Place) -> None:
    text = encode_cursor(place)
    assert decode_cursor(text) == place
    assert len(text) <= MOST_CHARACTERS
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.lists(CLOSE_PLACES, unique=True), st.integers(1, 5))
def test_a_walk_covers_every_row_once_in_order(rows: list[Place], limit: int) -> None:
    walked: list[Place] = []
    place = before(datetime(2026, 1, 3, tzinfo=UTC))
    while page := sorted((row for row in rows if row < place), reverse=True)[:limit]:
        walked += page
        place = decode_cursor(encode_cursor(page[-1]))
    assert walked == sorted(rows, reverse=True)


@given(PLACES)
def test_the_place_before_a_time_comes_after_no_row_of_that_time(place: Place) -> None:
    assert not place < before(place.ts)


@given(st.text(max_size=60))
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        decode_cursor(text)


@pytest.mark.parametrize(
    "content",
    [
        [0, "a", 1], [0, "a", 1, 1, 1], ["0", "a", 1, 1], [2**62, "a", 1, 1], [-(2**62), "a", 1, 1],
        [0, "a\0", 1, 1], [0, "a", 2**15, 1], [0, "a", -1, 1], [0, "a", 1, 2**63], [0, "a", 1, -1], [0, "a", 1, 1.5], None,
    ],
)  # fmt: skip
def test_what_postgresql_could_not_compare_with_is_refused(content: object) -> None:
    text = urlsafe_b64encode(msgspec.msgpack.encode(content)).rstrip(b"=").decode()
    with pytest.raises(ValueError, match="cursor"):
        decode_cursor(text)


def test_another_spelling_of_a_cursor_is_refused() -> None:
    text = encode_cursor(Place(datetime(2026, 1, 1, tzinfo=UTC), "a", 1, 1))
    for other in (text + "=", text + "\n", " " + text):
        with pytest.raises(ValueError, match="cursor"):
            decode_cursor(other)
