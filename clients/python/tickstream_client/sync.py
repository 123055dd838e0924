"""`subscribe` without asyncio: the same session on the same library's blocking connections, as a plain iterator."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from ssl import SSLContext
from types import TracebackType
from typing import Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tickstream_client.connecting import Proxy, bound_buffer, options
from tickstream_client.endings import Ended, parting_of
from tickstream_client.messages import Gap, Market, NotAMessage, Status, Update
from tickstream_client.parting import Refused
from tickstream_client.session import LONGEST_WAIT_SECONDS, PING, Listener, Session, View, auth_command

__all__ = ["Subscription", "subscribe"]

Token = str | Callable[[], str] | None


def subscribe(
    url: str | Sequence[str],
    tickers: Iterable[str] | None = None,
    *,
    since: str | None = None,
    token: Token = None,
    on_gap: Callable[[Gap], None] | None = None,
    on_status: Callable[[Status], None] | None = None,
    on_market: Callable[[Market], None] | None = None,
    on_message: Callable[[str], None] | None = None,
    longest_wait_seconds: float = LONGEST_WAIT_SECONDS,
    proxy: Proxy = True,
    ssl: SSLContext | None = None,
) -> "Subscription":
    """Subscribe to prices and alerts of a gateway: `for update in subscribe("ws://127.0.0.1:8001", ["AAPL"])`.

    Arguments and exceptions are those of `tickstream_client.subscribe`; a function for `token` is a plain one.
    """
    listener = Listener(on_gap, on_status, on_market, on_message)
    session = Session(url, tickers, since=since, token=token, longest_wait_seconds=longest_wait_seconds, listener=listener)
    return Subscription(session, token, proxy, ssl)


class Subscription(View):
    """An iterator of `Update`, to be had from `subscribe`.

    Leaving a `for` closes it, unless `with` holds it open for another one. One thread iterates; others may add, remove, and close.
    """

    def __init__(self, session: Session, token: Token, proxy: Proxy, ssl: SSLContext | None) -> None:
        super().__init__(session)
        self._token = token
        self._proxy = proxy
        self._ssl = ssl
        self._connection: ClientConnection | None = None
        self._pong: threading.Event | None = None
        self._closed = threading.Event()
        self._is_held = False

    def add(self, tickers: Iterable[str]) -> None:
        """Subscribe to more tickers (`["*"]`: all), now and after every reconnect. Raise `ValueError` for what is none."""
        self._send(self._session.add(tickers))

    def remove(self, tickers: Iterable[str]) -> None:
        """Unsubscribe. Raise `ValueError` if no ticker would be left, or if all are subscribed."""
        self._send(self._session.remove(tickers))

    def ping(self) -> None:
        """Ask the gateway for an answer, behind everything it has sent: the cursor is newer when it has come."""
        self._send([PING])

    def close(self) -> None:
        """End it: the connection is closed, and a loop that waits ends."""
        self._closed.set()
        connection, self._connection = self._connection, None
        _hang_up(connection)

    def __enter__(self) -> Self:
        self._is_held = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[Update]:
        # A generator, because one that is left in the middle is closed.
        try:
            while True:
                yield self.__next__()
        except StopIteration:
            return
        finally:
            if not self._is_held:
                self.close()

    def __next__(self) -> Update:
        session = self._session
        while not self._closed.is_set():
            if session.has_update and not session.wants_more:
                return session.take_update()
            text = self._queued_text() if session.has_update else self._next_text()
            if text is not None:
                self._hear(text)
            elif session.has_update:
                return session.take_update()
        raise StopIteration

    def _hear(self, text: str | bytes) -> None:
        try:
            self._session.on_message(text, time.monotonic())
        except NotAMessage as error:
            self._part(error)

    def _next_text(self) -> str | bytes | None:
        """The next message, of whichever connection; None if none came this time."""
        try:
            connection = self._connection or self._open()
            return self._receive(connection) if connection else None
        except Ended as error:
            self._part(error)
            return None

    def _queued_text(self) -> str | bytes | None:
        """A message that has arrived already, if there is one. The end of a connection is met when the next is waited for."""
        try:
            return self._connection.recv(0) if self._connection else None
        except Ended:
            return None

    def _open(self) -> ClientConnection | None:
        if self._closed.wait(self._session.rest_seconds(time.monotonic())):
            return None
        token = self._ask_token()
        # Entered here and closed in `_hang_up`: it outlives any block.
        connection = connect(self._session.next_url(), **options(token, self._proxy, self._ssl)).__enter__()
        self._connection, self._pong = connection, None
        bound_buffer(connection.socket)
        self._send(self._session.on_open(time.monotonic()))
        if self._closed.is_set():
            self.close()
        return self._connection

    def _ask_token(self) -> str:
        if self._token is None:
            return ""
        token = self._token() if callable(self._token) else self._token
        return self._session.on_token(token, time.monotonic(), time.time())

    def _receive(self, connection: ClientConnection) -> str | bytes | None:
        if self._session.wants_token(time.monotonic()):
            self._renew_token()
        try:
            return connection.recv(self._session.patience_seconds(time.monotonic()))
        except TimeoutError:
            self._look(connection)
            return None

    def _look(self, connection: ClientConnection) -> None:
        """Nothing came for a while: see whether the gateway is there. Pings of the protocol, as they bring no message."""
        if self._pong is not None and self._pong.is_set():
            self._session.on_pong()
            self._pong = None
        if self._session.on_silence(time.monotonic()):
            self._pong = connection.ping()

    def _renew_token(self) -> None:
        try:
            self._send([auth_command(self._ask_token())])
        except OSError:
            self._session.on_no_token(time.monotonic())

    def _send(self, commands: Sequence[str]) -> None:
        connection = self._connection
        if connection is None:
            return
        # What is lost with a connection is part of what is asked of the next.
        with suppress(ConnectionClosed):
            for command in commands:
                connection.send(command)

    def _part(self, error: Exception) -> None:
        connection, self._connection = self._connection, None
        try:
            if not self._closed.is_set():
                self._session.on_parting(parting_of(error), time.monotonic())
        except Refused:
            self._closed.set()
            raise
        finally:
            _hang_up(connection)


def _hang_up(connection: ClientConnection | None) -> None:
    if connection is not None:
        connection.close()
