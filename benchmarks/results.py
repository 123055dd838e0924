"""Figures with what they are worth nothing without: when, of which commit, on which machine, with which versions.

Each measurement has a file of its own in `benchmarks/results`: measuring one again leaves the figures of the others, and their conditions,
as they were.
"""

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from benchmarks.report import Chart, Figure, Row

ROOT = Path(__file__).parents[1]
DIRECTORY = Path(__file__).with_name("results")
PACKAGES = ("redis", "hiredis", "asyncpg", "websockets", "uvloop", "msgspec")


@dataclass(frozen=True)
class Conditions:
    """Where something was measured."""

    machine: str
    kernel: str
    versions: str
    servers: str


@dataclass(frozen=True)
class Result:
    """What one measurement gave."""

    name: str
    date: str
    """UTC, to the minute."""
    commit: str
    """Abbreviated, with `+` where files differed from it; empty without git."""
    load: float
    """Average of the last minute at its start, of whatever else the machine did."""
    seconds: float
    conditions: Conditions
    rows: tuple[Row, ...]
    charts: tuple[Chart, ...] = ()


def conditions(servers: Sequence[str]) -> Conditions:
    """Of this machine and environment."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return Conditions(
        machine=f"{_processor()}, {os.cpu_count()} cores, {_memory_gb():.0f} GB",
        kernel=f"{platform.system()} {platform.release()} {platform.machine()}",
        versions=f"Python {platform.python_version()}, {packages}",
        servers="; ".join(server.partition(" at ")[0] for server in servers),
    )


def result(name: str, figures: Sequence[Figure], where: Conditions, load: float, seconds: float) -> Result:
    """Put a measurement's figures together with its conditions."""
    rows = tuple(figure for figure in figures if isinstance(figure, Row))
    charts = tuple(figure for figure in figures if isinstance(figure, Chart))
    return Result(name, f"{datetime.now(UTC):%Y-%m-%d %H:%M}", commit(), load, seconds, where, rows, charts)


def save(one: Result, directory: Path = DIRECTORY) -> None:
    """Write the file of a measurement."""
    directory.mkdir(exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(one), indent=1)
    (directory / f"{one.name}.json").write_bytes(text + b"\n")


def load_all(directory: Path = DIRECTORY) -> dict[str, Result]:
    """What was ever measured, by name."""
    found = (msgspec.json.decode(path.read_bytes(), type=Result) for path in sorted(directory.glob("*.json")))
    return {one.name: one for one in found}


def commit() -> str:
    """The commit that is checked out, with `+` if the sources differ from it."""
    hash_ = _git("rev-parse", "--short", "HEAD")
    return hash_ + "+" if hash_ and _git("status", "--porcelain", "--", "services", "shared", "benchmarks/*.py") else hash_


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gb() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) / 2**30
