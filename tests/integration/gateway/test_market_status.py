"""What the stream `market` says reaches every client: the newest after the first message, then each change."""

from typing import cast

import pytest
from redis.asyncio import Redis

from shared import events, streams
from shared.errors import TransientError
from shared.redis.log import call
from shared.redis.market import announce
from tests.integration.gateway.client import Client
from tests.integration.gateway.market import Market

OPEN = events.Market("XNYS", "open", "regular session", "1771252200000", "1771275600000")
CLOSED = events.Market("XNYS", "closed", "overnight", "1771252200000", "1771275600000")


async def said(redis: Redis) -> list[tuple[str, dict[str, str]]]:
    """All entries of `market`."""
    return cast(list[tuple[str, dict[str, str]]], await redis.xrange(streams.MARKET))


async def test_market_that_is_announced_again_adds_no_entry(redis: Redis, market: Market) -> None:
    assert [await announce(redis, each) for each in (OPEN, OPEN, CLOSED, CLOSED, OPEN)] == [True, False, True, False, True]
    entries = await said(redis)
    assert [list(fields) for _, fields in entries] == [["exchange", "status", "reason", "next_open", "next_close", "ts"]] * 3
    assert [fields["status"] for _, fields in entries] == ["open", "closed", "open"]
    assert all(entry_id.startswith(fields["ts"][:-3]) for entry_id, fields in entries), "ts is the time of Redis"


async def test_only_the_newest_thousand_are_kept(redis: Redis, market: Market) -> None:
    for number in range(1003):
        await announce(redis, OPEN._replace(reason=str(number)))
    entries = await said(redis)
    assert [fields["reason"] for _, fields in entries] == [str(number) for number in range(3, 1003)]


@pytest.mark.parametrize("arguments", [("XNYS", "open", "", ""), ("", "open", "", "", ""), ("XNYS", "", "", "", "")])
async def test_announcement_without_its_values_is_refused(redis: Redis, market: Market, arguments: tuple[str, ...]) -> None:
    with pytest.raises(TransientError, match="bad announce"):
        await call(redis, "announce", [streams.MARKET], *arguments)
    assert await redis.exists(streams.MARKET) == 0


async def test_market_of_a_wrong_type_is_refused_and_left_alone(redis: Redis, market: Market) -> None:
    await redis.set(streams.MARKET, "mine")
    with pytest.raises(TransientError, match="WRONGTYPE"):
        await announce(redis, OPEN)
    assert await redis.get(streams.MARKET) == "mine"


async def test_client_hears_the_market_after_its_snapshot_and_then_each_change(redis: Redis, market: Market, port: int) -> None:
    await announce(redis, OPEN)
    async with Client(port) as client:
        assert (await client.receive())["type"] == "stock_update"
        told = await client.receive_type("market_status")
        assert (told["exchange"], told["status"], told["reason"]) == ("XNYS", "open", "regular session")
        assert (told["next_open"], told["next_close"]) == ("2026-02-16T14:30:00.000+00:00", "2026-02-16T21:00:00.000+00:00")
        await announce(redis, CLOSED)
        assert (await client.receive())["status"] == "closed"


async def test_client_that_is_there_before_the_market_is_known_hears_of_it(redis: Redis, market: Market, port: int) -> None:
    async with Client(port) as client:
        await client.receive()
        await announce(redis, CLOSED)
        assert (await client.receive())["type"] == "market_status"


async def test_gateway_hears_the_market_again_after_redis_lost_everything(redis: Redis, market: Market, port: int) -> None:
    async with Client(port) as client:
        await announce(redis, OPEN)
        assert (await client.receive_type("market_status"))["status"] == "open"
        await market.lose_everything()
        await announce(redis, CLOSED)
        assert (await client.receive_type("market_status"))["status"] == "closed"


async def test_entry_that_says_nothing_of_a_market_is_passed_over(redis: Redis, market: Market, port: int) -> None:
    async with Client(port) as client:
        await client.receive()
        await redis.xadd(streams.MARKET, {"status": "on fire"})
        await announce(redis, CLOSED)
        assert (await client.receive())["status"] == "closed"
