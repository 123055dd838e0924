"""A board that is told by a client what a gateway sends."""

from tickstream_client.parting import Parting
from tickstream_client.session import Listener, Session

from services.admin.board import Board


class Told(Board):
    """Fed with the texts of messages."""

    def __init__(self) -> None:
        super().__init__()
        self._session = Session("ws://127.0.0.1", listener=Listener(on_status=self.on_status, on_market=self.on_market))

    def on_message(self, text: str, now_seconds: float) -> None:
        """Hear a message."""
        self._session.on_message(text, now_seconds)
        while self._session.has_update:
            self.on_update(self._session.take_update(), now_seconds)

    def lose(self, reason: str) -> None:
        """Lose the connection, and get another."""
        self._session.on_parting(Parting(reason), 0)
        self._session.on_open(0)
