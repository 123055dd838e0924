"""Fixtures of the step model."""

from collections.abc import Iterator

import pytest

from services.admin.embedded import EmbeddedRedis, find_free_port


@pytest.fixture(scope="package")
def model_redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Redis for these tests alone: mutations are loaded under the names of the real functions."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis"), find_free_port(), appendonly=False) as server:
        yield server.url
