"""The token bucket: what comes at once, what comes for ever."""

import pytest

from services.gateway.rates import Bucket, Rate

RATE = Rate(burst=5, per_second=2.0)


def test_burst_is_taken_at_once_and_no_more() -> None:
    bucket = Bucket(RATE, 100.0)
    assert [bucket.take(100.0) for _ in range(7)] == [True] * 5 + [False] * 2


def test_time_fills_it_up_at_the_rate_but_not_above_the_burst() -> None:
    bucket = Bucket(RATE, 100.0)
    assert all(bucket.take(100.0) for _ in range(5))
    assert not bucket.take(100.4)
    assert bucket.take(100.5)
    assert not bucket.take(100.5)
    assert [bucket.take(10_000.0) for _ in range(7)] == [True] * 5 + [False] * 2


@pytest.mark.parametrize(("every_seconds", "is_taken"), [(0.5, True), (0.49, False)])
def test_who_keeps_to_the_rate_is_never_refused(every_seconds: float, is_taken: bool) -> None:
    bucket = Bucket(RATE, 0.0)
    assert all(bucket.take(n * every_seconds) for n in range(1000)) == is_taken
