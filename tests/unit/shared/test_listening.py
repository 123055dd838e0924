"""What an operator is told when an address cannot be listened on."""

import errno
import os

import pytest

from services.admin.embedded import find_free_port
from shared.listening import address_problem, listen

TOLD = [
    (errno.EADDRINUSE, "METRICS_PORT=80: is taken by another program; stop that one or choose another port"),
    (errno.EACCES, "METRICS_PORT=80: this user may not listen there; choose a port from 1024 on"),
    (errno.EADDRNOTAVAIL, f"METRICS_HOST=here: cannot listen there: {os.strerror(errno.EADDRNOTAVAIL)}"),
]


@pytest.mark.parametrize(("code", "told"), TOLD)
def test_each_cause_names_the_variable_to_change(code: int, told: str) -> None:
    assert str(address_problem("METRICS", "here", 80, OSError(code, os.strerror(code)))) == told


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_free_address_is_listened_on(host: str) -> None:
    port = find_free_port()
    with listen("METRICS", host, port) as listener:
        assert listener.getsockname()[1] == port
