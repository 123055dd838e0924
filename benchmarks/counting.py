"""What a workload costs, so that a machine that is busy with something else tells the same.

`instructions`: valgrind's callgrind counts them one by one. `CPU time`: the least that many runs took, in units of a fixed loop that
runs in turn with them; less exact, but it needs nothing. `CPU time of Redis`: see `redis_costs`.
"""

import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import redis_costs
from benchmarks.redis_costs import Costs
from benchmarks.workloads import WARM, Workload, workloads

INSTRUCTIONS, CPU_TIME, REDIS_TIME = "instructions", "CPU time", "CPU time of Redis"
MARK = "getppid"
"""The function of the C library that `workloads` calls before and behind each."""
PASSES, SAMPLES = 3, 250
MOST_SECONDS = 1.5
"""Of CPU time for a workload in a pass, but at least a quarter of its samples."""

ENVIRONMENT = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
"""All of it: where things lie in memory, which the environment moves, changes some counts by hundredths."""


def methods() -> list[str]:
    """What can be counted on this machine."""
    return [*([INSTRUCTIONS] if shutil.which("valgrind") else []), CPU_TIME, REDIS_TIME]


def count(method: str) -> tuple[str, Costs]:
    """How it was counted, with what costs depend on besides the code; and all costs."""
    if method == REDIS_TIME:
        server, costs = redis_costs.costs()
        return f"{method}, {server}, {platform.machine()}", costs
    return f"{method}, {_python()}, {platform.machine()}", _instructions() if method == INSTRUCTIONS else _cpu_time()


def _python() -> str:
    return f"{platform.python_implementation()} {platform.python_version()} ({platform.python_compiler()})"


def _instructions() -> Costs:
    with TemporaryDirectory(prefix="tickstream-count-") as directory:
        out = Path(directory, "out")
        valgrind = [shutil.which("valgrind") or "", "--tool=callgrind", f"--dump-before={MARK}", f"--callgrind-out-file={out}"]
        command = [*valgrind, sys.executable, "-m", "benchmarks.workloads"]
        subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True)
        # Between the marks: what was before the first, the first workload, the warm-up of the second, the second …
        totals = [_total(Path(f"{out}.{2 * n + 2}").read_text(encoding="utf-8")) for n in range(len(workloads()))]
    return {what: total / units for (what, (units, _)), total in zip(workloads().items(), totals, strict=True)}


def _total(text: str) -> int:
    found = re.search(r"^summary: (\d+)$", text, re.MULTILINE)
    if not found:
        raise RuntimeError("callgrind wrote no summary")
    return int(found[1])


def _cpu_time() -> Costs:
    """Millionths of the fixed loop: the least of the one through the least of the other."""
    works = workloads()
    loop, least = float("inf"), dict.fromkeys(works, float("inf"))
    for _ in range(PASSES):
        for what, (_, work) in works.items():
            for ours, theirs in _samples(work):
                loop, least[what] = min(loop, theirs), min(least[what], ours)
    return {what: 1e6 * least[what] / loop / units for what, (units, _) in works.items()}


def _samples(work: Workload) -> Iterator[tuple[float, float]]:
    """CPU seconds of the work, and of the fixed loop just before it; warm, for what others left in the caches is chance."""
    for run in range(WARM):
        work(run)
    times = max(1, round(_spent(fixed_loop) / _spent(lambda: work(WARM))))
    begun = time.process_time()
    for sample in range(SAMPLES):
        theirs = _spent(fixed_loop)
        yield _spent(lambda: _repeat(work, times)) / times, theirs
        if sample > SAMPLES / 4 and time.process_time() - begun > MOST_SECONDS:
            return


def _repeat(work: Workload, times: int) -> None:
    for run in range(times):
        work(run)


def _spent(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def fixed_loop() -> int:
    """Something of everything that the workloads do: dictionaries, text and decimals."""
    seen: dict[str, Decimal] = {}
    for n in range(1000):
        key = f"T{n % 100:04d}"
        seen[key] = seen.get(key, Decimal(0)) + Decimal(f"{n % 90 + 10}.25")
    return len("\t".join(str(total) for total in seen.values()))
