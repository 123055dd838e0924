"""While Redis or PostgreSQL is away, what needs it is a 503 problem and the rest is answered; back, it is answered again."""

import asyncio

import httpx
import pytest

from services.admin.embedded import EmbeddedPostgres, EmbeddedRedis
from services.admin.migrate import migrate_postgres, migrate_redis
from services.api.database import LONG_CONNECTIONS, queries
from shared.redis.client import connect
from tests.integration.api.conftest import PARTITIONS, PERIOD, Api, running

FROM_REDIS = ("/api/stocks", "/api/stocks/AAPL", "/api/market")
FROM_POSTGRES = ("/api/stocks/AAPL/ticks", "/api/stocks/AAPL/bars", "/api/alerts", "/api/stocks/AAPL/ticks?format=csv")


async def statuses(client: httpx.AsyncClient, paths: tuple[str, ...]) -> set[int]:
    """What the paths are answered with; a 503 says when to come again."""
    answers = [await client.get(path) for path in paths]
    for answer in answers:
        assert answer.status_code != 503 or (int(answer.headers["retry-after"]) > 0 and answer.json()["status"] == 503)
    return {answer.status_code for answer in answers}


def client_of(port: int) -> httpx.AsyncClient:
    """A client of the API there."""
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False, verify=False)


async def is_healthy_again(client: httpx.AsyncClient) -> None:
    """Wait until /healthz answers 200."""
    async with asyncio.timeout(30):
        while (await client.get("/healthz")).status_code != 200:
            await asyncio.sleep(0.02)


async def test_redis_away_and_back(redis_server: EmbeddedRedis, database_url: str) -> None:
    await migrate_postgres(database_url, PARTITIONS)
    async with connect(redis_server.url, service="tests") as redis:
        await migrate_redis(redis, PARTITIONS, PERIOD)
    async with (
        running(redis_server.url, database_url) as port,
        client_of(port) as client,
    ):
        assert await statuses(client, (*FROM_REDIS, *FROM_POSTGRES)) == {200, 404}
        redis_server.stop()
        assert await statuses(client, FROM_REDIS) == {503}
        assert await statuses(client, (*FROM_POSTGRES, "/", "/docs", "/openapi.json")) == {200}
        health = await client.get("/healthz")
        assert (health.status_code, health.json()["down"]) == (503, ["redis"])
        redis_server.start()
        await is_healthy_again(client)
        assert await statuses(client, FROM_REDIS) == {200, 404}


async def test_postgresql_away_and_back(redis_url: str, postgres_server: EmbeddedPostgres) -> None:
    await migrate_postgres(postgres_server.url, PARTITIONS)
    async with connect(redis_url, service="tests") as redis:
        await redis.flushdb()
        await migrate_redis(redis, PARTITIONS, PERIOD)
    async with (
        running(redis_url, postgres_server.url) as port,
        client_of(port) as client,
    ):
        assert await statuses(client, FROM_POSTGRES) == {200}
        postgres_server.stop()
        assert await statuses(client, FROM_POSTGRES) == {503}
        assert await statuses(client, FROM_REDIS) == {200, 404}
        assert (await client.get("/healthz")).json()["down"] == ["postgresql"]
        postgres_server.start()
        await is_healthy_again(client)
        assert await statuses(client, FROM_POSTGRES) == {200}


@pytest.mark.long
async def test_slow_questions_leave_the_quick_ones_their_connections(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.database.execute("INSERT INTO ticks VALUES ('i', 1, 1, '1-0', 'AAPL', 1, now(), 's', NULL, NULL, now())")
    monkeypatch.setitem(queries(), "bars", queries()["bars"].replace("FROM (", "FROM (SELECT pg_sleep(60)) AS nap, ("))
    slow = [asyncio.create_task(api.get("/api/stocks/AAPL/bars")) for _ in range(LONG_CONNECTIONS + 2)]
    async with asyncio.timeout(30):
        while await api.database.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") < LONG_CONNECTIONS:
            await asyncio.sleep(0.01)
    assert await statuses(api.client, ("/api/stocks/AAPL/ticks", "/api/alerts", "/healthz")) == {200}
    assert not any(task.done() for task in slow)
    assert {response.status_code for response in await asyncio.gather(*slow)} == {503}


async def test_nothing_can_be_written_through_its_connections(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async with asyncio.timeout(30):
        while any(task.get_name() == "agree" for task in asyncio.all_tasks()):  # it asks the same, and would end the service
            await asyncio.sleep(0.01)
    monkeypatch.setitem(queries(), "partitions", "DELETE FROM deployment RETURNING partitions")
    assert (await api.get("/healthz")).status_code == 503
    assert await api.database.fetchval("SELECT count(*) FROM deployment") == 1
