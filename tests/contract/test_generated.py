"""What is generated from the models is what is committed, and is valid by the standards' own rules."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator, meta

from scripts.contract import EXAMPLES, FOLDER, documents, text_of, write
from scripts.json_schemas import SUBJECTS, schema_files
from services.gateway.close_codes import CLOSE_CODES
from tests.integration.gateway.test_gateway_with_ws import CHECKOUT, NODE

PARSER = CHECKOUT / "node_modules" / "@asyncapi" / "parser"
SCHEMAS = schema_files()
RUN = json.loads(EXAMPLES.read_text(encoding="utf-8"))
KINDS = [(subject, name) for subject, models in SUBJECTS.items() for name in models]


def test_committed_files_are_what_is_generated() -> None:
    generated = {FOLDER / path: text_of(document) for path, document in documents().items()}
    committed = {path: path.read_text(encoding="utf-8") for path in FOLDER.rglob("*") if path.is_file()}
    assert set(committed) == set(generated), "out of date: run `make docs`"
    assert [path for path in committed if committed[path] != generated[path]] == [], "out of date: run `make docs`"


def test_writing_takes_away_what_is_no_longer_generated(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "old.schema.json").touch()
    write(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json")} == set(documents())


@pytest.mark.parametrize("path", SCHEMAS)
def test_schema_is_one_of_json_schema_2020_12(path: str) -> None:
    meta.validate(SCHEMAS[path])


@pytest.mark.parametrize(("subject", "name"), KINDS)
def test_what_a_real_run_gave_matches_its_schema_and_no_other_of_its_subject(subject: str, name: str) -> None:
    """Examples come from `tests.contract.recording`."""
    assert RUN[subject][name]
    for example in RUN[subject][name]:
        fitting = [each for each in SUBJECTS[subject] if is_valid(subject, each, example)]
        assert fitting == [name]


def is_valid(subject: str, name: str, example: Any) -> bool:
    return Draft202012Validator(SCHEMAS[f"{subject}/{name}.schema.json"]).is_valid(example)


def test_readers_may_be_sent_fields_that_they_do_not_know() -> None:
    for subject, name in KINDS:
        for example in RUN[subject][name]:
            assert not isinstance(example, dict) or is_valid(subject, name, {**example, "of_tomorrow": "1"})


@pytest.mark.skipif(NODE is None or not PARSER.is_dir(), reason="@asyncapi/parser is not installed: `make install-dev` fetches it")
def test_asyncapi_document_is_valid_by_its_own_parser() -> None:
    script = Path(__file__).with_name("parse_asyncapi.mjs")
    ended = subprocess.run([str(NODE), str(script), str(FOLDER / "asyncapi.json")], capture_output=True, text=True, timeout=110, check=True)
    told = json.loads(ended.stdout)
    # It recommends the newest version of the standard, which few tools know yet.
    assert [each for each in told["diagnostics"] if each["code"] != "asyncapi-latest-version"] == []
    assert (told["version"], sorted(told["messages"])) == ("3.0.0", sorted(name for _, name in KINDS))


def test_asyncapi_document_tells_every_close_code() -> None:
    rows = documents()["asyncapi.json"]["channels"]["gateway"]["x-close-codes"]
    assert [(row["code"], row["meaning"]) for row in rows] == [(close.code, close.meaning) for close in CLOSE_CODES]
