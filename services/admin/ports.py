"""Which TCP ports `up` uses: a gateway's must be free, those of metrics are found, those of the embedded servers also remembered."""

import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from services.admin.embedded import is_port_free
from shared.errors import ConfigurationError, Problem

LOOPBACK = "127.0.0.1"
REDIS_PORT = 16379
POSTGRESQL_PORT = 15432
"""Not the usual ports of these servers: those are often taken, and a client must not find another server behind them."""

TRIES = 200


def wanted_ports(service: str, host: str, first: int, number: int = 1) -> list[int]:
    """The ports of `number` processes of a service (GATEWAY, API); raise `ConfigurationError` that names the first that cannot be used."""
    ports = range(first, first + number)
    if ports[-1] > 65535:
        raise _refused(service, first, f"{number} processes count up from it, beyond port 65535")
    for port in ports:
        try:
            free = is_port_free(host, port)
        except OSError as error:
            raise _refused(service, first, f"cannot listen on {host}, port {port}: {error.strerror}; see {service}_HOST") from None
        if not free:
            raise _refused(service, first, f"port {port} on {host} is taken; stop what listens there or choose another {service}_PORT")
    return list(ports)


def _refused(service: str, port: int, allowed: str) -> ConfigurationError:
    return ConfigurationError((Problem(f"{service}_PORT", str(port), allowed),))


def metrics_ports(host: str, first: int, processes: Sequence[int], taken: Collection[int]) -> list[int]:
    """Return the first free ports, none if `first` is 0; raise `ConfigurationError` if they cannot be had.

    Each number of `processes` stands for one that is given a port, and how many in a row it needs from there on.
    """
    ports: list[int] = []
    preferred = first
    try:
        for needed in processes if first else ():
            ports.append(first_free(preferred, taken, host, needed))
            preferred = ports[-1] + needed
    except OSError as error:
        allowed = f"cannot listen on {host} from there on: {error.strerror or error}; see METRICS_HOST"
        raise ConfigurationError((Problem("METRICS_PORT", str(first), allowed),)) from None
    return ports


def first_free(preferred: int, taken: Collection[int], host: str = LOOPBACK, needed: int = 1) -> int:
    """Return `preferred`, or the next port of which `needed` in a row are free and not in `taken`; raise `OSError` if there is none."""
    for port in range(preferred, min(preferred + TRIES, 65537 - needed)):
        if all(each not in taken and is_port_free(host, each) for each in range(port, port + needed)):
            return port
    raise OSError(f"no free port from {preferred} on")


def remembered(file: Path, name: str, default: int) -> int:
    """Return the port that the last run used for `name`, so that a client's URL stays good."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        port = int(json.loads(file.read_text(encoding="utf-8"))[name])
        if 1024 <= port <= 65535:
            return port
    return default


def remember(file: Path, name: str, port: int) -> None:
    """Keep the port for the next run."""
    ports = {}
    with suppress(OSError, ValueError, TypeError):
        ports = dict(json.loads(file.read_text(encoding="utf-8")))
    file.write_text(json.dumps({**ports, name: port}), encoding="utf-8")
