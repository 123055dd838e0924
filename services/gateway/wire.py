"""A WebSocket connection that is written to at once, without a task, and says when the system takes no more for it.

Whole frames are handed to the transport in the order of the calls, beside those that websockets sends by itself (pong, close),
never after a close frame. While bytes wait here, nothing is read: who does not read is not heard, so its pings and commands
cannot pile up as answers.
"""

import asyncio
from typing import Protocol

from websockets.asyncio.server import ServerConnection
from websockets.protocol import State

from services.gateway.frames import PING, Frame
from services.gateway.measures import Tally

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


class Wire(ServerConnection):
    """A connection as the gateway has it; to be created with `write_limit=WRITE_LIMIT`."""

    sender: Sender | None = None
    sent: Tally | None = None
    is_open = False
    """Whether messages may follow: the handshake is over, and no close frame was sent. As `protocol.state`, which takes longer to ask."""
    was_heard = False
    """Whether anything was received since this was last set to False."""

    def serve(self, sender: Sender, sent: Tally) -> None:
        """Tell `sender` how writing goes, and count in `sent` what is written."""
        self.sender, self.sent = sender, sent

    def write(self, frame: Frame) -> None:
        """Write a message, unless the connection is closing."""
        # A transport that failed and did not say so yet would warn of every attempt.
        if self.is_open and not self.transport.is_closing():
            data = frame.compressed if self.protocol.extensions else frame.plain
            self.transport.write(data)
            if self.sent is not None:
                self.sent.add(len(data))

    def ask(self) -> None:
        """Have the peer say something, if it lives."""
        if self.is_open and not self.transport.is_closing():
            self.transport.write(PING)

    def send_data(self) -> None:
        """Called by websockets whenever it has something to send: so also when the handshake ends and when a close begins."""
        try:
            super().send_data()
        finally:
            self.is_open = self.protocol.state is State.OPEN

    def pause_writing(self) -> None:
        """Called by the transport once it holds more than WRITE_LIMIT."""
        super().pause_writing()
        self.transport.pause_reading()
        if self.sender is not None:
            self.sender.on_paused()

    def resume_writing(self) -> None:
        """Called by the transport once it holds nothing."""
        super().resume_writing()
        self._read_on()
        if self.sender is not None:
            self.sender.on_drained()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the transport when the TCP connection is there."""
        super().connection_made(transport)
        self.recv_messages.resume = self._read_on

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport when the TCP connection is gone."""
        super().connection_lost(exc)
        self.is_open = False
        if self.sender is not None:
            self.sender.on_lost()

    def data_received(self, data: bytes) -> None:
        """Called by the transport with what the peer sent."""
        self.was_heard = True
        super().data_received(data)

    def _read_on(self) -> None:
        """Read again unless one of two reasons not to still holds: commands wait to be obeyed, or bytes to be written."""
        if not self.paused and not self.recv_messages.paused:
            self.transport.resume_reading()
