"""Addresses that a process listens on: what to tell an operator when one cannot be had."""

import errno
import resource
import socket
from contextlib import suppress

from shared.errors import ConfigurationError, Problem


def address_problem(prefix: str, host: str, port: int, error: OSError) -> Problem:
    """The bad variable, `<prefix>_PORT` or `<prefix>_HOST`, for the error that listening ended with."""
    if error.errno == errno.EADDRINUSE:
        return Problem(f"{prefix}_PORT", str(port), "is taken by another program; stop that one or choose another port")
    if error.errno == errno.EACCES:
        return Problem(f"{prefix}_PORT", str(port), "this user may not listen there; choose a port from 1024 on")
    return Problem(f"{prefix}_HOST", host, f"cannot listen there: {error.strerror or error}")


def listen(prefix: str, host: str, port: int) -> socket.socket:
    """Listen on the first address of `host`; raise `ConfigurationError` that names the variable to change."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise ConfigurationError((address_problem(prefix, host, port, error),)) from error


def allow_open_files() -> None:
    """Let this process have as many files open as its user may: each client is one, and most shells begin with 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # a system that says "unlimited" and means something else
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
