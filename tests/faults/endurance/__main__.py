"""`make faults MINUTES=30 SEED=7`: random faults; the last line says what was done and found, the exit code whether all was well."""

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

from tests.faults.endurance.run import Report, run


def main() -> int:
    """Run for MINUTES (default 5) with SEED (default: any); 0 if nothing was lost, doubled, out of order or wrong.

    Ctrl-C and SIGTERM end it before its time, with 1; what each episode found has been said by then.
    """
    minutes = float(os.environ.get("MINUTES") or 5)
    seed = int(os.environ.get("SEED") or SystemRandom().randrange(10**6))
    print(f"the same faults again: make faults MINUTES={minutes:g} SEED={seed}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="tickstream-faults-") as folder:
        try:
            report = asyncio.run(_run(seed, minutes * 60, Path(folder)))
        except (KeyboardInterrupt, asyncio.CancelledError):
            print("ended before its time", file=sys.stderr)
            return 1
    for example in report.verdict.examples:
        print(example)
    print(report)
    return 0 if report.verdict.is_clean else 1


async def _run(seed: int, seconds: float, folder: Path) -> Report:
    running = asyncio.current_task()
    assert running is not None
    # As Ctrl-C does: without it, services would stay behind.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    return await run(seed, seconds, folder)


if __name__ == "__main__":
    sys.exit(main())
