"""Fixtures of the end-to-end tests."""

from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.e2e.market_data import outcome, recording
from tests.e2e.pipeline import Pipeline
from tests.e2e.proof import Proof

PARTITIONS = 4


@pytest.fixture(scope="session")
def replay_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The market as a file to replay."""
    path = tmp_path_factory.mktemp("market") / "market.csv"
    path.write_text(recording().text, encoding="ascii")
    return path


@pytest.fixture
def pipeline(redis_url: str, redis: Redis, database_url: str, replay_file: Path, tmp_path: Path) -> Pipeline:
    """The services on this worker's Redis, which is empty, and on a database of the test's own; the fetcher replays the market."""
    return Pipeline(redis_url, database_url, tmp_path, PARTITIONS, SOURCE="replay", REPLAY_FILE=str(replay_file))


@pytest.fixture
def proof(redis: Redis, database_url: str) -> Proof:
    """What `pipeline` must have made of the market."""
    return Proof(redis, database_url, outcome(PARTITIONS))
