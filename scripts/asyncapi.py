"""The AsyncAPI 3.0 document of the streams and the WebSocket: the models, and the keys and close codes the services themselves use."""

from collections.abc import Iterable, Mapping
from typing import Any

from scripts.json_schemas import SUBJECTS, Document, component_schemas
from services.gateway.close_codes import CLOSE_CODES, LAST_HINT_SECONDS, CloseCode, Reconnect
from services.gateway.protocol import MOST_CURSOR_CHARACTERS, MOST_ERRORS, MOST_TICKERS
from shared import streams
from shared.contract import VERSION

WEBSOCKET = "gateway"
"""Name of the server and of its one channel."""

RECONNECT = {Reconnect.AFTER_HINT: "after the hint in the reason", Reconnect.WITH_NEW_TOKEN: "with a new token", Reconnect.NEVER: "no"}

PARTITION = {
    "description": "Number of the partition, 0 to PARTITIONS - 1, in braces. The braces are a part of the key, the hash tag of Redis "
    "Cluster: the key of partition 0 ends with `{0}`.",
    "examples": ["{0}", "{3}"],
}
TICKER = {"description": "Symbol of the stock.", "examples": ["AAPL", "BRK.B"]}


def of_partition(key_of_first: str) -> str:
    """The key of any partition, from that of the first one."""
    return key_of_first.replace("{0}", "{p}")


STREAMS: dict[str, tuple[str, str, str]] = {
    "ticks": (
        of_partition(streams.ticks(0)),
        "Stream of raw ticks",
        "One stream of each partition, in the order of `seq`. Read it with a group of your own, beside `analyzer` and `persister`.",
    ),
    "enriched": (
        of_partition(streams.enriched(0)),
        "Stream of ticks with average and alert",
        "One stream of each partition, an entry of each tick, in the same order. Alerts are the entries whose `alert` is not empty.",
    ),
    "deadletters": (
        of_partition(streams.deadletters(0)),
        "Stream of input that could not be processed",
        "One stream of each partition, the newest 100 000 entries. One that was retried or dropped is deleted.",
    ),
    "market": (streams.MARKET, "Stream of whether the exchange trades", "One for the deployment; the newest 1 000 are kept."),
    "latest": (
        of_partition(streams.latest(0)),
        "Hash of the newest value of each ticker",
        "One of each partition: ticker to JSON. Not a stream.",
    ),
    "prices": (
        of_partition(streams.prices(0, "{ticker}")),
        "List of the window of a ticker",
        "The last SMA_PERIOD prices, oldest first, never more. Not a stream.",
    ),
}
"""By name: address, title, what it is."""

ANSWERS = {
    "subscribe": ("subscribed", "stock_update", "error"),
    "unsubscribe": ("subscribed", "error"),
    "ping": ("pong",),
    "auth": ("subscribed", "error"),
}
"""By command: the messages that answer it."""


def asyncapi_document(version: str, examples: Mapping[str, Mapping[str, list[Any]]]) -> Document:
    """The document; `examples` are those of a real run, by subject and name."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:tickstream",
        "info": info(version),
        "defaultContentType": "application/json",
        "servers": servers(),
        "channels": {**{name: stream_channel(name) for name in STREAMS}, WEBSOCKET: websocket_channel()},
        "operations": {**stream_operations(), "tell": told(), **command_operations()},
        "components": {
            "messages": {key: message(subject, name, examples[subject][name]) for subject, name, key in named_messages()},
            "schemas": component_schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": TOKEN}},
        },
    }


TOKEN = (
    "Only where GATEWAY_AUTH is `jwt`. In the header Authorization, or as the subprotocols `bearer, <token>`, or with the command `auth` "
    "within 5 s. Never in the URL."
)


def info(version: str) -> Document:
    """What the document is about."""
    return {
        "title": "tickstream: streams and WebSocket",
        "version": version,
        "description": f"Version {VERSION} of the contract: entries on Redis Streams, and messages of the gateway to its clients. "
        "Fields may be added, entries get them at the end: ignore what you do not know. Nothing here is removed, renamed or widened; what "
        "has to be becomes another version beside this one.",
        "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        "tags": [{"name": "stock prices"}, {"name": "Redis Streams"}, {"name": "WebSocket"}],
    }


def servers() -> Document:
    """Where a deployment listens by default."""
    return {
        "redis": {
            "host": "127.0.0.1:6379",
            "protocol": "redis",
            "description": "REDIS_URL: Redis >= 7.0 or Valkey, one server or a cluster. All values are text.",
        },
        WEBSOCKET: {
            "host": "127.0.0.1:8001",
            "protocol": "ws",
            "description": "GATEWAY_HOST and GATEWAY_PORT.",
            "security": [{"$ref": "#/components/securitySchemes/token"}],
        },
    }


def named_messages() -> Iterable[tuple[str, str, str]]:
    """Subject, name and key of every message."""
    for subject, models in SUBJECTS.items():
        for name in models:
            yield subject, name, name


def message(subject: str, name: str, examples: Iterable[Any]) -> Document:
    """A message, with those of a real run."""
    model = SUBJECTS[subject][name]
    summary, _, more = " ".join((model.__doc__ or "").split()).partition(". ")
    described = {"name": name, "title": name, "summary": summary.rstrip(".") + ".", "contentType": "application/json"}
    if more:
        described["description"] = more
    return {
        **described,
        "x-schema": f"/schemas/{VERSION}/{subject}/{name}.schema.json",
        "payload": {"$ref": f"#/components/schemas/{model.__name__}"},
        "examples": [{"name": f"{name}{number}", "payload": payload} for number, payload in enumerate(examples, start=1)],
    }


def channel_messages(names: Iterable[str]) -> Document:
    """References to messages."""
    return {name: {"$ref": f"#/components/messages/{name}"} for name in names}


def in_channel(channel: str, names: Iterable[str]) -> Document:
    """What an operation says of its channel and the messages there."""
    return {
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names],
    }


def stream_channel(name: str) -> Document:
    """A key, or one of each partition."""
    address, title, description = STREAMS[name]
    parameters = {key: each for key, each in (("p", PARTITION), ("ticker", TICKER)) if f"{{{key}}}" in address}
    channel = {
        "address": address,
        "title": title,
        "description": description,
        "servers": [{"$ref": "#/servers/redis"}],
        "messages": channel_messages([name]),
    }
    return {**channel, "parameters": parameters} if parameters else channel


def stream_operations() -> Document:
    """The pipeline writes all of them."""
    return {
        f"write_{name}": {"action": "send", "summary": f"{title}: written by the pipeline, read by anybody.", **in_channel(name, [name])}
        for name, (_, title, _) in STREAMS.items()
    }


def websocket_channel() -> Document:
    """The one path of the gateway, and how a connection begins and ends."""
    return {
        "address": "/ws/stocks/",
        "title": "WebSocket of the gateway",
        "description": "Text frames, each a JSON object; the trailing slash may be left out. The first message is a snapshot. "
        f"A connection ends after {MOST_ERRORS} errors. Where a return is welcome, the reason of the close ends with "
        f"`; reconnect in 3.2 s`: a time of this client's own, up to {LAST_HINT_SECONDS:g} s, more where very many leave at once.",
        "servers": [{"$ref": f"#/servers/{WEBSOCKET}"}],
        "messages": channel_messages([*SUBJECTS["messages"], *SUBJECTS["commands"]]),
        "bindings": {"ws": {"method": "GET", "query": query(), "bindingVersion": "0.1.0"}},
        "x-close-codes": [close_code(close) for close in CLOSE_CODES],
    }


def query() -> Document:
    """The parameters of the URL."""
    return {
        "type": "object",
        "properties": {
            "tickers": {
                "type": "string",
                "description": f"Only these, commas between them, at most {MOST_TICKERS}; default all. A malformed name is answered with "
                "an error, the others apply.",
                "examples": ["AAPL,MSFT"],
            },
            "since": {
                "type": "string",
                "maxLength": MOST_CURSOR_CHARACTERS,
                "description": "The cursor of an earlier message, of whichever gateway: the first message has every alert since then.",
            },
        },
    }


def close_code(close: CloseCode) -> Document:
    """A row of the table of close codes."""
    return {"code": close.code, "meaning": close.meaning, "reconnect": RECONNECT[close.reconnect]}


def told() -> Document:
    """What the gateway says unasked."""
    unasked = ("stock_update", "status", "market_status", "error")
    return {"action": "send", "summary": "What a client is told.", **in_channel(WEBSOCKET, unasked)}


def command_operations() -> Document:
    """What a client may say, and how it is answered."""
    return {
        name: {
            "action": "receive",
            "summary": (model.__doc__ or "").partition(". ")[0].rstrip(".") + ".",
            **in_channel(WEBSOCKET, [name]),
            "reply": in_channel(WEBSOCKET, ANSWERS[name]),
        }
        for name, model in SUBJECTS["commands"].items()
    }
