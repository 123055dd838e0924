"""`make faults MINUTES=30 SEED=7`: random faults; the last line says what was done and found, the exit code whether all was well."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

from tests.faults.endurance.run import run


def main() -> int:
    """Run for MINUTES (default 5) with SEED (default: any); 0 if nothing was lost, doubled, out of order or wrong."""
    minutes = float(os.environ.get("MINUTES") or 5)
    seed = int(os.environ.get("SEED") or SystemRandom().randrange(10**6))
    print(f"the same faults again: make faults MINUTES={minutes:g} SEED={seed}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="tickstream-faults-") as folder:
        report = asyncio.run(run(seed, minutes * 60, Path(folder)))
    for example in report.verdict.examples:
        print(example)
    print(report)
    return 0 if report.verdict.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
