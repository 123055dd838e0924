"""Never more calls than the provider allows, in any window, however long its network takes."""

from hypothesis import given
from hypothesis import strategies as st

from services.fetcher.quota import Quota


def test_calls_begin_at_once_until_a_second_is_full() -> None:
    quota = Quota(60, 3)
    for _ in range(3):
        assert quota.wait_seconds(100.0) == 0
        quota.begin()
        quota.end(100.0)
    assert quota.wait_seconds(100.0) == 1.0
    assert quota.wait_seconds(100.75) == 0.25
    assert quota.wait_seconds(101.0) == 0


def test_minute_counts_from_the_end_of_a_call() -> None:
    quota = Quota(2, 30)
    for ended in (100.0, 110.0):
        quota.begin()
        quota.end(ended)
    assert quota.wait_seconds(130.0) == 30.0
    assert quota.wait_seconds(160.0) == 0


def test_calls_on_their_way_occupy_their_places() -> None:
    quota = Quota(2, 30)
    quota.begin()
    quota.begin()
    assert 0 < quota.wait_seconds(500.0) <= 0.05
    quota.end(500.0)
    assert quota.wait_seconds(559.0) == 1.0
    assert quota.wait_seconds(560.0) == 0


def test_pause_holds_every_call_back_and_a_shorter_one_changes_nothing() -> None:
    quota = Quota(60, 30)
    quota.pause(100.0, 20.0)
    quota.pause(101.0, 5.0)
    assert quota.wait_seconds(105.0) == 15.0
    assert quota.is_paused(119.9)
    assert quota.wait_seconds(120.0) == 0
    assert not quota.is_paused(120.0)


def test_share_leaves_the_rest_to_other_processes_but_never_nothing() -> None:
    quota = Quota(60, 30)
    quota.take_share(0.5)
    for _ in range(15):
        quota.begin()
        quota.end(100.0)
    assert quota.wait_seconds(100.0) == 1.0
    quota.take_share(0.001)
    assert Quota(60, 30).wait_seconds(0.0) == 0
    lone = Quota(60, 30)
    lone.take_share(0.001)
    assert lone.wait_seconds(0.0) == 0


@given(
    st.lists(st.tuples(st.floats(0, 3), st.floats(0, 8), st.floats(0, 1)), min_size=1, max_size=200),
    st.integers(1, 12),
    st.integers(1, 5),
)
def test_no_window_of_the_provider_ever_holds_more_than_is_allowed(
    calls: list[tuple[float, float, float]], per_minute: int, per_second: int
) -> None:
    """`calls` are (pause before, how long it takes, when within that the provider counts it)."""
    quota, now = Quota(per_minute, per_second), 0.0
    on_their_way: list[float] = []
    counted: list[float] = []
    for pause, takes, place in calls:
        now += pause
        while True:
            for ended in sorted(each for each in on_their_way if each <= now):
                quota.end(ended)
                on_their_way.remove(ended)
            if not (wait := quota.wait_seconds(now)):
                break
            now += wait
        quota.begin()
        on_their_way.append(now + takes)
        counted.append(now + takes * place)
    counted.sort()
    for first in counted:
        # A hair below the window: what falls exactly on its end belongs to the next one.
        assert sum(first <= each < first + 60 - 1e-6 for each in counted) <= per_minute
        assert sum(first <= each < first + 1 - 1e-6 for each in counted) <= per_second
