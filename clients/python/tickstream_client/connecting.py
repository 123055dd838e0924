"""How both clients connect, and why so."""

import logging
import socket
from contextlib import suppress
from ssl import SSLContext
from typing import Any, Literal

OPEN_SECONDS = 5.0
"""For a gateway to answer the handshake."""
CLOSE_SECONDS = 1.0
"""For a gateway to answer a close, before the connection is cut: somebody waits for it."""
SIGN_SECONDS = 15.0
"""Between two pings in the background. The gateway takes who says nothing for 40 s for dead, and a loop may be busy for longer."""
MOST_QUEUED = 4
"""Messages held here for a busy loop: whatever waits is old. Beyond, nothing is read, so that the gateway sends only the newest."""
RECEIVE_BUFFER_BYTES = 65_536
"""What the system holds before that (Linux doubles it); by default it grows to megabytes."""

Proxy = str | Literal[True] | None

quiet = logging.getLogger("tickstream_client.websockets")
# At DEBUG the library logs the headers of the handshake, and with them the token.
quiet.setLevel(logging.INFO)


def options(token: str, proxy: Proxy, ssl: SSLContext | None) -> dict[str, Any]:
    """The keyword arguments of both `websockets.asyncio.client.connect` and `websockets.sync.client.connect`.

    The offer of compression is the library's own: without `server_max_window_bits`, which a gateway declines.
    No timeout for pings: their answers wait behind what a busy loop has not read. The session notices who is silent.
    """
    return {
        "additional_headers": {"Authorization": f"Bearer {token}"} if token else None,
        "proxy": proxy,
        "open_timeout": OPEN_SECONDS,
        "close_timeout": CLOSE_SECONDS,
        "ping_interval": SIGN_SECONDS,
        "ping_timeout": None,
        "max_queue": MOST_QUEUED,
        "logger": quiet,
        **({"ssl": ssl} if ssl is not None else {}),
    }


def bound_buffer(connected: Any) -> None:
    """Have the system hold little for this socket."""
    with suppress(OSError):  # a connection that has ended already says why when it is read
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
