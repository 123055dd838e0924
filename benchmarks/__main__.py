"""`python -m benchmarks [NAME …]`: measure, print the tables, keep the figures and draw `benchmarks/README.md` from all that are kept."""

import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence

import structlog
import uvloop

from benchmarks import (
    analyzing,
    appending,
    fanning,
    idling,
    latency,
    persisting,
    pipeline,
    replaying,
    resuming,
    scaling,
    starting,
    storage,
    viewing,
)
from benchmarks.ground import Ground, ground
from benchmarks.page import write
from benchmarks.report import Figure, Row, as_markdown
from benchmarks.results import DIRECTORY, conditions, load_all, result, save

Measure = Callable[[Ground], Awaitable[Sequence[Figure]]]

MEASUREMENTS: dict[str, Measure] = {
    "append": appending.measure,
    "analyze": analyzing.measure,
    "persist": persisting.measure,
    "fanout": fanning.measure,
    "stalled": fanning.measure_beside_a_stalled_one,
    "connections": fanning.measure_many,
    "resume": resuming.measure,
    "latency": latency.measure,
    "tickers": scaling.measure_tickers,
    "periods": scaling.measure_periods,
    "partitions": scaling.measure_partitions,
    "analyzers": scaling.measure_analyzers,
    "pipeline": pipeline.measure,
    "start": starting.measure,
    "idle": idling.measure,
    "replay": replaying.measure,
    "storage": storage.measure,
    "page": viewing.measure,
}
ON_DEMAND = {"replay", "storage", "page"}
"""Minutes, or a browser: only when they are named."""


def main(names: list[str]) -> int:
    """Return the exit code: 1 if something could not be measured, 2 for a name that does not exist."""
    unknown = [name for name in names if name not in MEASUREMENTS]
    if unknown:
        print(f"no such measurement: {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}", file=sys.stderr)
        return 2
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    began = time.monotonic()
    rows: list[Row] = []
    failed = []
    for name in names or [name for name in MEASUREMENTS if name not in ON_DEMAND]:
        try:
            rows += measure(name)
        except Exception:  # the others' figures are worth having
            traceback.print_exc()
            failed.append(name)
    write(load_all(), DIRECTORY)
    print(f"\n{summary(rows)}; {time.monotonic() - began:.0f} s in all; benchmarks/README.md")
    if failed:
        print(f"not measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def measure(name: str) -> list[Row]:
    """Measure on fresh servers, print and keep what came out."""
    print(f"\n{name} …", flush=True)
    load, began = os.getloadavg()[0], time.monotonic()
    with ground() as servers:
        figures = uvloop.run(_awaited(MEASUREMENTS[name], servers))
        where = conditions(servers.servers)
    rows = [figure for figure in figures if isinstance(figure, Row)]
    seconds = time.monotonic() - began
    if figures:
        save(result(name, figures, where, load, seconds))
    print(f"{as_markdown(rows)}{name}: {seconds:.0f} s", flush=True)
    return rows


async def _awaited(measurement: Measure, servers: Ground) -> Sequence[Figure]:
    return await measurement(servers)


def summary(rows: Sequence[Row]) -> str:
    """How many targets were met."""
    ratios = [row.is_ratio_met for row in rows if row.wanted_ratio is not None]
    figures = [row.is_met for row in rows if row.wanted is not None]
    return f"{sum(ratios)} of {len(ratios)} wanted ratios and {sum(figures)} of {len(figures)} wanted figures met"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
