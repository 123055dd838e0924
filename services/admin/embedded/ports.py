"""Which TCP ports of this machine a server could listen on."""

import errno
import secrets
import socket
from collections import deque

LOOPBACK = "127.0.0.1"

# Below the range from which systems number outgoing connections: one of those could take the port of a server that restarts.
FIRST_PORT, LAST_PORT = 20_000, 31_999

_found: deque[int] = deque(maxlen=500)
"""The last ones that were returned: whoever asked may not listen there yet."""


def is_port_free(host: str, port: int) -> bool:
    """Whether a server could listen on (host, port) at this moment; OSError if `host` is no address of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        # As servers do it: connections of an earlier server that linger in TIME_WAIT do not count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen()
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def find_free_port(host: str = LOOPBACK) -> int:
    """Return a port on which nothing listens now, another one each time, chosen at random so that two searchers hardly ever meet."""
    for _ in range(1000):
        port = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT + 1)
        if port not in _found and is_port_free(host, port):
            _found.append(port)
            return port
    raise OSError(errno.EADDRINUSE, f"no free port on {host} between {FIRST_PORT} and {LAST_PORT}")
