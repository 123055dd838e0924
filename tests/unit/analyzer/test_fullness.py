"""An operator is told once when a stream fills up, and once when that is over."""

import pytest

from services.analyzer.fullness import Change, Fullness

F, B = Change.FILLING, Change.BACK


@pytest.mark.parametrize(
    ("ratios", "told"),
    [
        ((0.0, 0.49), (None, None)),
        ((0.5, 0.6, 0.79), (F, None, None)),
        ((0.5, 0.8, 0.9, 1.2), (F, F, None, None)),
        ((0.8,), (F,)),
        ((1.0, 0.44), (F, B)),
        ((0.5, 0.46, 0.5, 0.451), (F, None, None, None)),
        ((0.5, 0.45), (F, B)),
        ((0.8, 0.76, 0.81, 0.75, 0.8), (F, None, None, None, F)),
        ((0.8, 0.6, 0.46, 0.45, 0.5), (F, None, None, B, F)),
        ((0.0, 0.0), (None, None)),
    ],
)
def test_each_level_is_told_once_on_the_way_up_and_its_end_once(ratios: tuple[float, ...], told: tuple[Change | None, ...]) -> None:
    fullness = Fullness()
    assert tuple(fullness.on_look(ratio, "persister") for ratio in ratios) == told


def test_another_group_that_holds_a_full_stream_is_told_of() -> None:
    fullness = Fullness()
    looks = ((0.9, "analyzer"), (0.9, "analyzer"), (0.9, "persister"), (0.9, "persister"), (0.1, "analyzer"), (0.2, "persister"))
    assert [fullness.on_look(*look) for look in looks] == [F, None, F, None, B, None]
