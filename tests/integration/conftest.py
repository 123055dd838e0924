"""Fixtures of the integration tests."""

import pytest
from redis.asyncio import Redis

from tests.integration.partition import PartitionUnderTest, set_up


@pytest.fixture
async def partition(redis: Redis) -> PartitionUnderTest:
    """Partition 0 of a fresh deployment, period 3, cap 1 000."""
    return await set_up(redis)
