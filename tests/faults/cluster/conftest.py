"""Fixtures of the tests on a Redis Cluster."""

from collections.abc import Iterator

import pytest

from tests.faults.cluster.nodes import Nodes, run_cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """The cluster of this worker."""
    with run_cluster(tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


@pytest.fixture
async def nodes(cluster: Nodes) -> Nodes:
    """The cluster, whole and empty."""
    await cluster.heal()
    return cluster
