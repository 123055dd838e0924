"""`subscribe` for asyncio: the session of `session.py` on connections of `websockets`. No task runs but that of the user's loop."""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from ssl import SSLContext
from types import TracebackType
from typing import Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tickstream_client.connecting import Proxy, bound_buffer, options
from tickstream_client.endings import Ended, parting_of
from tickstream_client.messages import Gap, Market, NotAMessage, Status, Update
from tickstream_client.parting import Refused
from tickstream_client.session import LONGEST_WAIT_SECONDS, PING, Listener, Session, View, auth_command

Token = str | Callable[[], str | Awaitable[str]] | None


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
    """Subscribe to prices and alerts of a gateway: `async for update in subscribe("ws://127.0.0.1:8001", ["AAPL"])`.

    `url`: a gateway, or several that are tried in turn. `tickers`: which; None is all there are. `since`: a cursor stored before.
    `token`: a JWT, or a function (plain or async) that returns one: it is asked for each connection, again before the token ends, and
    after it was refused. An `OSError` of it is retried, anything else is raised in the loop.
    `on_gap`, `on_status`, `on_market`: plain functions, called before the update that follows; `on_message` with every text that came.
    `longest_wait_seconds`: between two tries to connect, if the gateway names no time; the first come within a second.
    `proxy`: as of `websockets`: True is that of the environment (`HTTPS_PROXY` …), None is none. `ssl`: for a CA of your own.

    The loop goes on for ever, over lost connections and restarted gateways, until it is left. Raise `ValueError` at once for arguments
    that no gateway would accept, and in the loop `Refused` when coming back would not help.
    """
    listener = Listener(on_gap, on_status, on_market, on_message)
    session = Session(url, tickers, since=since, token=token, longest_wait_seconds=longest_wait_seconds, listener=listener)
    return Subscription(session, token, proxy, ssl)


class Subscription(View):
    """An iterator of `Update`, to be had from `subscribe`.

    Leaving an `async for` closes it, unless `async with` holds it open for another one. A cancelled `anext` loses nothing.
    """

    def __init__(self, session: Session, token: Token, proxy: Proxy, ssl: SSLContext | None) -> None:
        super().__init__(session)
        self._token = token
        self._proxy = proxy
        self._ssl = ssl
        self._connection: ClientConnection | None = None
        self._pong: asyncio.Future[float] | None = None
        self._closed = asyncio.Event()
        self._is_held = False

    async def add(self, tickers: Iterable[str]) -> None:
        """Subscribe to more tickers (`["*"]`: all), now and after every reconnect. Raise `ValueError` for what is none."""
        await self._send(self._session.add(tickers))

    async def remove(self, tickers: Iterable[str]) -> None:
        """Unsubscribe. Raise `ValueError` if no ticker would be left, or if all are subscribed."""
        await self._send(self._session.remove(tickers))

    async def ping(self) -> None:
        """Ask the gateway for an answer, behind everything it has sent: the cursor is newer when it has come."""
        await self._send([PING])

    async def aclose(self) -> None:
        """End it: the connection is closed, and a loop that waits ends."""
        self._closed.set()
        connection, self._connection = self._connection, None
        await _hang_up(connection)

    async def __aenter__(self) -> Self:
        self._is_held = True
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def __aiter__(self) -> AsyncIterator[Update]:
        # A generator, because the event loop sees to it that one is closed that was left in the middle.
        try:
            while True:
                yield await self.__anext__()
        except StopAsyncIteration:
            return
        finally:
            if not self._is_held:
                await self.aclose()

    async def __anext__(self) -> Update:
        session = self._session
        while not self._closed.is_set():
            if session.has_update and not session.wants_more:
                return session.take_update()
            text = await self._queued_text() if session.has_update else await self._next_text()
            if text is not None:
                await self._hear(text)
            elif session.has_update:
                return session.take_update()
        raise StopAsyncIteration

    async def _hear(self, text: str | bytes) -> None:
        try:
            self._session.on_message(text, time.monotonic())
        except NotAMessage as error:
            await self._part(error)

    async def _next_text(self) -> str | bytes | None:
        """The next message, of whichever connection; None if none came this time."""
        try:
            connection = self._connection or await self._open()
            return await self._receive(connection) if connection else None
        except Ended as error:
            await self._part(error)
            return None

    async def _queued_text(self) -> str | bytes | None:
        """A message that has arrived already, if there is one. The end of a connection is met when the next is waited for."""
        try:
            async with asyncio.timeout(0):
                return await self._connection.recv() if self._connection else None
        except Ended:
            return None

    async def _open(self) -> ClientConnection | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._session.rest_seconds(time.monotonic())):
                await self._closed.wait()
        if self._closed.is_set():
            return None
        token = await self._ask_token()
        connection = await connect(self._session.next_url(), **options(token, self._proxy, self._ssl))
        self._connection, self._pong = connection, None
        bound_buffer(connection.transport.get_extra_info("socket"))
        await self._send(self._session.on_open(time.monotonic()))
        if self._closed.is_set():
            await self.aclose()
        return self._connection

    async def _ask_token(self) -> str:
        if self._token is None:
            return ""
        token = self._token() if callable(self._token) else self._token
        found = await token if inspect.isawaitable(token) else token
        return self._session.on_token(found, time.monotonic(), time.time())

    async def _receive(self, connection: ClientConnection) -> str | bytes | None:
        if self._session.wants_token(time.monotonic()):
            await self._renew_token()
        try:
            async with asyncio.timeout(self._session.patience_seconds(time.monotonic())):
                return await connection.recv()
        except TimeoutError:
            await self._look(connection)
            return None

    async def _look(self, connection: ClientConnection) -> None:
        """Nothing came for a while: see whether the gateway is there. Pings of the protocol, as they bring no message."""
        if self._pong is not None and self._pong.done():
            self._session.on_pong()
            self._pong = None
        if self._session.on_silence(time.monotonic()):
            self._pong = asyncio.ensure_future(await connection.ping())

    async def _renew_token(self) -> None:
        try:
            await self._send([auth_command(await self._ask_token())])
        except OSError:
            self._session.on_no_token(time.monotonic())

    async def _send(self, commands: Sequence[str]) -> None:
        connection = self._connection
        if connection is None:
            return
        # What is lost with a connection is part of what is asked of the next.
        with suppress(ConnectionClosed):
            for command in commands:
                await connection.send(command)

    async def _part(self, error: Exception) -> None:
        connection, self._connection = self._connection, None
        try:
            if not self._closed.is_set():
                self._session.on_parting(parting_of(error), time.monotonic())
        except Refused:
            self._closed.set()
            raise
        finally:
            await _hang_up(connection)


async def _hang_up(connection: ClientConnection | None) -> None:
    if connection is not None:
        try:
            await connection.close()
        finally:
            connection.transport.abort()
