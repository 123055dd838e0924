"""Operators are told of each gateway while it runs; whatever Redis says to that, clients are served."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from redis.asyncio import Redis

from services.gateway import reporting
from shared import streams
from shared.pipeline import GatewayReport
from shared.redis.gateways import leave, read_gateways, say
from tests.integration.gateway.client import Client
from tests.integration.gateway.conftest import running_gateway
from tests.integration.gateway.market import Market


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports that come sooner than every other second."""
    monkeypatch.setattr(reporting, "REPORT_SECONDS", 0.02)
    monkeypatch.setattr(reporting, "AGAIN_SECONDS", 0.02)


async def told(redis: Redis, holds: Callable[[Sequence[GatewayReport]], bool]) -> Sequence[GatewayReport]:
    """What gateways say of themselves, once it is as awaited."""
    async with asyncio.timeout(30):
        while True:
            reports = [heard.report for heard in await read_gateways(redis)]
            if holds(reports):
                return reports
            await asyncio.sleep(0.01)


async def test_each_gateway_says_how_many_clients_it_has_and_how_far_it_is(market: Market, redis_url: str) -> None:
    async with running_gateway(redis_url) as port, running_gateway(redis_url):
        await told(market.redis, lambda reports: [report.lags for report in reports] == [(0, 0), (0, 0)])
        async with Client(port) as client:
            await client.receive()
            reports = await told(market.redis, lambda reports: sum(report.connections for report in reports) == 1)
            assert len({report.name for report in reports}) == 2
            await market.trade("AAPL", "1", "2", "3")
            while client.prices.get("AAPL", (0,))[0] < 3:
                await client.receive()
            await told(market.redis, lambda reports: any(report.messages_per_second > 0 for report in reports))
            assert await market.redis.xlen(streams.GATEWAYS) <= 2 + 2, "a gateway leaves more than its last report"
    assert await market.redis.xlen(streams.GATEWAYS) == 0, "a gateway that ended is still told of"


async def test_a_redis_that_takes_no_report_is_no_reason_to_serve_nobody(market: Market, redis_url: str) -> None:
    await market.redis.set(streams.GATEWAYS, "not a stream")
    async with running_gateway(redis_url) as port, Client(port) as client:
        await client.receive()
        await market.trade("AAPL", "1")
        while "AAPL" not in client.prices:
            await client.receive()
        await market.redis.delete(streams.GATEWAYS)
        await told(market.redis, lambda reports: len(reports) == 1)


async def test_reports_whose_answers_were_lost_are_taken_away_with_the_gateway(redis: Redis) -> None:
    for _ in range(3):
        await say(redis, GatewayReport("a", 1, 0.0, (0,), False), None)
    await say(redis, GatewayReport("b", 1, 0.0, (0,), False), None)
    await leave(redis, "a")
    assert [heard.report.name for heard in await read_gateways(redis)] == ["b"]
    assert await redis.xlen(streams.GATEWAYS) == 1
