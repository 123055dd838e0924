"""JSON Schemas (2020-12) of the contract's models, readable by themselves: one file of each entry, message and command."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from shared.contract import VERSION
from shared.contract.entries import ENTRIES, VALUES
from shared.contract.messages import COMMANDS, MESSAGES

SUBJECTS: dict[str, dict[str, type[BaseModel]]] = {
    "entries": {**ENTRIES, **VALUES},
    "messages": {**MESSAGES},
    "commands": {**COMMANDS},
}
DIALECT = "https://json-schema.org/draft/2020-12/schema"

Document = dict[str, Any]


class Plain(GenerateJsonSchema):
    """Without what only repeats a name, and without a null that stands for a field that is left out."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return {"anyOf": [self.generate_inner(schema["schema"]), {"type": "null"}]}


def schema_files() -> dict[str, Document]:
    """Path below the version's folder, and the schema."""
    return {
        f"{subject}/{name}.schema.json": schema_of(subject, name, model)
        for subject, models in SUBJECTS.items()
        for name, model in models.items()
    }


def schema_of(subject: str, name: str, model: type[BaseModel]) -> Document:
    """The schema of one model, with all it refers to."""
    head = {"$schema": DIALECT, "$id": f"urn:tickstream:{VERSION}:{subject}:{name}"}
    return {**head, **model.model_json_schema(schema_generator=Plain)}


def component_schemas() -> dict[str, Document]:
    """All models by their names, referring to each other as components of one document."""
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for each in SUBJECTS.values() for model in each.values()]
    _, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}", schema_generator=Plain)
    schemas: dict[str, Document] = definitions["$defs"]
    return schemas
