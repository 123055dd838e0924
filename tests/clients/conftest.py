"""Every behaviour is shown by every client."""

import pytest

from tests.clients.subscriber import Subscribe

CLIENTS: dict[str, Subscribe] = {}
"""By the name that the test gets: one driver for each client."""


@pytest.fixture(params=CLIENTS)
def subscribe(request: pytest.FixtureRequest) -> Subscribe:
    """A client of each kind."""
    return CLIENTS[request.param]
