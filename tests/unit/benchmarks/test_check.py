"""The guard against regressions: what it tolerates, what it reports, and that its workloads do what they say."""

import shutil
from pathlib import Path

import pytest

from benchmarks import check, counting
from benchmarks.check import main, read
from benchmarks.counting import CPU_TIME, INSTRUCTIONS, REDIS_TIME, methods
from benchmarks.redis_costs import Costs
from benchmarks.workloads import WARM, ticks, workloads
from services.persister.rows import Lines
from shared.commits import Digest


class Counted:
    """What the counting tells: the cost of a workload by each method."""

    def __init__(self) -> None:
        self.costs: dict[str, Costs] = {method: {"append": 1000.0} for method in (INSTRUCTIONS, CPU_TIME, REDIS_TIME)}
        self.python = "3.11"
        self.methods = list(self.costs)

    def count(self, method: str) -> tuple[str, Costs]:
        return f"{method}, {self.python}", self.costs[method]


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Costs that need no counting, recorded in a file of their own."""
    counted = Counted()
    monkeypatch.setattr(check, "RECORDED", tmp_path / "recorded.json")
    monkeypatch.setattr(check, "methods", lambda: counted.methods)
    monkeypatch.setattr(check, "count", counted.count)
    assert main(["--record"]) == 0
    return counted


@pytest.mark.parametrize(("now", "code"), [(1000.0, 0), (1079.0, 0), (1081.0, 1), (900.0, 0), (1200.0, 1)])
def test_growth_beyond_the_tolerance_fails(counted: Counted, now: float, code: int) -> None:
    counted.costs[INSTRUCTIONS]["append"] = now
    assert main([]) == code


def test_growth_in_redis_alone_fails(counted: Counted) -> None:
    counted.costs[REDIS_TIME]["append"] = 1210.0
    assert main([]) == 1


def test_what_grew_is_named_with_both_figures(counted: Counted, capsys: pytest.CaptureFixture[str]) -> None:
    counted.costs[INSTRUCTIONS] = {"append": 1100.0}
    main([])
    told = capsys.readouterr()
    assert "GREW   append: 1,100.0, was 1,000.0 (+10.0%)" in told.out
    assert "ok     append" in told.out
    assert "ARGS=--record" in told.err


def test_workload_that_was_never_recorded_fails(counted: Counted, capsys: pytest.CaptureFixture[str]) -> None:
    counted.costs[REDIS_TIME]["commit"] = 10.0
    assert main([]) == 1
    assert "NEW    commit" in capsys.readouterr().out


def test_without_valgrind_cpu_time_is_compared_and_that_is_said(counted: Counted, capsys: pytest.CaptureFixture[str]) -> None:
    counted.methods = [CPU_TIME, REDIS_TIME]
    counted.costs[CPU_TIME]["append"] = 1111.0
    assert main([]) == 0
    assert "valgrind is not installed" in capsys.readouterr().err
    counted.costs[CPU_TIME]["append"] = 1200.0
    assert main([]) == 1


def test_another_python_is_not_compared(counted: Counted, capsys: pytest.CaptureFixture[str]) -> None:
    counted.python = "3.12"
    assert main([]) == 2
    told = capsys.readouterr()
    assert "instructions, 3.12: nothing was recorded" in told.out
    assert "ARGS=--record" in told.err


def test_record_leaves_what_others_recorded(counted: Counted) -> None:
    counted.python, counted.costs[INSTRUCTIONS] = "3.12", {"append": 7.0}
    assert main(["--record"]) == 0
    recorded = read(check.RECORDED)
    assert recorded["instructions, 3.11"] == {"append": 1000.0}
    assert recorded["instructions, 3.12"] == {"append": 7.0}


def test_unknown_argument_is_refused(counted: Counted) -> None:
    check.RECORDED.unlink()
    assert main(["--recrod"]) == 2
    assert not check.RECORDED.exists()


def test_instructions_are_counted_where_valgrind_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/somewhere/valgrind")
    assert methods()[0] == INSTRUCTIONS
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert methods()[0] == CPU_TIME


def test_least_of_many_runs_is_in_units_of_the_fixed_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        counting, "workloads", lambda: {"the loop itself, twice": (1, lambda _: (counting.fixed_loop(), counting.fixed_loop()))}
    )
    monkeypatch.setattr(counting, "SAMPLES", 8)
    assert set(counting.count(CPU_TIME)[1]) == {"the loop itself, twice"}


def test_every_workload_does_the_same_in_each_run() -> None:
    for what, (units, work) in workloads().items():
        assert units > 0, what
        for run in range(WARM + 1):
            done = work(run)
            if isinstance(done, Digest):
                assert (done.outcome.deadletters, len(done.outcome.events)) == ([], 8 * units)
            if isinstance(done, Lines):
                assert (len(done.lines), done.events) == (units, [])


def test_workloads_depend_on_nothing_but_their_number() -> None:
    assert ticks(3) == ticks(3)
