"""The page of all figures: drawn from what is kept, and a measurement that is made again replaces its own figures alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.page import TITLES, drawn, in_order, write
from benchmarks.report import Chart, Line, Row, point, row
from benchmarks.results import Conditions, Result, load_all, save

HERE = Conditions("a processor, 2 cores, 8 GB", "Linux 6.1", "Python 3.11.7", "Redis 7.0.15")
CHART = Chart("tickers", "Cost", "tickers", "µs", (Line("a", (point(1, [1.0, 2.0]),)),))


def result(name: str, figure: float, where: Conditions = HERE, date: str = "2026-11-23 10:00") -> Result:
    rows = (row(f"the {name}", "ticks/s", [figure], against="others", against_samples=[1.0]),)
    return Result(name, date, "abc1234", 0.5, 12.0, where, rows, (CHART,) if name == "tickers" else ())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "results"
    made.mkdir()
    return made


def page(directory: Path) -> str:
    write(load_all(directory), directory)
    return (directory.parent / "README.md").read_text(encoding="utf-8")


def test_what_is_kept_is_read_back_as_it_was(directory: Path) -> None:
    kept = result("tickers", 5.0)
    save(kept, directory)
    assert load_all(directory) == {"tickers": kept}


def test_measuring_one_again_leaves_the_others_and_their_dates(directory: Path) -> None:
    for name in ("append", "analyze"):
        save(result(name, 5.0), directory)
    save(result("append", 777.0, date="2026-12-01 09:00"), directory)
    shown = page(directory)
    assert "777 ticks/s" in shown
    assert "2026-12-01 09:00 UTC" in shown
    assert "| the analyze | 5.00 ticks/s |" in shown
    assert "2026-11-23 10:00 UTC" in shown


def test_figures_of_two_machines_are_told_apart(directory: Path) -> None:
    save(result("append", 5.0), directory)
    save(result("analyze", 5.0, replace(HERE, machine="another, 64 cores, 512 GB")), directory)
    shown = page(directory)
    assert "**A**: a processor, 2 cores" in shown
    assert "**B**: another, 64 cores" in shown
    assert "conditions A" in shown
    assert "conditions B" in shown


def test_every_picture_that_is_linked_is_there_and_no_other(directory: Path) -> None:
    (directory / "gone.svg").write_text("of a measurement that is no more")
    save(result("tickers", 5.0), directory)
    shown = page(directory)
    assert sorted(path.name for path in directory.glob("*.svg")) == ["ratios.svg", "tickers.svg"]
    assert all(f"(results/{name})" in shown for name in ("ratios.svg", "tickers.svg"))


def test_measurement_beside_ourselves_is_no_bar_among_the_others(directory: Path) -> None:
    for name in ("tickers", "append"):
        save(result(name, 5.0), directory)
    page(directory)
    bars = (directory / "ratios.svg").read_text(encoding="utf-8")
    assert "the append" in bars
    assert "the tickers" not in bars


def test_page_says_how_figures_are_taken(directory: Path) -> None:
    assert "## How figures are taken" in page(directory)


def test_measurements_stand_in_the_order_of_the_pipeline_and_new_ones_behind() -> None:
    names = ["zebra", "persist", "append"]
    assert [one.name for one in in_order([result(name, 1.0) for name in names])] == ["append", "persist", "zebra"]
    assert "## zebra" in drawn(in_order([result("zebra", 1.0)]), "results")


def test_row_of_an_older_file_without_samples_is_read(directory: Path) -> None:
    save(Result("idle", "2026-11-23 10:00", "", 0.0, 1.0, HERE, (Row("idle", 1.0, "%"),)), directory)
    assert load_all(directory)["idle"].rows[0].samples == ()


def test_every_measurement_has_a_title() -> None:
    from benchmarks.__main__ import MEASUREMENTS

    assert set(MEASUREMENTS) <= set(TITLES)
