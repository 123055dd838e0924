"""Redis away, restarted, emptied or set back: clients are told, and what they hold is true again afterwards."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest
import structlog
from redis.asyncio import Redis

from services.admin.embedded import EmbeddedRedis
from shared import streams
from shared.redis.client import connect
from tests.integration.gateway.client import Client
from tests.integration.gateway.conftest import running_gateway
from tests.integration.gateway.market import Market


@pytest.fixture
async def own_redis(redis_server: EmbeddedRedis) -> AsyncIterator[Redis]:
    async with connect(redis_server.url, service="tests") as client:
        yield client


@pytest.fixture
async def own_market(own_redis: Redis) -> Market:
    market = Market(own_redis, partitions=2)
    await market.open()
    return market


async def crash(server: EmbeddedRedis) -> None:
    await asyncio.to_thread(server.kill)


async def start(server: EmbeddedRedis) -> None:
    await asyncio.to_thread(server.start)


async def test_clients_hear_within_three_seconds_that_redis_is_away_and_that_it_is_back(
    redis_server: EmbeddedRedis, own_market: Market
) -> None:
    loop = asyncio.get_running_loop()
    async with running_gateway(redis_server.url) as port, Client(port) as client:
        await client.receive()
        await own_market.trade("AAPL", "1")
        await client.until_seen("AAPL", 1)
        with structlog.testing.capture_logs() as logs:
            await crash(redis_server)
            crashed_at = loop.time()
            status = await client.receive_type("status")
            assert loop.time() - crashed_at < 3.0
            assert status["stale"] is True
            async with Client(port) as late:
                assert [stock["ticker"] for stock in (await late.receive())["stocks"]] == ["AAPL"]
                assert (await late.receive()) == status
            await start(redis_server)
            assert (await client.receive_type("status"))["stale"] is False
        away, back = (log for log in logs if log["event"].startswith("redis is"))
        assert (away["event"], back["event"]) == ("redis is away, trying again", "redis is back")
        assert back["seconds"] >= 1


async def test_stopped_redis_counts_as_away(redis_server: EmbeddedRedis, own_market: Market) -> None:
    async with running_gateway(redis_server.url) as port, Client(port) as client:
        await client.receive()
        os.kill(redis_server.pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(3):
                assert (await client.receive_type("status"))["stale"] is True
        finally:
            os.kill(redis_server.pid, signal.SIGCONT)
        assert (await client.receive_type("status"))["stale"] is False


async def test_restart_that_lost_nothing_goes_on_and_names_entries_by_their_life(redis_server: EmbeddedRedis, own_market: Market) -> None:
    async with running_gateway(redis_server.url) as port, Client(port) as client:
        await client.receive()
        await own_market.trade("TSLA", "10", "11", "9")
        await client.until_seen("TSLA", 3)
        before = await own_market.incarnation(1)
        await asyncio.to_thread(redis_server.stop)
        await start(redis_server)
        await own_market.reconnect()
        await own_market.trade("TSLA", "12")
        await client.until_seen("TSLA", 4)
        after = await own_market.incarnation(1)
        assert before != after
        assert client.alert_ids == [f"{before}.1.3", f"{after}.1.4"]


@asynccontextmanager
async def setting_back(server: EmbeddedRedis, backup: Path) -> AsyncIterator[None]:
    """Whatever is done meanwhile is lost: Redis comes back with the data it had at the beginning."""
    shutil.copytree(server.data_dir, backup)
    yield
    await crash(server)
    shutil.rmtree(server.data_dir)
    shutil.copytree(backup, server.data_dir)
    await start(server)


async def test_rewind_replaces_what_clients_hold_and_prices_go_on_from_there(
    redis_server: EmbeddedRedis, own_market: Market, tmp_path: Path
) -> None:
    async with running_gateway(redis_server.url) as port, Client(port) as client:
        await client.receive()
        await own_market.trade("KO", "50")
        await own_market.trade("TSLA", "10", "11")
        async with setting_back(redis_server, tmp_path / "backup"):
            await own_market.trade("TSLA", "12", "13", "14")
            await client.until_seen("TSLA", 5)
        await own_market.reconnect()
        await own_market.trade("TSLA", "20")
        message = await client.receive_loss()
        assert (message["snapshot"], message["reason"], message["alerts"]) == (True, "rewind", [])
        await client.until_seen("TSLA", 3)
        assert {ticker: int(price) for ticker, (_, price) in client.prices.items()} == {"KO": 50, "TSLA": 20}


async def test_position_in_a_life_that_nobody_knows_any_more_is_a_reset(
    redis_server: EmbeddedRedis, own_market: Market, tmp_path: Path
) -> None:
    async with running_gateway(redis_server.url) as port, Client(port) as client:
        await client.receive()
        await own_market.trade("TSLA", "10", "11")
        await client.until_seen("TSLA", 2)
        async with setting_back(redis_server, tmp_path / "backup"):
            await asyncio.to_thread(redis_server.stop)
            await start(redis_server)
            await own_market.reconnect()
            await own_market.trade("TSLA", "12")
            await client.until_seen("TSLA", 3)
        await own_market.reconnect()
        await own_market.trade("TSLA", "20")
        assert (await client.receive_loss())["reason"] == "reset"
        await client.until_seen("TSLA", 3)
        assert client.prices["TSLA"] == (3, Decimal(20))


async def test_flushall_is_told_as_a_reset_and_prices_start_again(market: Market, port: int) -> None:
    async with Client(port) as client:
        await client.receive()
        await market.trade("AAPL", "1", "2", "3")
        await client.until_seen("AAPL", 3)
        await market.lose_everything()
        assert (await client.receive_loss())["reason"] == "reset"
        await market.trade("AAPL", "9")
        # Each partition tells its own loss, so the old price may come once more before the new one.
        while client.prices.get("AAPL") != (1, Decimal(9)):
            await client.receive()


async def test_gateway_sets_up_again_what_nobody_else_does(market: Market, port: int) -> None:
    async with Client(port) as client:
        await client.receive()
        await market.redis.flushdb()
        assert (await client.receive_type("stock_update"))["reason"] == "reset"
        assert await market.redis.hget(streams.CONFIG, "partitions") == "2"


async def test_gateway_started_before_redis_serves_once_redis_is_there(redis_server: EmbeddedRedis, own_market: Market) -> None:
    await own_market.trade("AAPL", "5")
    await crash(redis_server)
    async with running_gateway(redis_server.url) as port, Client(port) as client:
        await start(redis_server)
        assert [stock["ticker"] for stock in (await client.receive())["stocks"]] == ["AAPL"]
