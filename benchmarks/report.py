"""What was measured, as a table for a terminal and for `benchmarks/README.md`."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("redis", "hiredis", "asyncpg", "websockets", "uvloop", "msgspec")


@dataclass(frozen=True)
class Row:
    """A figure, what it is compared with in the same run, and the least that is wanted of it (None: shown only)."""

    what: str
    measured: float
    unit: str
    wanted: float | None = None
    at_most: bool = False
    against: str = ""
    against_measured: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times better than the other side."""
        if not self.against_measured:
            return None
        return self.against_measured / self.measured if self.at_most else self.measured / self.against_measured

    @property
    def is_met(self) -> bool:
        """Whether the figure is what is wanted."""
        if self.wanted is None:
            return True
        return self.measured <= self.wanted if self.at_most else self.measured >= self.wanted

    def cells(self) -> list[str]:
        """The row of the table."""
        sign = "≤" if self.at_most else "≥"
        wanted = "" if self.wanted is None else f"{sign} {self.wanted:,.0f} {'✓' if self.is_met else '✗'}"
        other = "" if self.against_measured is None else f"{self.against}: {self.against_measured:,.0f}"
        return [self.what, f"{self.measured:,.0f} {self.unit}", wanted, other, "" if self.ratio is None else f"{self.ratio:.1f} ×"]


HEADINGS = ["what", "measured", "wanted", "compared with", "ratio"]


def as_markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def write_report(path: Path, rows: Sequence[Row], servers: Sequence[str]) -> None:
    """Write the table with machine, versions and date; figures without these are worth nothing."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    about = [
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {packages}; "
        + "; ".join(servers)
        + ".",
        "Servers, services and the load share these cores; Redis runs with `appendonly yes`, as for users. Machines differ: the "
        "wanted figures are those of a machine on which a pipeline of XADD reached 48,000 and the textbook group 16,000, so scale "
        "them by what those reach here, and compare ratios, which were measured in one run.",
    ]
    text = "# Figures\n\nWritten by `make bench`.\n\n" + "\n\n".join(about) + "\n\n" + as_markdown(rows)
    path.write_text(text, encoding="utf-8")
