"""`python -m benchmarks.check [--record]`: the guard against regressions, by counts that do not depend on what else the machine does.

Compares with `benchmarks/recorded.json`. Exit code 1: something costs more than was recorded; 2: nothing was recorded for this
Python or this server.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from benchmarks.counting import CPU_TIME, INSTRUCTIONS, REDIS_TIME, count, methods
from benchmarks.redis_costs import Costs

RECORDED = Path(__file__).with_name("recorded.json")
TOLERANCES = {INSTRUCTIONS: 0.08, CPU_TIME: 0.12, REDIS_TIME: 0.20}
"""Growth that says nothing."""
UNITS = {INSTRUCTIONS: "instructions", CPU_TIME: "millionths of a fixed loop", REDIS_TIME: "thousandths of a plain XADD"}
NO_VALGRIND = "valgrind is not installed (Debian: apt-get install valgrind): CPU time is compared instead, which is less exact"
WHAT_TO_DO = {
    1: "Mend it, or if it is worth that much, record it and say why: make bench-check ARGS=--record",
    2: "Record it on the commit to compare with: make bench-check ARGS=--record",
}
"""For an exit code."""


@dataclass(frozen=True)
class Change:
    """A workload's cost then and now; `before` None: it is new."""

    what: str
    before: float | None
    now: float

    @property
    def growth(self) -> float:
        """As a part of what it was."""
        return self.now / self.before - 1 if self.before else 0.0

    def is_within(self, tolerance: float) -> bool:
        """Whether it costs no more than before."""
        return self.before is not None and self.growth <= tolerance

    def line(self, tolerance: float) -> str:
        """For the terminal."""
        if self.before is None:
            return f"  NEW    {self.what}: {self.now:,.1f}; record it"
        verdict = "ok" if self.is_within(tolerance) else "GREW"
        return f"  {verdict:6} {self.what}: {self.now:,.1f}, was {self.before:,.1f} ({self.growth:+.1%})"


def compare(before: Mapping[str, float], now: Mapping[str, float]) -> list[Change]:
    """Every workload that is counted now."""
    return [Change(what, before.get(what), cost) for what, cost in now.items()]


def main(arguments: Sequence[str]) -> int:
    """Return the exit code."""
    if arguments and list(arguments) != ["--record"]:
        print(f"not understood: {' '.join(arguments)}; there is --record", file=sys.stderr)
        return 2
    recorded = read(RECORDED)
    if arguments:
        record(recorded)
        return 0
    if INSTRUCTIONS not in methods():
        print(NO_VALGRIND, file=sys.stderr)
    code = max(judge(method, recorded) for method in (methods()[0], REDIS_TIME))
    if code:
        print(WHAT_TO_DO[code], file=sys.stderr)
    return code


def judge(method: str, recorded: Mapping[str, Costs]) -> int:
    """Count, and print what grew and by how much; return the exit code."""
    how, costs = count(method)
    if how not in recorded:
        print(f"{how}: nothing was recorded")
        return 2
    tolerance = TOLERANCES[method]
    changes = compare(recorded[how], costs)
    print(f"{how}; {UNITS[method]}, {tolerance:.0%} more is tolerated")
    for change in changes:
        print(change.line(tolerance))
    return 0 if all(change.is_within(tolerance) for change in changes) else 1


def read(path: Path) -> dict[str, Costs]:
    """What was recorded, by method and machine."""
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Costs]) if path.exists() else {}


def record(recorded: dict[str, Costs]) -> None:
    """Write what is counted now, by every method that this machine has; what others wrote stays."""
    for method in methods():
        how, costs = count(method)
        recorded[how] = {what: round(cost, 1) for what, cost in costs.items()}
        print(f"recorded: {how}")
    RECORDED.write_bytes(msgspec.json.format(msgspec.json.encode(dict(sorted(recorded.items()))), indent=1) + b"\n")


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    sys.exit(main(sys.argv[1:]))
