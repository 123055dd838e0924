"""A batch shrinks until it comes through, and grows again."""

from shared.batch_size import BatchSize


def test_a_read_that_never_comes_in_time_is_asked_for_one_entry_in_the_end_and_never_for_none() -> None:
    size = BatchSize(1000)
    counts = []
    for _ in range(7):
        size.on_timeout()
        counts.append(size.count)
    assert counts == [250, 62, 15, 3, 1, 1, 1]


def test_only_full_batches_grow_and_never_beyond_what_is_allowed() -> None:
    size = BatchSize(1000)
    size.on_timeout()
    assert (size.on_read(249), size.count) == (False, 250)
    assert [(size.on_read(size.count), size.count) for _ in range(3)] == [(True, 500), (True, 1000), (True, 1000)]
