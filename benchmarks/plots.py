"""Charts and ratios as SVG, legible on light and on dark pages: each brings its own ground. Pure."""

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10

from benchmarks.report import Chart, Line, Row, number

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 76, 24, 64, 52
BAR = 26
WIDE, BARS_FROM, BARS_TO = 960, 440, 880
COLOURS = 5
NONE_WANTED, MISSED, MET = 0, 1, 2
STYLE = """\
text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-size:15px;font-weight:600}.soft{fill:#59636e}
.ground{fill:#fff;stroke:#d1d9e0}.grid{stroke:#d1d9e0}.want{stroke:#1f2328;stroke-width:2}.range{stroke-width:2;opacity:.45}.half{stroke:#1f2328;opacity:.6}
.line{fill:none;stroke-width:2}
.s0{stroke:#0969da}.s1{stroke:#bc4c00}.s2{stroke:#1a7f37}.s3{stroke:#8250df}.s4{stroke:#bf3989}
.f0{fill:#0969da}.f1{fill:#bc4c00}.f2{fill:#1a7f37}.f3{fill:#8250df}.f4{fill:#bf3989}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.soft{fill:#9198a1}.ground{fill:#0d1117;stroke:#3d444d}.grid{stroke:#3d444d}
.want,.half{stroke:#e6edf3}.s0{stroke:#4493f8}.s1{stroke:#f0883e}.s2{stroke:#3fb950}.s3{stroke:#ab7df8}.s4{stroke:#db61a2}
.f0{fill:#4493f8}.f1{fill:#f0883e}.f2{fill:#3fb950}.f3{fill:#ab7df8}.f4{fill:#db61a2}}"""


def chart_svg(chart: Chart) -> str:
    """Lines over an axis that begins at zero; each point with the span that half of its samples lie in."""
    places = _Places(chart)
    parts = [_text(16, 26, chart.title, "title"), _text(16, 46, chart.unit, "soft")]
    parts += _legend(chart.lines)
    for y in places.y_ticks():
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{places.y(y):.1f}" y2="{places.y(y):.1f}"/>')
        parts.append(_text(LEFT - 8, places.y(y) + 4, number(y) if y % 1 else f"{y:,.0f}", "soft", "end"))
    for x in places.xs:
        parts.append(_text(places.x(x), HEIGHT - BOTTOM + 20, f"{x:,g}", "soft", "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, chart.x_label, "soft", "middle"))
    for n, line in enumerate(chart.lines):
        parts += _drawn(line, n % COLOURS, places)
    return _svg(HEIGHT, parts, chart.title)


class _Places:
    """Where a value lies in the picture."""

    def __init__(self, chart: Chart) -> None:
        points = [point for line in chart.lines for point in line.points]
        self.xs = sorted({point.x for point in points})
        self._is_log = chart.is_x_log and self.xs[0] > 0
        self._step = step_of(max(point.high for point in points))
        self._top = self._step * max(1, ceil(max(point.high for point in points) / self._step))

    def x(self, value: float) -> float:
        first, last, at = (log10(x) if self._is_log else x for x in (self.xs[0], self.xs[-1], value))
        return LEFT + 24 + (WIDTH - LEFT - RIGHT - 48) * ((at - first) / (last - first) if last > first else 0.5)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / self._top

    def y_ticks(self) -> list[float]:
        return [self._step * n for n in range(round(self._top / self._step) + 1)]


def step_of(most: float) -> float:
    """The round distance of grid lines, of which four to eight reach up to `most`."""
    if most <= 0:
        return 1.0
    size = 10.0 ** floor(log10(most))
    return next(size * part for part in (0.2, 0.25, 0.5, 1, 2) if most / (size * part) <= 6)


def _legend(lines: Sequence[Line]) -> list[str]:
    parts, x = [], float(LEFT + 100)
    for n, line in enumerate(lines):
        parts += _entry(x, n % COLOURS, line.label)
        x += 34 + 6.6 * len(line.label)
    return parts


def _entry(x: float, colour: int, label: str) -> list[str]:
    return [f'<circle class="f{colour}" cx="{x:.0f}" cy="42" r="5"/>', _text(x + 10, 46, label)]


def _drawn(line: Line, colour: int, places: _Places) -> list[str]:
    way = " ".join(f"{places.x(point.x):.1f},{places.y(point.y):.1f}" for point in line.points)
    parts = [f'<polyline class="line s{colour}" points="{way}"/>']
    for point in line.points:
        x = places.x(point.x)
        parts.append(
            f'<line class="range s{colour}" x1="{x:.1f}" x2="{x:.1f}" y1="{places.y(point.low):.1f}" y2="{places.y(point.high):.1f}"/>'
        )
        parts.append(f'<circle class="f{colour}" cx="{x:.1f}" cy="{places.y(point.y):.1f}" r="3.5"/>')
    return parts


def ratios_svg(rows: Sequence[Row]) -> str:
    """A bar for each comparison, as long as we are better, on a logarithmic axis; a mark where the wanted ratio is."""
    compared = [row for row in rows if row.ratio]
    if not compared:
        return _svg(TOP, [_text(16, 26, "nothing was compared", "title")], "nothing was compared")
    bottom = TOP + BAR * len(compared)
    places = _Ratios(compared)
    parts = [
        _text(16, 26, "Times better than what it is compared with", "title"),
        _text(16, 46, "logarithmic; thin: half of the samples; upright: what is wanted", "soft"),
    ]
    parts += _key(BARS_FROM)
    for ratio in places.ticks():
        parts.append(f'<line class="grid" x1="{places.x(ratio):.1f}" x2="{places.x(ratio):.1f}" y1="{TOP - 4}" y2="{bottom + 4}"/>')
        parts.append(_text(places.x(ratio), bottom + 20, f"{ratio:g} ×", "soft", "middle"))
    for n, row in enumerate(compared):
        parts += _bar(row, TOP + BAR * n, places)
    return _svg(bottom + BOTTOM, parts, "Ratios", WIDE)


class _Ratios:
    """Where a ratio lies in the picture."""

    def __init__(self, rows: Sequence[Row]) -> None:
        values = [value for row in rows for value in (row.ratio, row.wanted_ratio, *(row.ratio_spread or ())) if value]
        self._low, self._high = log10(min(0.5, *values)), log10(max(2.0, *values))

    def x(self, ratio: float) -> float:
        return BARS_FROM + (BARS_TO - BARS_FROM) * (log10(ratio) - self._low) / (self._high - self._low)

    def ticks(self) -> list[float]:
        return [10.0**power for power in range(ceil(self._low), floor(self._high) + 1)]


def _key(x: float) -> list[str]:
    parts = []
    for colour, label in ((MET, "as wanted"), (MISSED, "less than wanted"), (NONE_WANTED, "shown only")):
        parts += _entry(x, colour, label)
        x += 150
    return parts


def _bar(row: Row, y: float, places: _Ratios) -> list[str]:
    assert row.ratio is not None
    first, last = sorted((places.x(1), places.x(row.ratio)))
    colour = NONE_WANTED if row.wanted_ratio is None else MET if row.is_ratio_met else MISSED
    parts = [
        _text(BARS_FROM - 8, y + 9, row.what, "", "end", 11),
        _text(BARS_FROM - 8, y + 20, f"beside {row.against}", "soft", "end", 10),
        f'<rect class="f{colour}" x="{first:.1f}" y="{y + 3}" width="{max(last - first, 1):.1f}" height="{BAR - 10}"/>',
        _text(WIDE - 16, y + 15, f"{number(row.ratio)} ×", "", "end"),
    ]
    if row.ratio_spread:
        low, high = map(places.x, row.ratio_spread)
        parts.append(f'<line class="half" x1="{low:.1f}" x2="{high:.1f}" y1="{y + BAR / 2 - 2}" y2="{y + BAR / 2 - 2}"/>')
    if row.wanted_ratio:
        at = places.x(row.wanted_ratio)
        parts.append(f'<line class="want" x1="{at:.1f}" x2="{at:.1f}" y1="{y}" y2="{y + BAR - 4}"/>')
    return parts


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start", size: int = 0) -> str:
    marked = f' class="{kind}"' if kind else ""
    sized = f' style="font-size:{size}px"' if size else ""
    return f'<text{marked}{sized} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: float, parts: Sequence[str], title: str, width: float = WIDTH) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
    ground = f'<rect class="ground" x=".5" y=".5" width="{width - 1}" height="{height - 1}" rx="6"/>'
    return "\n".join((head, f"<style>{STYLE}</style>", ground, *parts, "</svg>")) + "\n"
