"""Rates and holds, from what ids and groups tell."""

import pytest

from shared.pipeline import Group, StreamState, per_second, seconds_since

NOW_MS = 1_000_000


@pytest.mark.parametrize(
    ("first_id", "first_seq", "newest_seq", "is_cut", "rate"),
    [
        ("990000-0", 1, 100, False, 10.0),
        ("999900-0", 7, 7, False, 0.1),
        ("998000-0", 1, 100, True, 50.0),
        ("999999-0", 100, 100, True, 1.0),
        ("999000-0", 5, 4, False, 0.0),
    ],
    ids=["ten seconds", "one entry", "the older ones are gone", "one that is left", "added since"],
)
def test_a_rate_is_what_came_in_the_last_ten_seconds(first_id: str, first_seq: int, newest_seq: int, is_cut: bool, rate: float) -> None:
    assert per_second((first_id, first_seq), newest_seq, NOW_MS, is_cut=is_cut) == rate


def test_an_entry_of_a_clock_that_was_turned_back_is_new() -> None:
    assert (seconds_since("999000-5", NOW_MS), seconds_since("1000500-0", NOW_MS)) == (1.0, 0.0)


def group(name: str, oldest_id: str | None, lag: int | None = 1, pending: int = 0) -> Group:
    return Group(name, lag, pending, "0-0", oldest_id, None if oldest_id is None else seconds_since(oldest_id, NOW_MS), name == "persister")


def stream(*groups: Group) -> StreamState:
    return StreamState(9, 9, 1.0, 0.0, None, "simulated", 0, groups)


def test_the_group_whose_oldest_needed_entry_is_oldest_holds_the_stream() -> None:
    hold = stream(group("analyzer", "999999-10"), group("persister", "999999-9", 3, 2), group("mine", None)).held_by
    assert hold is not None
    assert (hold.group, hold.entries, hold.is_required, hold.waiting_seconds) == ("persister", 5, True, 0.001)


def test_nobody_holds_a_stream_of_which_everything_is_read() -> None:
    assert stream(group("analyzer", None), group("persister", None)).held_by is None


def test_a_group_whose_lag_redis_cannot_tell_holds_an_unknown_number() -> None:
    hold = stream(group("mine", "999999-9", None)).held_by
    assert hold is not None
    assert hold.entries is None
