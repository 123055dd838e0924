"""The API on real servers, within the process of the test, asked over a real port."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis

from services.admin.embedded import find_free_port
from services.admin.migrate import migrate_postgres, migrate_redis
from services.api.service import serve
from services.api.settings import ApiSettings
from tests.integration.api.rows import COLUMNS

PARTITIONS = 4
PERIOD = 3


@dataclass
class Api:
    """A running API: its client, and a connection to fill its tables by."""

    client: httpx.AsyncClient
    database: asyncpg.Connection
    redis: Redis
    port: int

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """GET a path."""
        return await self.client.get(path, **options)

    async def json(self, path: str, **parameters: object) -> Any:
        """The JSON of a path, which must be there."""
        response = await self.client.get(path, params={name: str(value) for name, value in parameters.items()})
        assert response.status_code == 200, response.text
        return response.json()

    async def store(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """COPY rows of `tests.integration.api.rows` into a table."""
        await self.database.copy_records_to_table(table, records=rows, columns=COLUMNS[table])


@asynccontextmanager
async def running(redis_url: str, database_url: str, **variables: Any) -> AsyncIterator[int]:
    """An API for the time of the block; its port."""
    port = find_free_port()
    settings = ApiSettings.model_validate(
        {
            "redis_url": redis_url,
            "database_url": database_url,
            "sma_period": PERIOD,
            "partitions": PARTITIONS,
            "api_port": port,
            **variables,
        }
    )
    stop = asyncio.Event()
    task = asyncio.create_task(serve(settings, stop))
    try:
        await _listening(port, task)
        yield port
    finally:
        stop.set()
        await task


async def _listening(port: int, task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(30):
        while True:
            assert not task.done(), task
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.01)


Start = Callable[..., Awaitable[Api]]


@pytest.fixture
async def start_api(redis_url: str, redis: Redis, database_url: str) -> AsyncIterator[Start]:
    """Starts an API on servers that are set up; variables may differ from the defaults."""
    async with AsyncExitStack() as stack:

        async def start_one(**variables: Any) -> Api:
            await migrate_redis(redis, PARTITIONS, PERIOD)
            await migrate_postgres(database_url, PARTITIONS)
            port = await stack.enter_async_context(running(redis_url, database_url, **variables))
            # Nothing is verified over plain HTTP, and to read the authorities' certificates takes longer than most tests.
            client = await stack.enter_async_context(
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False, verify=False)
            )
            database = await asyncpg.connect(database_url)
            stack.push_async_callback(database.close)
            return Api(client, database, redis, port)

        yield start_one


@pytest.fixture
async def api(start_api: Start) -> Api:
    """An API with the defaults."""
    return await start_api()
