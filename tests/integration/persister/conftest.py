"""Fixtures of the persister's tests."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from services.admin.migrate import migrate_postgres
from services.persister.store import Store, connect_store


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database that is set up."""
    await migrate_postgres(database_url, 4)
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def store(database: asyncpg.Connection, database_url: str) -> AsyncIterator[Store]:
    """The store on that database."""
    async with connect_store(database_url) as store:
        yield store
