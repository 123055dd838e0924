"""Fixtures of the tests of faults."""

from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.e2e.conftest import PARTITIONS
from tests.e2e.pipeline import Pipeline
from tests.e2e.proof import Proof
from tests.faults.small_market import SLOWLY, small_outcome, small_recording


@pytest.fixture(scope="session")
def small_replay_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small market as a file to replay."""
    path = tmp_path_factory.mktemp("small-market") / "market.csv"
    path.write_text(small_recording().text, encoding="ascii")
    return path


@pytest.fixture
def small_pipeline(redis_url: str, redis: Redis, database_url: str, small_replay_file: Path, tmp_path: Path) -> Pipeline:
    """The services on this worker's Redis, which is empty; the fetcher replays the small market, slowly."""
    return Pipeline(redis_url, database_url, tmp_path, PARTITIONS, REPLAY_FILE=str(small_replay_file), **SLOWLY)


@pytest.fixture
def small_proof(redis: Redis, database_url: str) -> Proof:
    """What `small_pipeline` must have made of the small market."""
    return Proof(redis, database_url, small_outcome(PARTITIONS))
