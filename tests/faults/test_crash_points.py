"""Services struck at every named crash point: killed, hung, failing, coming late. Nothing is lost, nothing is doubled."""

import ast
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from shared.crash_points import CrashPoint, Kind
from tests.e2e.pipeline import ROOT, SERVICES, Pipeline
from tests.e2e.proof import Proof
from tests.faults.walk import points_of, walk_together

pytestmark = pytest.mark.timeout(300)
"""A hang guard only: every step starts processes, for which a busy machine has little time."""

WALKS = tuple(product((Kind.KILL, Kind.HANG, Kind.RAISE, Kind.DELAY), (1, 3)))
"""Every kind at the first and at the third hit."""


def walks() -> Iterator[object]:
    """`make test` makes do with kills at the first hit."""
    for kind, hit in WALKS:
        is_sample = kind is Kind.KILL and hit == 1
        yield pytest.param(kind, hit, marks=() if is_sample else pytest.mark.long, id=f"{kind}-{hit}")


@pytest.mark.parametrize(("kind", "hit"), list(walks()))
async def test_services_struck_at_every_crash_point_lose_and_double_nothing(
    kind: Kind, hit: int, small_pipeline: Pipeline, small_proof: Proof
) -> None:
    await walk_together(SERVICES, small_pipeline, small_proof, lambda walk: walk.steps(hit, kind))


def test_walks_leave_no_crash_point_out() -> None:
    assert {point for name in SERVICES for point in points_of(name)} == set(CrashPoint)


def test_every_crash_point_stands_in_the_code_once_and_in_a_service_it_is_named_after() -> None:
    found = Counter(point for path in (*(ROOT / "services").rglob("*.py"), *(ROOT / "shared").rglob("*.py")) for point in reached_in(path))
    assert found == Counter(list(CrashPoint.__members__))


def reached_in(path: Path) -> Iterator[str]:
    """The names of the points that are arguments of `reach` or `answer_of` in a file of the service or module they are named after."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("reach", "answer_of"):
            for argument in node.args:
                if isinstance(argument, ast.Attribute) and isinstance(argument.value, ast.Name) and argument.value.id == "CrashPoint":
                    owner = CrashPoint[argument.attr].partition(".")[0]
                    assert owner in (*path.parts, path.stem), f"{argument.attr} in {path}"
                    yield argument.attr
