"""What a real Redis, the real functions and a real gateway give is what the models say; recorded anew, with every kind of message."""

import json
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from services.admin.embedded import EmbeddedRedis
from shared.contract.messages import COMMANDS, MESSAGES
from shared.redis.client import connect
from tests.contract.judging import judge_entry, judge_message
from tests.contract.recording import record
from tests.integration.gateway.client import Client
from tests.integration.gateway.conftest import running_gateway
from tests.integration.gateway.market import Market


@pytest.fixture
async def own_redis(redis_server: EmbeddedRedis) -> AsyncIterator[Redis]:
    async with connect(redis_server.url, service="tests") as client:
        yield client


async def test_every_kind_of_entry_and_message_is_as_the_models_say(redis_server: EmbeddedRedis, own_redis: Redis) -> None:
    run = await record(redis_server, own_redis)
    assert set(run["messages"]) == set(MESSAGES)
    for messages in run["messages"].values():
        for message in messages:
            judge_message(json.dumps(message))
    for stream in ("ticks", "enriched", "deadletters", "market"):
        assert run["entries"][stream]
        for entry in run["entries"][stream]:
            judge_entry(stream, entry)


async def test_no_command_of_the_contract_is_taken_for_a_bad_one(redis: Redis, redis_url: str) -> None:
    market = Market(redis, partitions=2)
    await market.open()
    async with running_gateway(redis_url) as port, Client(port) as client:
        await client.receive()
        for name, model in COMMANDS.items():
            more = {"tickers": ["KO"]} if "tickers" in model.model_fields else {}
            await client.send(action=name, **more, **({"token": "x"} if "token" in model.model_fields else {}))
            await client.send(action="ping")
            while (message := await client.receive())["type"] != "pong":
                # `auth` and single names within `*` are understood, and not supported here.
                assert message.get("code", "not_supported") == "not_supported"
            if name == "ping":
                await client.receive_type("pong")
