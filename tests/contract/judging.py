"""Judges what the pipeline gives, as strictly as the models can: every value, the order of an entry's fields, and no field beyond them.

Readers ignore fields they do not know; a field of ours that is in no model would be one that nobody was told of.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel
from redis.asyncio import Redis

from shared import streams
from shared.contract.entries import ENTRIES, VALUES
from shared.contract.fields import NumberText
from shared.contract.messages import COMMANDS, MESSAGES

Fields = Mapping[str, str]


def judge_message(text: str) -> BaseModel:
    """What a gateway sent: UTF-8 text of one frame."""
    return _judge_json(text, "type", MESSAGES)


def judge_command(text: str) -> BaseModel:
    """What a client sends."""
    return _judge_json(text, "action", COMMANDS)


def _judge_json(text: str, kind: str, models: Mapping[str, type[BaseModel]]) -> BaseModel:
    found = json.loads(text, parse_float=NumberText)
    assert found.get(kind) in models, f"{kind} {found.get(kind)!r} is not in the contract"
    return models[found[kind]].model_validate(found, extra="forbid")


def judge_entry(stream: str, fields: Fields) -> BaseModel:
    """An entry of the stream of that name."""
    model = ENTRIES[stream]
    assert list(fields) == list(model.model_fields), f"{stream}: fields {list(fields)}"
    return model.model_validate(dict(fields), extra="forbid")


def judge_latest(ticker: str, text: str) -> None:
    """A field of `latest:{p}`."""
    value = json.loads(text, parse_float=NumberText)
    VALUES["latest"].model_validate(value, extra="forbid")
    assert value["ticker"] == ticker


async def judge_redis(redis: Redis, partitions: int) -> dict[str, int]:
    """All that is public in a Redis; how many of each there were."""
    kept = await public_of(redis, partitions)
    for name, found in kept.items():
        for each in found:
            if name in ENTRIES:
                judge_entry(name, each)
            elif name == "latest":
                judge_latest(*each)
            else:
                VALUES[name].model_validate(each)
    return {name: len(found) for name, found in kept.items()}


async def public_of(redis: Redis, partitions: int) -> dict[str, Sequence[Any]]:
    """Every entry by stream, what `latest` holds as pairs, and the prices of all windows."""
    found: dict[str, list[Any]] = {"ticks": [], "enriched": [], "deadletters": [], "market": [], "latest": [], "prices": []}
    for p in range(partitions):
        for name in ("ticks", "enriched", "deadletters"):
            found[name] += await _entries(redis, getattr(streams, name)(p))
        latest = cast(dict[str, str], await redis.hgetall(streams.latest(p)))
        found["latest"] += latest.items()
        for ticker in latest:
            found["prices"] += await redis.lrange(streams.prices(p, ticker), 0, -1)
    found["market"] += await _entries(redis, streams.MARKET)
    return {**found}


async def _entries(redis: Redis, key: str) -> list[Fields]:
    return [fields for _, fields in cast(list[tuple[str, dict[str, str]]], await redis.xrange(key))]
