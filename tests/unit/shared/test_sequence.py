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


def test_an_entry_that_was_refused_is_no_hole_and_the_rest_of_the_hole_is() -> None:
    check = SequenceCheck(1)
    for refused in ("3", "5", "6", "9", "x", ""):
        check.refuse(["seq", refused], newest=9)
    assert list(check.holes(8, check.advance(8, 9))) == [(2, 2), (4, 4), (7, 7)]


def test_a_true_entry_counts_although_a_stranger_wrote_its_seq_before() -> None:
    check = SequenceCheck(1)
    check.refuse(["seq", "2"], newest=3)
    assert [check.advance(seq, 3) for seq in (2, 3)] == [0, 0]


def test_a_refused_seq_is_remembered_until_it_was_passed() -> None:
    check = SequenceCheck(0)
    for seq in range(1, 1000):
        check.refuse(["seq", str(seq)], newest=seq)
        check.advance(seq, seq)
    assert len(check._refused) <= 1


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
