"""`python -m benchmarks.page`: draw `benchmarks/README.md` and its pictures from the files in `benchmarks/results` alone."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.plots import chart_svg, ratios_svg
from benchmarks.report import as_markdown
from benchmarks.results import DIRECTORY, Conditions, Result, load_all

TITLES = {
    "append": "Append",
    "analyze": "Analyze",
    "persist": "Persist",
    "pipeline": "The whole pipeline",
    "latency": "Latency, tick to client",
    "fanout": "Fan-out",
    "stalled": "Beside a stalled client",
    "connections": "Connections",
    "resume": "Resuming",
    "start": "Start",
    "idle": "Idle",
    "tickers": "Cost against the number of tickers",
    "periods": "Cost against the SMA period",
    "partitions": "Cost against the number of partitions",
    "analyzers": "Scaling of analyzers",
    "replay": "Replay of a file",
    "storage": "Questions to PostgreSQL",
    "page": "The page in a browser",
}
"""In the order of the page; what is not here comes after it."""
RATIOS = "ratios.svg"
WITH_OURSELVES = {"tickers", "periods", "partitions", "analyzers"}
"""What these compare is no other side: they have charts of their own."""


def main() -> None:
    """Write the page and its pictures."""
    write(load_all(), DIRECTORY)


def write(results: Mapping[str, Result], directory: Path) -> None:
    """Write the pictures into `directory`, the page beside it."""
    ordered = in_order(results.values())
    for old in directory.glob("*.svg"):
        old.unlink()
    (directory / RATIOS).write_text(
        ratios_svg([row for one in ordered for row in one.rows if one.name not in WITH_OURSELVES]), encoding="utf-8"
    )
    for chart in (chart for one in ordered for chart in one.charts):
        (directory / f"{chart.name}.svg").write_text(chart_svg(chart), encoding="utf-8")
    fixed = Path(__file__).with_name("page.md").read_text(encoding="utf-8")
    (directory.parent / "README.md").write_text(f"{fixed}\n{drawn(ordered, directory.name)}", encoding="utf-8")


def in_order(results: Iterable[Result]) -> list[Result]:
    """As the page has them."""
    places = {name: place for place, name in enumerate(TITLES)}
    return sorted(results, key=lambda one: (places.get(one.name, len(places)), one.name))


def drawn(results: Sequence[Result], pictures: str) -> str:
    """The part of the page that was measured."""
    letters = lettered(results)
    parts = ["## Conditions", *(_described(letter, where) for where, letter in letters.items())]
    parts.append(f"![Ratios of all comparisons]({pictures}/{RATIOS})")
    for one in results:
        parts.append(f"## {TITLES.get(one.name, one.name)}")
        if one.rows:
            parts.append(as_markdown(one.rows).rstrip())
        parts += (f"![{chart.title}]({pictures}/{chart.name}.svg)" for chart in one.charts)
        parts.append(_noted(one, letters[one.conditions]))
    return "\n\n".join(parts) + "\n"


def lettered(results: Sequence[Result]) -> dict[Conditions, str]:
    """A letter for each machine and set of versions, in the order in which the page comes to them."""
    every = dict.fromkeys(one.conditions for one in results)
    return {where: chr(ord("A") + n) for n, where in enumerate(every)}


def _described(letter: str, where: Conditions) -> str:
    return f"**{letter}**: {where.machine}; {where.kernel}; {where.versions}; {where.servers}."


def _noted(one: Result, letter: str) -> str:
    commit = f", commit {one.commit}" if one.commit else ""
    name = f"`make bench ARGS={one.name}`"
    return f"{one.date} UTC{commit}, conditions {letter}, load average {one.load:.1f} before it, {one.seconds:.0f} s. {name}"


if __name__ == "__main__":
    main()
