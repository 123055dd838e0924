"""Waiting times of the client."""

from hypothesis import given
from hypothesis import strategies as st
from tickstream_client.backoff import Backoff


@given(st.integers(0, 3000), st.floats(0, 1, exclude_max=True))
def test_wait_is_anything_up_to_a_bound_that_doubles_and_ends(failures: int, chance: float) -> None:
    backoff = Backoff(1.0, 30.0, lambda: chance)
    for _ in range(failures):
        backoff.next_seconds()
    assert backoff.next_seconds() == min(30.0, 2.0 ** min(failures, 32)) * chance


def test_success_starts_again() -> None:
    backoff = Backoff(1.0, 30.0, lambda: 1.0)
    assert [backoff.next_seconds() for _ in range(3)] == [1, 2, 4]
    backoff.reset()
    assert backoff.next_seconds() == 1
