"""Only `shared/streams.py` spells the name of a Redis key."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import services
import shared

NAMES = "ticks|enriched|prices|latest|deadletters|log|events|sides|producers|last|lease|members"
KEY = re.compile(rf"^config$|^({NAMES})(:\w*)?:$|\b({NAMES})(:\w*)?:\{{")
ROOTS = [Path(str(package.__file__)).parent for package in (services, shared)]
MODULES = sorted(path for root in ROOTS for path in root.rglob("*.py"))


def spelled(tree: ast.AST) -> Iterator[str]:
    """The texts in a module that name a key; docstrings may."""
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node not in docstrings and isinstance(node.value, str) and KEY.search(node.value):
            yield node.value


def test_no_other_module_spells_a_key() -> None:
    found = {str(path): list(spelled(ast.parse(path.read_text(encoding="utf-8")))) for path in MODULES}
    assert [path for path, texts in found.items() if texts] == [str(Path(str(shared.__file__)).parent / "streams.py")]


def test_the_functions_of_redis_spell_none_either() -> None:
    code = (Path(str(shared.__file__)).parent / "redis" / "functions.lua").read_text(encoding="utf-8")
    assert re.findall(r"'[a-z]+:(?:[a-z]+:)?\{?[^']*'", re.sub(r"--.*", "", code)) == []


@pytest.mark.parametrize("code", ['f"ticks:{{{p}}}"', 'f"lease:{service}:{{{p}}}"', '"lease:analyzer:{0}"', '"config"', '"log:" + p'])
def test_a_spelled_key_would_be_found(code: str) -> None:
    assert list(spelled(ast.parse(f"key = {code}")))


@pytest.mark.parametrize(
    "code",
    ['"""The stream `ticks:{p}`."""', 'x = f"dialog: {p}"', 'x = f"it said last: {p}"', 'x = "it said last:"', 'x = "tickstream:ab"'],
)
def test_other_texts_are_left_alone(code: str) -> None:
    assert not list(spelled(ast.parse(code)))
