"""A counter stands still when it was seen unchanged, again and again, for as long as a lease; one look counts for little."""

from hypothesis import given
from hypothesis import strategies as st

from shared.lease_rules import Standstill, vacant_seconds

LEASE_SECONDS = 5.0
ROUND_SECONDS = 0.5
STEP_SECONDS = 2 * ROUND_SECONDS


def standstill() -> Standstill[int]:
    return Standstill(STEP_SECONDS)


def test_a_counter_seen_for_the_first_time_has_not_stood_still() -> None:
    assert standstill().look(0, "7", 1000.0) == 0


def test_a_counter_without_change_has_stood_still_since_it_was_first_seen() -> None:
    watch = standstill()
    assert [watch.look(0, "7", 100 + seconds) for seconds in (0, 0.5, 1.0, 2.0)] == [0, 0.5, 1.0, 2.0]


def test_a_counter_that_moves_starts_again() -> None:
    watch = standstill()
    assert [watch.look(0, beats, now) for beats, now in (("1", 0), ("1", 1), ("2", 2), ("2", 3))] == [0, 1, 0, 1]


def test_another_holder_with_the_same_counter_starts_again() -> None:
    watch = standstill()
    assert [watch.look(0, mark, now) for mark, now in ((("old", "0"), 0), (("new", "0"), 1), (("new", "0"), 2))] == [0, 0, 1]


def test_counters_are_watched_each_by_itself() -> None:
    watch = standstill()
    for key, now in ((0, 0.0), (1, 0.5)):
        watch.look(key, "7", now)
    assert [watch.look(0, "7", 1.0), watch.look(1, "7", 1.0)] == [1.0, 0.5]


def test_a_look_that_comes_late_counts_two_rounds_however_late_it_is() -> None:
    """The watcher, or Redis with all its members, was stopped meanwhile: nobody could beat."""
    watch = standstill()
    watch.look(0, "7", 0.0)
    assert watch.look(0, "7", 4.9) == STEP_SECONDS
    assert watch.look(0, "7", 10_000.0) == 2 * STEP_SECONDS


def test_after_an_error_a_counter_is_seen_for_the_first_time_again() -> None:
    watch = standstill()
    for key in (0, 1):
        watch.look(key, "7", 0.0)
    watch.forget(0)
    assert [watch.look(0, "7", 1.0), watch.look(1, "7", 1.0)] == [0, 1]


def test_after_redis_was_away_nothing_is_known_of_any_counter() -> None:
    watch = standstill()
    for key in (0, 1):
        watch.look(key, "7", 0.0)
    watch.forget()
    assert [watch.look(0, "7", 1.0), watch.look(1, "7", 1.0)] == [0, 0]


def test_a_counter_that_is_gone_and_comes_back_starts_again() -> None:
    watch = standstill()
    for key in (0, 1):
        watch.look(key, "7", 0.0)
    watch.retain([1])
    assert [watch.look(0, "7", 1.0), watch.look(1, "7", 1.0)] == [0, 1]


@given(st.lists(st.tuples(st.floats(0.01, 20), st.integers(0, 1), st.booleans()), max_size=40))
def test_only_looks_without_change_or_error_add_up(rounds: list[tuple[float, int, bool]]) -> None:
    watch, now, beats = standstill(), 0.0, 0
    unchanged: list[float] | None = None
    for step, more_beats, is_error in rounds:
        now, beats = now + step, beats + more_beats
        if is_error:
            watch.forget()
            unchanged = None
            continue
        unchanged = [] if unchanged is None or more_beats else [*unchanged, min(step, STEP_SECONDS)]
        assert abs(watch.look(0, str(beats), now) - sum(unchanged)) < 1e-6


def test_a_free_lease_is_vacant_at_once_and_a_held_one_after_the_lease() -> None:
    assert [vacant_seconds("", still, LEASE_SECONDS) for still in (0.0, 2.0)] == [0.0, 2.0]
    assert [vacant_seconds("token", still, LEASE_SECONDS) for still in (0.0, 4.99, 5.0, 6.0)] == [None, None, 0.0, 1.0]
