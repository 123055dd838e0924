"""What the comparator calls a break, rule by rule, and that it says what would be allowed."""

from copy import deepcopy
from typing import Any

import pytest

from shared.contract.fields import FIELD_ORDER
from tests.contract.compatibility import Way, asyncapi_breaks, openapi_breaks, schema_breaks

Schema = dict[str, Any]

EVENT: Schema = {
    "type": "object",
    "title": "event",
    "properties": {
        "ticker": {"type": "string", "pattern": "^[A-Z]+$", "description": "Symbol."},
        "price": {"type": "number", "exclusiveMinimum": 0},
        "alert": {"anyOf": [{"type": "string", "enum": ["bullish", "bearish"]}, {"type": "null"}]},
        "seq": {"type": "integer", "minimum": 1},
        "note": {"type": "string", "maxLength": 100},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}, "maxItems": 10},
    },
    "required": ["ticker", "price", "alert", "seq", "parts"],
    FIELD_ORDER: ["ticker", "price", "alert", "seq", "note", "parts"],
    "$defs": {
        "Part": {"type": "object", "properties": {"id": {"type": "string"}, "side": {"const": "up", "type": "string"}}, "required": ["id"]}
    },
}


def changed(schema: Schema, **at: Any) -> Schema:
    """A copy with values set at `a__b__c`; None deletes."""
    copy = deepcopy(schema)
    for path, value in at.items():
        *keys, last = path.split("__")
        place = copy
        for key in keys:
            place = place[key]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return copy


def with_field(required: bool, *, order: list[str]) -> Schema:
    more = changed(EVENT, properties__venue={"type": "string"}, **{FIELD_ORDER: order})
    return changed(more, required=[*EVENT["required"], "venue"]) if required else more


LAST = [*EVENT[FIELD_ORDER], "venue"]
RENAMED = changed(
    EVENT, properties__price=None, properties__amount={"type": "number"}, required=["ticker", "amount", "alert", "seq", "parts"],
    **{FIELD_ORDER: ["ticker", "amount", "alert", "seq", "note", "parts"]},
)  # fmt: skip

BREAKS_READERS = {
    "removed": (changed(EVENT, properties__note=None), "event.note", "is gone or has another name", "the new name beside it"),
    "renamed": (RENAMED, "event.price", "is gone or has another name", "another version (v2)"),
    "optional": (changed(EVENT, required=["ticker", "price", "alert", "seq"]), "event.parts", "may be left out now", "go on emitting it"),
    "type": (changed(EVENT, properties__seq={"type": "string"}), "event.seq", "was integer, is string", "add a field of another name"),
    "wider number": (changed(EVENT, properties__seq={"type": "number", "minimum": 1}), "event.seq", "is number", "add a field"),
    "null": (
        changed(EVENT, properties__ticker={"anyOf": [EVENT["properties"]["ticker"], {"type": "null"}]}),
        "event.ticker", "may be null now, which it never was", "a field of another name",
    ),
    "choice": (
        changed(EVENT, properties__alert={"anyOf": [{"type": "string", "enum": ["bullish", "bearish", "flat"]}, {"type": "null"}]}),
        "event.alert", "may be 'flat' now", "a field of its own",
    ),
    "no choice": (
        changed(EVENT, properties__alert={"anyOf": [{"type": "string"}, {"type": "null"}]}), "event.alert", "may be any value now", "keep",
    ),
    "constant": (changed(EVENT, **{"$defs__Part__properties__side__const": "down"}), "event.parts[].side", "'down'", "keep"),
    "pattern": (changed(EVENT, properties__ticker__pattern="^[A-Z.]+$"), "event.ticker", "matches ^[A-Z.]+$ now", "as it was"),
    "no pattern": (changed(EVENT, properties__ticker__pattern=None), "event.ticker", "matches anything now", "the pattern as it was"),
    "upper bound": (changed(EVENT, properties__parts__maxItems=11), "event.parts", "maxItems was 10, is 11", "a narrower one"),
    "lower bound": (changed(EVENT, properties__price__exclusiveMinimum=None), "event.price", "was 0, is none", "a narrower one"),
    "inner field": (changed(EVENT, **{"$defs__Part__properties__id": None}), "event.parts[].id", "is gone", "keep it"),
    "any items": (changed(EVENT, properties__parts__items={}), "event.parts[]", "was object, is anything", "leave it"),
    "order": (
        changed(EVENT, **{FIELD_ORDER: ["price", "ticker", "alert", "seq", "note", "parts"]}),
        "event", "the fields were ticker, price, alert, seq, note, parts; they are price, ticker", "a new field comes last",
    ),
    "no order": (changed(EVENT, **{FIELD_ORDER: None}), "event", "they are in no order", "a new field comes last"),
    "added in the middle": (with_field(True, order=["ticker", "venue", *LAST[1:-1]]), "event", "they are ticker, venue", "comes last"),
    "not judged": (changed(EVENT, additionalProperties=False), "event", "additionalProperties changed", "teach"),
}  # fmt: skip

BREAKS_SENDERS = {
    "required field": (with_field(True, order=LAST), "event.venue", "must be sent now", "make it optional, with a default"),
    "became required": (changed(EVENT, required=[*EVENT["required"], "note"]), "event.note", "must be sent now", "make it optional"),
    "removed": (changed(EVENT, properties__note=None), "event.note", "is not heeded any more", "go on accepting it"),
    "type": (changed(EVENT, properties__note={"type": "integer"}), "event.note", "was string, is integer", "add a field"),
    "narrower number": (changed(EVENT, properties__price={"type": "integer"}), "event.price", "was number, is integer", "add a field"),
    "choice": (
        changed(EVENT, properties__alert={"anyOf": [{"type": "string", "enum": ["bullish"]}, {"type": "null"}]}),
        "event.alert", "'bearish' is refused now", "go on accepting it",
    ),
    "null": (changed(EVENT, properties__alert={"type": "string", "enum": ["bullish", "bearish"]}), "event.alert", "null is", "go on"),
    "choices alone": (changed(EVENT, properties__note__enum=["a"]), "event.note", "any value is refused now", "go on accepting it"),
    "pattern": (changed(EVENT, properties__ticker__pattern="^[A-Z]{1,4}$"), "event.ticker", "matches ^[A-Z]{1,4}$ now", "or none"),
    "new pattern": (changed(EVENT, properties__note__pattern="^x"), "event.note", "matched anything, matches ^x now", "or none"),
    "upper bound": (changed(EVENT, properties__note__maxLength=99), "event.note", "maxLength was 100, is 99", "a wider one"),
    "new bound": (changed(EVENT, properties__seq__maximum=5), "event.seq", "maximum was none, is 5", "a wider one"),
}  # fmt: skip

ALLOWED_FOR_READERS = {
    "nothing": EVENT,
    "words": changed(EVENT, description="Anew.", properties__ticker__description="Another text.", title="Event"),
    "added at the end": with_field(True, order=LAST),
    "added, optional": with_field(False, order=LAST),
    "became certain": changed(EVENT, required=[*EVENT["required"], "note"]),
    "fewer choices": changed(EVENT, properties__alert={"anyOf": [{"type": "string", "enum": ["bullish"]}, {"type": "null"}]}),
    "never null": changed(EVENT, properties__alert={"type": "string", "enum": ["bullish", "bearish"]}),
    "narrower bound": changed(EVENT, properties__parts__maxItems=9, properties__seq__minimum=2),
    "new bound": changed(EVENT, properties__note__minLength=1),
    "new pattern": changed(EVENT, properties__note__pattern="^[a-z]+$"),
    "whole numbers": changed(EVENT, properties__price={"type": "integer", "exclusiveMinimum": 0}),
    "inner field": changed(EVENT, **{"$defs__Part__properties__more": {"type": "string"}}),
}
ALLOWED_FOR_SENDERS = {
    "nothing": EVENT,
    "optional field": with_field(False, order=LAST),
    "not required any more": changed(EVENT, required=["ticker"]),
    "more choices": changed(
        EVENT, properties__alert={"anyOf": [{"type": "string", "enum": ["bullish", "bearish", "flat"]}, {"type": "null"}]}
    ),
    "any items": changed(EVENT, properties__parts__items={}),
    "any number": changed(EVENT, properties__seq={"type": "number", "minimum": 1}),
    "no pattern": changed(EVENT, properties__ticker__pattern=None),
    "wider bound": changed(EVENT, properties__note__maxLength=101),
    "no bound": changed(EVENT, properties__note__maxLength=None),
}


@pytest.mark.parametrize("rule", BREAKS_READERS)
def test_change_that_breaks_a_reader_is_found_and_the_way_out_told(rule: str) -> None:
    now, where, what, instead = BREAKS_READERS[rule]
    check(now, Way.EMITTED, where, what, instead)


@pytest.mark.parametrize("rule", BREAKS_SENDERS)
def test_change_that_breaks_a_sender_is_found_and_the_way_out_told(rule: str) -> None:
    now, where, what, instead = BREAKS_SENDERS[rule]
    check(now, Way.ACCEPTED, where, what, instead)


def check(now: Schema, way: Way, where: str, what: str, instead: str) -> None:
    """One break, there, with that text; `RENAMED` also breaks the order."""
    found = [each for each in schema_breaks(EVENT, now, way, "event") if each.where == where]
    assert len(found) == 1, found
    assert what in found[0].what
    assert instead in found[0].instead
    assert str(found[0]) == f"{where}: {found[0].what}. Allowed instead: {found[0].instead}."


@pytest.mark.parametrize("rule", ALLOWED_FOR_READERS)
def test_change_that_breaks_no_reader_is_allowed(rule: str) -> None:
    assert schema_breaks(EVENT, ALLOWED_FOR_READERS[rule], Way.EMITTED) == []


@pytest.mark.parametrize("rule", ALLOWED_FOR_SENDERS)
def test_change_that_breaks_no_sender_is_allowed(rule: str) -> None:
    assert schema_breaks(EVENT, ALLOWED_FOR_SENDERS[rule], Way.ACCEPTED) == []


API: Schema = {
    "paths": {
        "/api/stocks": {
            "get": {
                "parameters": [
                    {"in": "query", "name": "limit", "schema": {"type": "integer", "maximum": 1000, "default": 100}},
                    {"in": "query", "name": "start", "schema": {"type": "string"}},
                ],
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Stock"}}, "text/csv": {}}},
                    "422": {},
                },
            }
        }
    },
    "components": {"schemas": {"Stock": {"type": "object", "properties": {"ticker": {"type": "string"}}, "required": ["ticker"]}}},
}
GET = "paths__/api/stocks__get"
LIMIT, START = API["paths"]["/api/stocks"]["get"]["parameters"]

API_BREAKS = {
    "path": (changed(API, **{"paths__/api/stocks": None}), "GET /api/stocks", "is gone", "another path"),
    "parameter gone": (changed(API, **{f"{GET}__parameters": [LIMIT]}), "GET /api/stocks?start", "is not heeded any more", "go on"),
    "parameter needed": (
        changed(API, **{f"{GET}__parameters": [LIMIT, {**START, "required": True}]}), "GET /api/stocks?start", "must be given now", "make",
    ),
    "new parameter needed": (
        changed(API, **{f"{GET}__parameters": [LIMIT, START, {"in": "query", "name": "x", "required": True, "schema": {}}]}),
        "GET /api/stocks?x", "must be given now", "make it optional",
    ),
    "parameter narrower": (
        changed(API, **{f"{GET}__parameters": [changed(LIMIT, schema__maximum=500), START]}), "GET /api/stocks?limit", "is 500", "wider",
    ),
    "default": (
        changed(API, **{f"{GET}__parameters": [changed(LIMIT, schema__default=50), START]}), "GET /api/stocks?limit", "is 50", "leave",
    ),
    "answer": (changed(API, **{f"{GET}__responses__422": None}), "GET /api/stocks 422", "is not answered any more", "go on"),
    "content type": (changed(API, **{f"{GET}__responses__200__content__text/csv": None}), "GET /api/stocks 200 text/csv", "is gone", ""),
    "field": (
        changed(API, components__schemas__Stock__properties={"symbol": {"type": "string"}}),
        "GET /api/stocks 200 application/json.ticker", "is gone", "keep it",
    ),
}  # fmt: skip
API_ALLOWED = {
    "path": changed(API, **{"paths__/api/v2": {"get": {"responses": {}}}}),
    "parameter": changed(API, **{f"{GET}__parameters": [LIMIT, START, {"in": "query", "name": "x", "schema": {}}]}),
    "field": changed(API, components__schemas__Stock__properties__more={"type": "string"}),
    "status": changed(API, **{f"{GET}__responses__503": {}}),
}


@pytest.mark.parametrize("rule", API_BREAKS)
def test_change_that_breaks_a_caller_of_the_api_is_found(rule: str) -> None:
    now, where, what, instead = API_BREAKS[rule]
    (found,) = openapi_breaks(API, now)
    assert found.where == where
    assert what in found.what
    assert instead in found.instead


@pytest.mark.parametrize("rule", API_ALLOWED)
def test_change_that_breaks_no_caller_is_allowed(rule: str) -> None:
    assert openapi_breaks(API, API_ALLOWED[rule]) == []


EVENTS: Schema = {
    "channels": {
        "ticks": {"address": "ticks:{p}", "messages": {"tick": {}}},
        "gateway": {
            "address": "/ws/",
            "messages": {"pong": {}, "ping": {}},
            "bindings": {"ws": {"query": {"type": "object", "properties": {"since": {"type": "string", "maxLength": 9}}}}},
            "x-close-codes": [{"code": 1012, "reconnect": "yes"}],
        },
    }
}
EVENTS_BREAKS = {
    "channel": (changed(EVENTS, channels__ticks=None), "ticks", "ticks:{p} is gone"),
    "address": (changed(EVENTS, channels__ticks__address="tick:{p}"), "ticks", "ticks:{p} is gone"),
    "message": (changed(EVENTS, channels__gateway__messages={"ping": {}}), "gateway", "pong is not carried any more"),
    "query": (changed(EVENTS, channels__gateway__bindings__ws__query__properties__since__maxLength=8), "gateway?.since", "is 8"),
    "close code": (
        changed(EVENTS, **{"channels__gateway__x-close-codes": [{"code": 1012, "reconnect": "no"}]}),
        "gateway close code 1012",
        "is `no`",
    ),
    "no close code": (changed(EVENTS, **{"channels__gateway__x-close-codes": []}), "gateway close code 1012", "is `not told`"),
}


@pytest.mark.parametrize("rule", EVENTS_BREAKS)
def test_change_that_breaks_a_client_of_a_channel_is_found(rule: str) -> None:
    now, where, what = EVENTS_BREAKS[rule]
    (found,) = asyncapi_breaks(EVENTS, now)
    assert found.where == where
    assert what in found.what


def test_channels_and_messages_may_be_added() -> None:
    more = changed(EVENTS, channels__bars={"address": "bars:{p}", "messages": {}}, channels__ticks__messages__late={})
    assert asyncapi_breaks(EVENTS, more) == []
