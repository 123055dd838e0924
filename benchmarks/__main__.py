"""`python -m benchmarks [NAME …]`: measure, print the table, and write `benchmarks/README.md` when everything was measured."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
import uvloop

from benchmarks import analyzing, appending, fanning, idling, persisting, pipeline, resuming, starting, storage, viewing
from benchmarks.ground import Ground, ground
from benchmarks.report import Row, as_markdown, write_report

MEASUREMENTS: dict[str, Callable[[Ground], Awaitable[list[Row]]]] = {
    "append": appending.measure,
    "analyze": analyzing.measure,
    "persist": persisting.measure,
    "fanout": fanning.measure,
    "resume": resuming.measure,
    "pipeline": pipeline.measure,
    "storage": storage.measure,
    "page": viewing.measure,
    "idle": idling.measure,
    "start": starting.measure,
}


async def measure(names: list[str], servers: Ground) -> list[Row]:
    """Take the named measurements in turn."""
    rows = []
    for name in names:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        rows += await MEASUREMENTS[name](servers)
    return rows


def main(names: list[str]) -> int:
    """Return the exit code: 1 if a figure is not what is wanted, 2 for a name that does not exist."""
    unknown = [name for name in names if name not in MEASUREMENTS]
    if unknown:
        print(f"no such measurement: {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}", file=sys.stderr)
        return 2
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    with ground() as servers:
        rows = uvloop.run(measure(names or list(MEASUREMENTS), servers))
    print(as_markdown(rows))
    if not names:
        write_report(Path(__file__).with_name("README.md"), rows, servers.servers)
    return 0 if all(row.is_met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
