"""Writes the tables of docs/metrics.md from shared/metrics.py: `make docs`. What stands outside of the marks is left as it is."""

from collections.abc import Iterable
from pathlib import Path

from shared.metrics import DECLARED, SERVICES, Declared

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
BEGIN, END = "<!-- made by `make docs` from shared/metrics.py -->\n", "<!-- end of what is made -->\n"


def renewed(page: str) -> str:
    """The page with the tables of what is declared now; raise `ValueError` if the marks are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE} has lost one of its marks: {BEGIN}{END}")
    tables = "\n".join(table(service, (declared for declared in DECLARED if declared.service == service)) for service in SERVICES)
    return f"{before}{BEGIN}\n{tables}\n{END}{after}"


def table(service: str, metrics: Iterable[Declared]) -> str:
    """The metrics of a service under its name."""
    rows = (f"| `{m.name}` | {m.kind} | {', '.join(m.labels)} | {m.meaning} |\n" for m in metrics)
    return f"### {service.capitalize()}\n\n| name | type | labels | meaning |\n|---|---|---|---|\n{''.join(rows)}"


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
