"""Each example is short, and examples/README.md says how to start it."""

from pathlib import Path

import pytest

from tests.e2e.pipeline import ROOT

EXAMPLES = ROOT / "examples"
PROGRAMS = sorted(path for kind in ("py", "mjs", "ipynb") for path in EXAMPLES.rglob(f"*.{kind}"))
MOST_LINES = 100


def test_every_example_is_in_the_readme() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert len(PROGRAMS) >= 5
    assert [str(path) for path in PROGRAMS if f"examples/{path.relative_to(EXAMPLES)}" not in text] == []


@pytest.mark.parametrize("path", [path for path in PROGRAMS if path.suffix != ".ipynb"], ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < MOST_LINES
