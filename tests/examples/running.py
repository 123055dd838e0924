"""Programs of examples/ as their users start them, beside a pipeline that plays a market of a known outcome."""

import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path

from tests.e2e.market_data import Outcome, Recording, expect_of, record
from tests.e2e.pipeline import LINES_SHOWN, PASSED_ON, ROOT, Service
from tests.faults.small_market import STEP, quotes

PARTITIONS = 2
TICKS = 800
"""Of eight tickers, 100 each."""


@cache
def market() -> Recording:
    """The file."""
    return record(itertools.islice(sorted(quotes(), key=lambda quote: quote.at), TICKS))


@cache
def outcome() -> Outcome:
    """What the pipeline makes of it."""
    return expect_of(market(), PARTITIONS)


def speed(seconds: float) -> str:
    """REPLAY_SPEED with which the file lasts for so long."""
    return str(TICKS * STEP / timedelta(seconds=seconds))


@contextmanager
def started(folder: Path, *command: str, **variables: str) -> Iterator[Service]:
    """A program that runs; it is killed at the end, and what it wrote is shown if the test fails."""
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    name = Path(command[1]).stem
    file = folder / f"{name}-{sum(1 for _ in folder.glob(f'{name}-*'))}.log"
    with file.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**passed_on, "PYTHONPATH": str(ROOT / "clients/python"), **variables},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    service = Service(name, process, file)
    try:
        yield service
    except BaseException:
        print(f"--- {file.name}, exit code {process.poll()}", *service.text.splitlines()[-LINES_SHOWN:], sep="\n")
        raise
    finally:
        service.kill()
