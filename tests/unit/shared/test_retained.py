"""What a stream still holds tells whether a reader has lost something."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.retained import NOTHING, Retained, is_after

KEPT = Retained("5-0", "9-0", "9-0", 5, 9)
"""Entries 1-0 to 9-0 were added, the first four are gone."""


@pytest.mark.parametrize(
    ("position", "passed", "is_cut"),
    [("9-0", 9, False), ("5-0", 5, False), ("4-0", 4, False), ("3-0", 3, True), ("0-0", 0, True)],
)
def test_entries_that_are_gone_are_a_loss_unless_they_were_read(position: str, passed: int, is_cut: bool) -> None:
    assert KEPT.was_cut(position, passed) is is_cut


def test_what_was_read_and_trimmed_before_the_look_is_no_loss() -> None:
    assert not KEPT.was_cut("2-0", 2, ["3-0", "4-0", "5-0"])
    assert KEPT.was_cut("2-0", 2, ["4-0", "5-0"])


def test_a_stream_that_is_gone_or_counts_anew_is_a_loss() -> None:
    assert NOTHING.was_cut("5-0", 5)
    assert Retained("6-0", "6-0", "6-0", 1, 1).was_cut("5-0", 5)
    assert not NOTHING.has_after("0-0")


def test_a_stream_of_lower_ids_began_anew() -> None:
    assert KEPT.began_anew("10-0")
    assert not KEPT.began_anew("9-0")
    assert KEPT.has_after("8-5")
    assert not KEPT.has_after("9-0")


@given(trimmed=st.integers(0, 20), read=st.integers(0, 20), batch=st.integers(0, 20))
def test_only_what_was_trimmed_beyond_the_position_is_a_loss(trimmed: int, read: int, batch: int) -> None:
    """Of 20 entries `trimmed` are gone; the reader had passed `read`, and has read `batch` of those then left."""
    left = [f"{n}-0" for n in range(trimmed + 1, 21)]
    kept = Retained(left[0] if left else "", left[-1] if left else "", "20-0", len(left), 20)
    found = [entry_id for entry_id in left if is_after(entry_id, f"{read}-0")][:batch]
    assert kept.was_cut(f"{read}-0", read, found) is (trimmed > read)


def test_ids_are_numbers_not_texts() -> None:
    assert is_after("10-0", "9-18446744073709551615")
    assert is_after("9-10", "9-9")
