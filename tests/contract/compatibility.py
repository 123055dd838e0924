"""Tells what breaks those who stand on a promised contract, and what to do instead. Pure: documents in, breaks out.

What we emit may get narrower and gain fields: whoever reads it ignores what it does not know. What we accept may get wider and gain
optional fields: whoever sends it goes on as before. Everything else is a break. Keywords that cannot be judged must stay as they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, TypeVar

from shared.contract.fields import FIELD_ORDER

Document = Mapping[str, Any]

ANNOTATIONS = {"title", "description", "examples", "example", "default", "deprecated", "$schema", "$id", "$defs"}
UPPER = {"maximum", "exclusiveMaximum", "maxLength", "maxItems"}
LOWER = {"minimum", "exclusiveMinimum", "minLength", "minItems"}
JUDGED = {"$ref", "type", "enum", "const", "pattern", "properties", "required", "items", "anyOf", FIELD_ORDER, *UPPER, *LOWER}

NEW_VERSION = "or describe it as another version (v2), emitted beside this one until nobody reads this one any more"


T = TypeVar("T")


class Way(Enum):
    """Who writes and who reads."""

    EMITTED = "we emit it"
    ACCEPTED = "we accept it"


class Break(NamedTuple):
    """What somebody who stands on the promise would stumble over."""

    where: str
    what: str
    instead: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. Allowed instead: {self.instead}."


@dataclass(frozen=True, eq=False)
class Side:
    """A schema, and the document that its references are in."""

    root: Document
    schema: Document

    def at(self, schema: Document) -> "Side":
        """A part of the same document, its reference followed."""
        while "$ref" in schema:
            schema = follow(self.root, str(schema["$ref"]))
        return Side(self.root, schema)

    def alternatives(self) -> list["Side"]:
        """The schemas of which a value matches one."""
        return [self.at(each) for each in self.schema.get("anyOf", [self.schema])]

    def fields(self) -> Mapping[str, Document]:
        """Properties by name."""
        found: Mapping[str, Document] = self.schema.get("properties", {})
        return found

    def required(self) -> set[str]:
        """Names of properties that are always there."""
        return set(self.schema.get("required", ()))


def follow(root: Document, reference: str) -> Document:
    """What `#/a/b` points to."""
    found: Any = root
    for key in reference.removeprefix("#/").split("/"):
        found = found[key.replace("~1", "/").replace("~0", "~")]
    return dict(found)


def schema_breaks(promised: Document, now: Document, way: Way, where: str = "") -> list[Break]:
    """Compare two JSON Schemas, each a whole document."""
    return list(_breaks(_whole(promised), _whole(now), way, where or str(now.get("title", "schema"))))


def _whole(schema: Document) -> Side:
    return Side(schema, {}).at(schema)


def _narrow_and_wide(promised: T, now: T, way: Way) -> tuple[T, T]:
    """Which side has to lie within which: what we emit within what was promised, what was promised within what we accept."""
    return (now, promised) if way is Way.EMITTED else (promised, now)


def _breaks(promised: Side, now: Side, way: Way, where: str) -> Iterator[Break]:
    if "anyOf" in promised.schema or "anyOf" in now.schema:
        yield from _alternative_breaks(promised, now, way, where)
        return
    _, wide = _narrow_and_wide(promised.schema, now.schema, way)
    if not set(wide) - ANNOTATIONS:
        return
    yield from _value_breaks(promised.schema, now.schema, way, where)
    yield from _field_breaks(promised, now, way, where)
    yield from _order_breaks(promised.schema, now.schema, where)
    if "items" in promised.schema or "items" in now.schema:
        items = promised.at(promised.schema.get("items", {})), now.at(now.schema.get("items", {}))
        yield from _breaks(*items, way, f"{where}[]")
    yield from _unknown_breaks(promised.schema, now.schema, where)


def _alternative_breaks(promised: Side, now: Side, way: Way, where: str) -> Iterator[Break]:
    """Every alternative of the narrower side must fit one of the wider."""
    narrow, wide = _narrow_and_wide(promised, now, way)
    for each in narrow.alternatives():
        tried = {other: list(_breaks(*_promised_and_now(each, other, way), way, where)) for other in wide.alternatives()}
        if all(tried.values()):
            alike = [found for other, found in tried.items() if same_type(each.schema, other.schema)]
            yield from min(alike, key=len) if alike else [_kind_break(where, way, kind(each.schema))]


def _promised_and_now(narrow: Side, wide: Side, way: Way) -> tuple[Side, Side]:
    return (wide, narrow) if way is Way.EMITTED else (narrow, wide)


def same_type(one: Document, other: Document) -> bool:
    """Whether both say the same of `type`."""
    return bool(one.get("type") == other.get("type"))


def kind(schema: Document) -> str:
    """A schema in a word."""
    return str(schema.get("type") or schema.get("const") or schema.get("enum") or "anything")


def _kind_break(where: str, way: Way, what: str) -> Break:
    if way is Way.EMITTED:
        return Break(where, f"may be {what} now, which it never was", f"a field of another name beside it, {NEW_VERSION}")
    return Break(where, f"{what} is refused now", "go on accepting it, beside what is new")


def _value_breaks(promised: Document, now: Document, way: Way, where: str) -> Iterator[Break]:
    if not same_type(promised, now) and not _is_within(promised, now, way):
        yield Break(where, f"was {kind(promised)}, is {kind(now)}", f"leave it, and add a field of another name, {NEW_VERSION}")
        return
    yield from _choice_breaks(promised, now, way, where)
    yield from _pattern_breaks(promised.get("pattern"), now.get("pattern"), way, where)
    for key in sorted(UPPER | LOWER):
        yield from _bound_breaks(key, promised.get(key), now.get(key), way, where)


def _is_within(promised: Document, now: Document, way: Way) -> bool:
    """Every integer is a number, and everything is anything."""
    narrow, wide = _narrow_and_wide(promised, now, way)
    return wide.get("type") is None or (narrow.get("type"), wide.get("type")) == ("integer", "number")


def _choices(schema: Document) -> set[str] | None:
    if "const" in schema:
        return {repr(schema["const"])}
    return {repr(value) for value in schema["enum"]} if "enum" in schema else None


def _choice_breaks(promised: Document, now: Document, way: Way, where: str) -> Iterator[Break]:
    before, after = _choices(promised), _choices(now)
    narrow, wide = _narrow_and_wide(before, after, way)
    if wide is None:
        return
    more = sorted(narrow - wide) if narrow is not None else ["any value"]
    if not more:
        return
    if way is Way.EMITTED:
        yield Break(
            where, f"may be {', '.join(more)} now", f"keep to the promised values; tell the new one in a field of its own, {NEW_VERSION}"
        )
    else:
        yield Break(where, f"{', '.join(more)} is refused now", "go on accepting it")


def _pattern_breaks(promised: str | None, now: str | None, way: Way, where: str) -> Iterator[Break]:
    """Whether one pattern is within another cannot be told, so another one is a break."""
    narrow, wide = _narrow_and_wide(promised, now, way)
    if wide is None or narrow == wide:
        return
    allowed = f"the pattern as it was; other text in a field of another name, {NEW_VERSION}"
    if way is Way.ACCEPTED:
        allowed = "the pattern as it was, or none; a narrower one belongs into another command"
    yield Break(where, f"matched {promised or 'anything'}, matches {now or 'anything'} now", allowed)


def _bound_breaks(key: str, promised: float | None, now: float | None, way: Way, where: str) -> Iterator[Break]:
    narrow, wide = _narrow_and_wide(promised, now, way)
    if wide is None or (narrow is not None and (narrow <= wide if key in UPPER else narrow >= wide)):
        return
    before, after = ("none" if bound is None else bound for bound in (promised, now))
    allowed = f"the promised bound or a narrower one, {NEW_VERSION}" if way is Way.EMITTED else "the promised bound or a wider one"
    yield Break(where, f"{key} was {before}, is {after}", allowed)


def _field_breaks(promised: Side, now: Side, way: Way, where: str) -> Iterator[Break]:
    before, after = promised.fields(), now.fields()
    for name in before:
        if name not in after:
            yield _missing(f"{where}.{name}", way)
        else:
            yield from _breaks(promised.at(before[name]), now.at(after[name]), way, f"{where}.{name}")
    if way is Way.EMITTED:
        for name in sorted((promised.required() - now.required()) & set(after)):
            yield Break(f"{where}.{name}", "was always there, may be left out now", f"go on emitting it always, {NEW_VERSION}")
    else:
        for name in sorted(now.required() - promised.required()):
            yield Break(f"{where}.{name}", "must be sent now", "make it optional, with a default that is what was done before")


def _missing(where: str, way: Way) -> Break:
    if way is Way.EMITTED:
        return Break(where, "is gone or has another name", f"keep it and add the new name beside it, {NEW_VERSION}")
    return Break(where, "is not heeded any more, or has another name", "go on accepting it, and accept the new name beside it")


def _order_breaks(promised: Document, now: Document, where: str) -> Iterator[Break]:
    before, after = promised.get(FIELD_ORDER), now.get(FIELD_ORDER)
    if before is None or (after is not None and _begins_with(after, [name for name in before if name in after])):
        return
    yield Break(where, f"the fields were {', '.join(before)}; they are {', '.join(after or ('in no order',))}", "a new field comes last")


def _begins_with(names: Sequence[str], first: Sequence[str]) -> bool:
    """A field that is gone is a break of its own."""
    return list(names[: len(first)]) == list(first)


def _unknown_breaks(promised: Document, now: Document, where: str) -> Iterator[Break]:
    for key in sorted((set(promised) | set(now)) - ANNOTATIONS - JUDGED):
        if promised.get(key) != now.get(key):
            yield Break(
                where, f"{key} changed, which nobody here can judge", "leave it, or teach tests/contract/compatibility.py to judge it"
            )


def openapi_breaks(promised: Document, now: Document) -> list[Break]:
    """Compare two OpenAPI documents: paths and parameters are what we accept, answers what we emit."""
    return [each for path, methods in promised["paths"].items() for each in _path_breaks(promised, now, path, methods)]


def _path_breaks(promised: Document, now: Document, path: str, methods: Document) -> Iterator[Break]:
    for method, before in methods.items():
        where = f"{method.upper()} {path}"
        after = now["paths"].get(path, {}).get(method)
        if after is None:
            yield Break(where, "is gone", "keep it, and add what is new under another path, such as /api/v2")
            continue
        yield from _parameter_breaks(Side(promised, before), Side(now, after), where)
        yield from _answer_breaks(Side(promised, before), Side(now, after), where)


def _parameters(operation: Side) -> dict[tuple[str, str], Document]:
    return {(each["in"], each["name"]): each for each in operation.schema.get("parameters", [])}


def _parameter_breaks(promised: Side, now: Side, where: str) -> Iterator[Break]:
    before, after = _parameters(promised), _parameters(now)
    for key, parameter in after.items():
        if parameter.get("required") and not before.get(key, {}).get("required"):
            yield Break(f"{where}?{key[1]}", "must be given now", "make it optional, with a default that is what was done before")
    for key, parameter in before.items():
        place = f"{where}?{key[1]}"
        if key not in after:
            yield _missing(place, Way.ACCEPTED)
            continue
        one, other = parameter["schema"], after[key]["schema"]
        if one.get("default") != other.get("default"):
            told = f"the default was {one.get('default')}, is {other.get('default')}"
            yield Break(place, told, "leave the default: who leaves the parameter out goes on getting the same")
        yield from _breaks(promised.at(one), now.at(other), Way.ACCEPTED, place)


def _answer_breaks(promised: Side, now: Side, where: str) -> Iterator[Break]:
    for status, answer in promised.schema["responses"].items():
        after = now.schema["responses"].get(status)
        if after is None:
            yield Break(f"{where} {status}", "is not answered any more", "go on answering it")
            continue
        for media, content in answer.get("content", {}).items():
            place = f"{where} {status} {media}"
            if media not in after.get("content", {}):
                yield Break(place, "is gone", "go on offering this type, and add the new one")
            elif "schema" in content:
                yield from _breaks(promised.at(content["schema"]), now.at(after["content"][media]["schema"]), Way.EMITTED, place)


def asyncapi_breaks(promised: Document, now: Document) -> list[Break]:
    """Compare channels, which messages they carry, the query of the URL and the close codes; schemas are compared by themselves."""
    return [each for name, channel in promised["channels"].items() for each in _channel_breaks(name, channel, now["channels"].get(name))]


def _channel_breaks(name: str, promised: Document, now: Document | None) -> Iterator[Break]:
    if now is None or now["address"] != promised["address"]:
        yield Break(name, f"{promised['address']} is gone", "keep it, and add a channel of another name")
        return
    for message in sorted(set(promised["messages"]) - set(now["messages"])):
        yield Break(name, f"{message} is not carried any more", "go on carrying it")
    query = [Side(each, each.get("bindings", {}).get("ws", {}).get("query", {})) for each in (promised, now)]
    yield from _breaks(query[0], query[1], Way.ACCEPTED, f"{name}?")
    before, after = ({row["code"]: row["reconnect"] for row in each.get("x-close-codes", ())} for each in (promised, now))
    for code, reconnect in before.items():
        if after.get(code) != reconnect:
            told = f"reconnect after it was `{reconnect}`, is `{after.get(code, 'not told')}`"
            yield Break(f"{name} close code {code}", told, "leave it, and close with another code")
