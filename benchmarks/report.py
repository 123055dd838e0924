"""What a measurement gives: rows (a figure beside what it is compared with) and charts (a figure over what it depends on). Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

Spread = tuple[float, float]
"""The quartiles: half of the samples lie between them."""


def spread_of(samples: Sequence[float]) -> Spread:
    """The quartiles of what was measured again and again; of a single sample, twice that."""
    if len(samples) < 2:
        return samples[0], samples[0]
    low, _, high = quantiles(samples, n=4, method="inclusive")
    return low, high


@dataclass(frozen=True)
class Row:
    """A figure, what it is compared with in the same run, and what is wanted of both (None: shown only).

    `wanted` is for a quiet machine of the size that the targets are for; `wanted_ratio` for any machine.
    """

    what: str
    measured: float
    unit: str
    wanted: float | None = None
    at_most: bool = False
    against: str = ""
    against_measured: float | None = None
    samples: tuple[float, ...] = ()
    against_samples: tuple[float, ...] = ()
    wanted_ratio: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times better than the other side: the median of neighbours, so that a machine that slows down slows both."""
        if neighbours := self._neighbours():
            return median(neighbours)
        return self._times(self.measured, self.against_measured) if self.against_measured else None

    @property
    def ratio_spread(self) -> Spread | None:
        """The quartiles of the ratios of neighbours; None unless both sides took turns."""
        neighbours = self._neighbours()
        return spread_of(neighbours) if neighbours else None

    def _neighbours(self) -> list[float]:
        """The ratios of samples that were taken in turn."""
        if len(self.samples) != len(self.against_samples):
            return []
        return [self._times(ours, theirs) for ours, theirs in zip(self.samples, self.against_samples, strict=True)]

    @property
    def is_met(self) -> bool:
        """Whether the figure is what is wanted."""
        if self.wanted is None:
            return True
        return self.measured <= self.wanted if self.at_most else self.measured >= self.wanted

    @property
    def is_ratio_met(self) -> bool:
        """Whether the ratio is what is wanted."""
        return self.wanted_ratio is None or (self.ratio or 0) >= self.wanted_ratio

    def _times(self, ours: float, theirs: float) -> float:
        return theirs / ours if self.at_most else ours / theirs


def row(
    what: str,
    unit: str,
    samples: Sequence[float],
    *,
    wanted: float | None = None,
    at_most: bool = False,
    against: str = "",
    against_samples: Sequence[float] = (),
    wanted_ratio: float | None = None,
) -> Row:
    """A row of samples of both sides, taken in turn, and their medians."""
    theirs = median(against_samples) if against_samples else None
    return Row(
        what, median(samples), unit, wanted, at_most, against, theirs, tuple(samples), tuple(against_samples), wanted_ratio
    )  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A median and its spread, at a place of the axis."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """Points that belong together."""

    label: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Chart:
    """A figure over what it depends on; drawn as `benchmarks/results/<name>.svg`."""

    name: str
    title: str
    x_label: str
    unit: str
    lines: tuple[Line, ...]
    is_x_log: bool = True


Figure = Row | Chart


def point(x: float, samples: Sequence[float]) -> Point:
    """The point of what was measured there."""
    return Point(x, median(samples), *spread_of(samples))


def number(value: float) -> str:
    """A figure with as many digits as it is worth."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


HEADINGS = ["what", "measured", "half of the samples", "compared with", "ratio", "ratio wanted", "figure wanted"]


def cells(row: Row) -> list[str]:
    """The row of the table."""
    return [
        row.what,
        f"{number(row.measured)} {row.unit}",
        _between(spread_of(row.samples)) if len(row.samples) > 1 else "",
        "" if row.against_measured is None else f"{row.against}: {number(row.against_measured)}",
        _ratio(row),
        "" if row.wanted_ratio is None else f"≥ {row.wanted_ratio:g} × {_mark(row.is_ratio_met)}",
        "" if row.wanted is None else f"{'≤' if row.at_most else '≥'} {row.wanted:,g} {_mark(row.is_met)}",
    ]


def _between(spread: Spread) -> str:
    return f"{number(spread[0])}–{number(spread[1])}"


def _ratio(row: Row) -> str:
    if row.ratio is None:
        return ""
    spread = f" ({_between(row.ratio_spread)})" if row.ratio_spread else ""
    return f"{number(row.ratio)} ×{spread}"


def _mark(is_met: bool) -> str:
    return "✓" if is_met else "✗"


def as_markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *(cells(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
