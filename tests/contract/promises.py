"""The golden files, what was promised: `python -m tests.contract.promises` takes in what was added, and refuses what breaks."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from scripts.contract import documents, text_of
from scripts.json_schemas import Document
from shared.contract import VERSION
from tests.contract.compatibility import Break, Way, asyncapi_breaks, openapi_breaks, schema_breaks

PROMISED = Path(__file__).parent / VERSION
ADDED = "it is new or worded anew, and breaks nobody: `python -m tests.contract.promises` makes it a promise, too"


def names(folder: Path = PROMISED) -> list[str]:
    """The golden documents, by their path below the folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.json") if path.name != "examples.json")


def promised(name: str, folder: Path = PROMISED) -> Document:
    """A golden document."""
    found: Document = json.loads((folder / name).read_text(encoding="utf-8"))
    return found


def generated() -> dict[str, Document]:
    """What is generated now, under the names of the golden documents."""
    return {path.removeprefix(f"{VERSION}/"): document for path, document in documents().items()}


def breaks(name: str, before: Document, now: Document | None) -> list[Break]:
    """What of a golden document would not hold any more."""
    if now is None:
        return [Break(name, "is gone or has another name", "keep it, and add the new one beside it")]
    if name == "openapi.json":
        return openapi_breaks(before, now)
    if name == "asyncapi.json":
        return asyncapi_breaks(before, now)
    way = Way.ACCEPTED if name.startswith("commands/") else Way.EMITTED
    return schema_breaks(before, now, way, name.removesuffix(".schema.json"))


def all_breaks(now: dict[str, Document]) -> Iterator[Break]:
    """What of all that was promised would not hold any more."""
    for name in names():
        yield from breaks(name, promised(name), now.get(name))


def promise(now: dict[str, Document]) -> list[Break]:
    """Write every golden document again, if nothing breaks; return what does."""
    found = list(all_breaks(now))
    for name, document in () if found else now.items():
        (PROMISED / name).parent.mkdir(parents=True, exist_ok=True)
        (PROMISED / name).write_text(text_of(document), encoding="utf-8")
    return found


if __name__ == "__main__":
    sys.exit("\n".join(map(str, promise(generated()))) or 0)
