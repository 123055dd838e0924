"""Only `shared/metrics.py` makes metrics, each of them is used, and the page about them is of now."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import services
import shared
from scripts.metrics_page import PAGE, renewed
from shared import metrics
from shared.metrics import DECLARED

SHARED = Path(str(shared.__file__)).parent
DECLARATIONS = SHARED / "metrics.py"
MODULES = sorted(path for root in (Path(str(services.__file__)).parent, SHARED) for path in root.rglob("*.py"))
CONSTANTS = {constant: declared for constant, value in vars(metrics).items() for declared in DECLARED if value is declared.metric}


def imports_of(tree: ast.AST) -> Iterator[str]:
    """The top-level packages that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def used_in(module: Path) -> Iterator[str]:
    """The constants of `metrics` that a module reads, as `metrics.NAME`; that module itself by their name alone."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "metrics":
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and module == DECLARATIONS:
            yield node.id


def test_no_other_module_can_make_a_metric() -> None:
    assert [path for path in MODULES if "prometheus_client" in imports_of(ast.parse(path.read_text(encoding="utf-8")))] == [DECLARATIONS]


@pytest.mark.parametrize(
    "code", ["import prometheus_client", "from prometheus_client.core import Gauge", "def f():\n import prometheus_client.core"]
)
def test_another_maker_would_be_found(code: str) -> None:
    assert list(imports_of(ast.parse(code))) == ["prometheus_client"]


def test_every_metric_has_a_constant_and_is_used() -> None:
    used = {name for path in MODULES for name in used_in(path)}
    assert len(CONSTANTS) == len(DECLARED)
    assert set(CONSTANTS) - used == set()


def test_the_page_is_of_now() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == renewed(page), "out of date: run `make docs`"


def test_queries_of_the_page_name_metrics_that_exist() -> None:
    suffixes = {"histogram": ("", "_bucket", "_sum", "_count")}
    known = {f"{declared.name}{suffix}" for declared in DECLARED for suffix in suffixes.get(declared.kind, ("",))}
    named = set(re.findall(r"\btickstream_\w+", PAGE.read_text(encoding="utf-8")))
    assert named - known == set()


def test_a_page_without_its_marks_is_not_written() -> None:
    with pytest.raises(ValueError, match="has lost one of its marks"):
        renewed("# Metrics\n")
