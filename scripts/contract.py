"""Writes what is generated from the contract's models into services/api/static/contract: `make docs`.

JSON Schemas of a version in its folder, the AsyncAPI document and the OpenAPI document: the API serves these files.
"""

import json
from pathlib import Path
from typing import Any

from scripts.asyncapi import asyncapi_document
from scripts.json_schemas import Document, schema_files
from scripts.openapi import openapi_document
from shared.contract import VERSION
from shared.version import version

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "services" / "api" / "static" / "contract"
EXAMPLES = ROOT / "tests" / "contract" / VERSION / "examples.json"
"""Entries and messages of a real run, by subject and name: `python -m tests.contract.recording` writes them."""


def documents() -> dict[str, Document]:
    """Every file, by its path below the folder."""
    examples = json.loads(EXAMPLES.read_text(encoding="utf-8"))
    return {
        "asyncapi.json": asyncapi_document(version(), examples),
        "openapi.json": openapi_document(),
        **{f"{VERSION}/{path}": schema for path, schema in schema_files().items()},
    }


def text_of(document: Any) -> str:
    """JSON as it is committed: a change shows as the lines that changed."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def write(folder: Path) -> None:
    """Write every file; those that nothing is generated into any more go."""
    texts = {folder / path: text_of(document) for path, document in documents().items()}
    for path in set(folder.rglob("*.json")) - set(texts):
        path.unlink()
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(FOLDER)
