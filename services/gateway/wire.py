"""A WebSocket connection that is written to at once, without a task, and says when the system takes no more for it.

Whole frames are handed to the transport in the order of the calls, beside those that websockets sends by itself (pong, close),
never after a close frame. While bytes wait here, nothing is read: who does not read is not heard, so its pings and commands
cannot pile up as answers.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Protocol

from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from services.gateway.frames import PING, Frame, Frames
from services.gateway.measures import Tally
from services.gateway.outbox import Limits, Outbox, Pending
from services.gateway.protocol import Subscription

WRITE_LIMIT = 0
"""Bytes in the transport beyond which it says that it is full: any. What the system buffers is not among them."""


class Sender(Protocol):
    """Who decides what is written."""

    def on_paused(self) -> None:
        """Bytes wait: what is written now would wait behind them."""

    def on_drained(self) -> None:
        """Everything has gone to the system."""

    def on_lost(self) -> None:
        """The connection is gone, whatever was going on."""


class SocketOutbox(Outbox):
    """An outbox whose messages go to a socket.

    One object, and in it just what a write needs: a thousand clients do not fit into the caches, and whatever else a delivery touches is
    fetched from memory for each. `Wire` has more attributes than Python keeps in one place.
    """

    __slots__ = ("_file", "_is_compressed", "_sent", "_transport", "is_open", "is_paused")

    def __init__(self, wire: "Wire", sent: Tally, encode: Callable[[Subscription, Pending], Frames], limits: Limits, now: float) -> None:
        """For a wire after its handshake; what goes out is counted in `sent`."""
        super().__init__(encode, limits, now)
        self.is_open = wire.is_open
        """Whether messages may follow: no close frame was sent. As `protocol.state`, which takes longer to ask."""
        self.is_paused = wire.paused
        """Whether bytes wait in the transport."""
        self._transport = wire.transport
        self._sent = sent
        self._is_compressed = bool(wire.protocol.extensions)
        is_plain = wire.transport.get_extra_info("ssl_object") is None
        self._file: int = wire.transport.get_extra_info("socket").fileno() if is_plain else -1

    def write(self, frame: Frame) -> None:
        """Write a message, unless the connection is closing.

        While nothing waits in the transport, the system is given the bytes behind its back: it would do the same, for more. What
        the system does not take it gets after all, and says that it is full, or finds that the socket has failed.
        """
        if not self.is_open:
            return
        data = frame.compressed if self._is_compressed else frame.plain
        size = len(data)
        try:
            written = 0 if self.is_paused or self._file < 0 else os.write(self._file, data)
        except OSError:
            written = 0
        if written < size:
            # Asked for only here: it fetches another object for each client. The socket is closed after `connection_lost`.
            if self._transport.is_closing():  # it failed and did not say so yet, and would warn of every attempt
                return
            self._transport.write(data[written:])
        self._sent.messages += 1
        self._sent.bytes += size


class Wire(ServerConnection):
    """A connection as the gateway has it; to be created with `write_limit=WRITE_LIMIT`."""

    was_heard = False
    """Whether anything was received since this was last set to False."""
    _sender: Sender | None = None
    _outbox: SocketOutbox | None = None

    def serve(self, sender: Sender, outbox: SocketOutbox) -> None:
        """Tell `sender` and `outbox` how writing goes from now on, after the handshake."""
        self._sender, self._outbox = sender, outbox

    @property
    def is_open(self) -> bool:
        """Whether messages may follow: no close frame was sent, nor has the connection ended."""
        return self.protocol.state is State.OPEN

    def ask(self) -> None:
        """Have the peer say something, if it lives."""
        if self.is_open and not self.transport.is_closing():
            self.transport.write(PING)

    def send_data(self) -> None:
        """Called by websockets whenever it has something to send: so also when the handshake ends and when a close begins."""
        try:
            super().send_data()
        finally:
            if self._outbox is not None:
                self._outbox.is_open = self.is_open

    def pause_writing(self) -> None:
        """Called by the transport once it holds more than WRITE_LIMIT."""
        super().pause_writing()
        self.transport.pause_reading()
        if self._outbox is not None:
            self._outbox.is_paused = True
        if self._sender is not None:
            self._sender.on_paused()

    def resume_writing(self) -> None:
        """Called by the transport once it holds nothing."""
        super().resume_writing()
        self._read_on()
        if self._outbox is not None:
            self._outbox.is_paused = False
        if self._sender is not None:
            self._sender.on_drained()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the transport when the TCP connection is there."""
        super().connection_made(transport)
        self.recv_messages.resume = self._read_on

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport when the TCP connection is gone."""
        super().connection_lost(exc)
        if self._outbox is not None:
            self._outbox.is_open = False
        if self._sender is not None:
            self._sender.on_lost()

    def data_received(self, data: bytes) -> None:
        """Called by the transport with what the peer sent."""
        self.was_heard = True
        super().data_received(data)

    def _read_on(self) -> None:
        """Read again unless one of two reasons not to still holds: commands wait to be obeyed, or bytes to be written."""
        if not self.paused and not self.recv_messages.paused:
            self.transport.resume_reading()
