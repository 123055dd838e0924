"""Holes in the numbering are counted, and numbers that were never given are not believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidEntry
from shared.sequence import SequenceCheck


def test_a_whole_stream_misses_nothing() -> None:
    check = SequenceCheck(0)
    assert [check.advance(seq, 3) for seq in (1, 2, 3)] == [0, 0, 0]
    assert check.last == 3


def test_a_hole_is_counted_and_passed() -> None:
    check = SequenceCheck(4)
    assert check.advance(8, 9) == 3
    assert check.advance(9, 9) == 0


@pytest.mark.parametrize("seq", [5, 4, 1, 0, -1])
def test_a_seq_that_was_passed_is_refused_and_changes_nothing(seq: int) -> None:
    check = SequenceCheck(5)
    with pytest.raises(InvalidEntry, match=rf"seq {seq} is not above 5"):
        check.advance(seq, 9)
    assert check.advance(6, 9) == 0


def test_a_seq_that_was_never_given_is_refused_and_hides_no_true_entry() -> None:
    check = SequenceCheck(5)
    with pytest.raises(InvalidEntry, match=r"seq 10 was never assigned, the newest is 9"):
        check.advance(10, 9)
    assert check.advance(6, 9) == 0


@given(st.integers(0, 50), st.lists(st.integers(-5, 120), max_size=60))
def test_what_is_passed_and_what_is_missing_add_up(last: int, seqs: list[int]) -> None:
    check, passed, missing = SequenceCheck(last), [], 0
    for seq in seqs:
        try:
            missing += check.advance(seq, 100)
        except InvalidEntry:
            continue
        passed.append(seq)
    assert passed == sorted(set(passed))
    assert all(last < seq <= 100 for seq in passed)
    assert missing == check.last - last - len(passed)
