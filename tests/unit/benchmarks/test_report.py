"""Medians, spreads and ratios of figures, and the table they are shown in."""

import pytest

from benchmarks.report import Row, as_markdown, cells, number, point, row, spread_of


def test_median_and_quartiles_are_not_moved_by_one_slow_sample() -> None:
    measured = row("append", "ticks/s", [100, 101, 102, 103, 5])
    assert measured.measured == 101
    assert spread_of(measured.samples) == (100, 102)


def test_single_sample_has_no_spread_in_the_table() -> None:
    assert spread_of([7.0]) == (7.0, 7.0)
    assert cells(row("start", "s", [7.0]))[1:3] == ["7.00 s", ""]


def test_machine_that_slows_down_halfway_leaves_the_ratio_of_neighbours() -> None:
    measured = row("append", "ticks/s", [100, 60, 20], against="XADD", against_samples=[50, 20, 10])
    assert measured.ratio == 2
    assert measured.ratio_spread == (2.0, 2.5)


def test_where_less_is_better_the_ratio_is_turned_round() -> None:
    measured = row("CPU", "µs", [5], at_most=True, against="broadcast", against_samples=[10])
    assert measured.ratio == 2


def test_sides_with_different_numbers_of_samples_have_a_ratio_without_spread() -> None:
    measured = row("append", "ticks/s", [10, 20], against="XADD", against_samples=[5])
    assert measured.ratio == 3
    assert measured.ratio_spread is None


@pytest.mark.parametrize(("samples", "is_met"), [([12], True), ([11.9], False)])
def test_wanted_ratio_is_judged_by_the_median(samples: list[float], is_met: bool) -> None:
    assert row("analyze", "ticks/s", samples, against="group", against_samples=[1], wanted_ratio=12).is_ratio_met is is_met


@pytest.mark.parametrize(("at_most", "is_met"), [(False, True), (True, False)])
def test_wanted_figure_is_a_least_or_a_most(at_most: bool, is_met: bool) -> None:
    assert Row("memory", 20.0, "KB", wanted=10, at_most=at_most).is_met is is_met


def test_row_without_samples_of_its_own_has_its_cells() -> None:
    shown = cells(Row("idle", 1.5, "%", 2, at_most=True, against="others", against_measured=3.0))
    assert shown == ["idle", "1.50 %", "", "others: 3.00", "2.00 ×", "", "≤ 2 ✓"]


def test_missed_targets_are_marked() -> None:
    shown = cells(row("append", "ticks/s", [1000, 1200], wanted=3000, against="XADD", against_samples=[500, 600], wanted_ratio=6))
    assert shown == ["append", "1,100 ticks/s", "1,050–1,150", "XADD: 550", "2.00 × (2.00–2.00)", "≥ 6 × ✗", "≥ 3,000 ✗"]


def test_table_has_as_many_cells_in_each_line() -> None:
    lines = as_markdown([Row("a", 1, "s"), row("b", "s", [1, 2], against="c", against_samples=[1, 2])]).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 4


@pytest.mark.parametrize(("value", "text"), [(123456.7, "123,457"), (99.94, "99.9"), (10.0, "10.0"), (1.234, "1.23"), (0.0, "0.00")])
def test_numbers_have_the_digits_they_are_worth(value: float, text: str) -> None:
    assert number(value) == text


def test_point_is_the_median_between_its_quartiles() -> None:
    measured = point(4, [3.0, 1.0, 2.0])
    assert (measured.x, measured.y, measured.low, measured.high) == (4, 2.0, 1.5, 2.5)
