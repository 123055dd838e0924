"""A lease may be taken when its counter stood still for the whole lease, as far as this process could see."""

from hypothesis import given
from hypothesis import strategies as st

from shared.redis.lease import LeaseWatch

LEASE_SECONDS = 5.0


def test_a_lease_seen_for_the_first_time_may_not_be_taken() -> None:
    assert not LeaseWatch(LEASE_SECONDS).may_take(0, "token", "7", 1000.0)


def test_a_counter_that_stands_still_may_be_taken_after_the_lease_and_not_before() -> None:
    watch = LeaseWatch(LEASE_SECONDS)
    assert [watch.may_take(0, "token", "7", 100.0 + s) for s in (0, 1, 4.99, 5.0, 6)] == [False, False, False, True, True]


def test_a_counter_that_moves_starts_the_watch_again() -> None:
    watch = LeaseWatch(LEASE_SECONDS)
    assert [watch.may_take(0, "token", beats, now) for beats, now in (("1", 0), ("2", 4.9), ("2", 9.8), ("2", 9.9))] == [
        False, False, False, True,
    ]  # fmt: skip


def test_another_token_with_the_same_counter_starts_the_watch_again() -> None:
    watch = LeaseWatch(LEASE_SECONDS)
    assert not watch.may_take(0, "old", "0", 0)
    assert not watch.may_take(0, "new", "0", 5)
    assert watch.may_take(0, "new", "0", 10)


def test_partitions_are_watched_each_by_itself() -> None:
    watch = LeaseWatch(LEASE_SECONDS)
    assert not watch.may_take(0, "token", "7", 0)
    assert not watch.may_take(1, "token", "7", 4)
    assert watch.may_take(0, "token", "7", 5)
    assert not watch.may_take(1, "token", "7", 5)


def test_after_an_error_the_watch_of_a_partition_starts_again() -> None:
    watch = LeaseWatch(LEASE_SECONDS)
    for partition in (0, 1):
        assert not watch.may_take(partition, "token", "7", 0)
    watch.forget(0)
    assert not watch.may_take(0, "token", "7", 5)
    assert watch.may_take(1, "token", "7", 5)


def test_after_redis_was_away_nothing_is_known_of_any_partition() -> None:
    watch = LeaseWatch(LEASE_SECONDS)
    for partition in (0, 1):
        assert not watch.may_take(partition, "token", "7", 0)
    watch.forget()
    for partition in (0, 1):
        assert not watch.may_take(partition, "token", "7", 5)


@given(st.lists(st.tuples(st.floats(0.01, 3), st.integers(0, 2), st.booleans()), max_size=40))
def test_only_a_counter_without_change_or_error_for_a_whole_lease_is_taken(rounds: list[tuple[float, int, bool]]) -> None:
    watch, now, beats, since = LeaseWatch(LEASE_SECONDS), 0.0, 0, None
    for step, more_beats, is_error in rounds:
        now, beats = now + step, beats + more_beats
        if is_error:
            watch.forget()
            since = None
            continue
        if since is None or more_beats:
            since = now
        assert watch.may_take(0, "token", str(beats), now) is (now - since >= LEASE_SECONDS)
