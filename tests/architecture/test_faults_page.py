"""docs/faults.md names tests: each of them is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`((?:tests/)?[\w/]+\.py)(?:::(\w+)(…?))?`")


def named_tests() -> list[tuple[Path, str]]:
    """Files and test names on the page; of one that is cut short, its beginning."""
    page = (ROOT / "docs/faults.md").read_text(encoding="utf-8")
    return [(ROOT / (path if path.startswith("tests/") else f"tests/faults/{path}"), name) for path, name, _ in NAMED.findall(page)]


def test_every_test_that_the_page_of_faults_names_is_there() -> None:
    found = named_tests()
    assert len(found) > 30
    for path, name in found:
        assert path.exists(), path
        assert not name or f"def {name}" in path.read_text(encoding="utf-8"), (path, name)


def test_every_file_of_fault_tests_is_named_on_the_page() -> None:
    folder = ROOT / "tests/faults"
    named = {path for path, _ in named_tests()}
    unnamed = {path.relative_to(folder).as_posix() for path in folder.rglob("test_*.py") if path not in named}
    assert unnamed == {"test_proxy.py", "test_endurance.py"}, "the proxy and the judge are the tools, not the faults"
