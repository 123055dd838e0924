"""Waiting times: doubled, bounded, spread."""

from hypothesis import given
from hypothesis import strategies as st

from shared.backoff import Backoff


def test_the_wait_doubles_up_to_the_most() -> None:
    backoff = Backoff(0.1, 1.0, jitter=lambda: 1.0)
    assert [backoff.next_seconds() for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_jitter_takes_away_up_to_half() -> None:
    assert Backoff(0.1, 1.0, jitter=lambda: 0.0).next_seconds() == 0.05


@given(st.floats(0.001, 10), st.floats(0.001, 100), st.integers(0, 2000))
def test_a_wait_is_above_zero_and_never_above_the_most_however_many_failures(first: float, most: float, failures: int) -> None:
    backoff = Backoff(first, most)
    for _ in range(failures):
        backoff.next_seconds()
    assert 0 < backoff.next_seconds() <= most


def test_a_crowd_that_fails_at_once_does_not_come_back_at_once() -> None:
    assert len({Backoff().next_seconds() for _ in range(100)}) > 90


def test_failures_are_counted_until_a_success() -> None:
    backoff = Backoff(0.1, 1.0, jitter=lambda: 1.0)
    assert backoff.failures == 0
    backoff.next_seconds()
    backoff.next_seconds()
    assert backoff.failures == 2
    backoff.reset()
    assert (backoff.failures, backoff.next_seconds()) == (0, 0.1)
