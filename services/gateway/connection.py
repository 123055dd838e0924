"""One client: its messages in order, its commands answered, and an end with a code that says whether to come back.

The sender alone waits for the network. The hub only fills the outbox, so a client that does not read delays nobody.
"""

import asyncio
from http import HTTPStatus

import structlog
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from services.gateway import protocol
from services.gateway.catching_up import catch_up
from services.gateway.close_codes import BAD_MESSAGES, FAULT, LAST_HINT_SECONDS, SLOW_CONSUMER, CloseCode, reason
from services.gateway.hub import Hub
from services.gateway.measures import Tally
from services.gateway.outbox import Limits, Outbox, Verdict
from services.gateway.protocol import Error, Opening, Ping, Subscribe, Unsubscribe

PATH = "/ws/stocks"
HEALTH_PATH = "/healthz"
MOST_ERRORS = 10
CLOSE_SECONDS = 2.0
"""For the close frame to get out and be answered. Then the connection is cut: a client that does not read never answers."""

log = structlog.get_logger(__name__)


def route(connection: ServerConnection, request: Request) -> Response | None:
    """Answer what is plain HTTP; None lets the WebSocket handshake go on."""
    path = request.path.partition("?")[0]
    if path == HEALTH_PATH and request.method == "GET":
        return connection.respond(HTTPStatus.OK, "ok\n")
    if path in (PATH, f"{PATH}/", HEALTH_PATH):
        return None
    return connection.respond(HTTPStatus.NOT_FOUND, f"not found; the stream is at {PATH}/\n")


class Connection:
    """A client that completed the handshake. `run` serves it until the connection is closed."""

    def __init__(self, websocket: ServerConnection, hub: Hub, limits: Limits, sent: Tally) -> None:
        self._websocket = websocket
        self._hub = hub
        self._sent = sent
        self._more = asyncio.Event()
        self._answered = asyncio.Event()
        self._errors = 0
        self._is_open = False
        self._closing: asyncio.Task[None] | None = None
        self._outbox = Outbox(hub.encode_pending, self._more.set, limits, asyncio.get_running_loop().time())

    @property
    def waiting(self) -> int:
        """How much waits for this client: messages, prices, alerts."""
        return self._outbox.waiting

    async def run(self) -> None:
        """Send and receive until either side closes; never raises for what a client did."""
        try:
            opening = protocol.parse_query(self._query())
            if opening.since is not None:
                await catch_up(self._hub, opening.since, self._websocket)
            self._open(opening)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send())
                tasks.create_task(self._receive())
        except* ConnectionClosed:
            pass
        except* Exception:
            log.exception("connection failed")
            await self.close(FAULT)
        finally:
            self._hub.leave(self._outbox)

    def _query(self) -> str:
        request = self._websocket.request
        return request.path.partition("?")[2] if request else ""

    def _open(self, opening: Opening) -> None:
        self._hub.join(self._outbox, opening.tickers, opening.since)
        self._is_open = True
        if opening.malformed:
            self._refuse(protocol.bad_tickers(opening.malformed))

    async def _send(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            message = self._outbox.take(now())
            if message is None:
                self._more.clear()
                await self._more.wait()
                continue
            await self._websocket.send(message, text=True)
            self._sent.add(len(message))
            if not self._outbox.has_ready:
                self._answered.set()

    async def _receive(self) -> None:
        while True:
            message = await self._websocket.recv()
            if isinstance(message, bytes):
                await self.close(BAD_MESSAGES)
                continue
            self._answered.clear()
            self._obey(message)
            # The next command waits for this one's answer: a client that asks and does not read queues nothing here.
            await self._answered.wait()
            if self._errors >= MOST_ERRORS:
                await self.close(BAD_MESSAGES)

    def _obey(self, message: str) -> None:
        match protocol.parse_command(message):
            case Ping():
                self._outbox.put(protocol.encode_pong(self._hub.cursor))
            case Subscribe(tickers, malformed):
                self._subscribe(protocol.add(self._outbox.subscription, tickers), malformed)
            case Unsubscribe(tickers, malformed):
                self._subscribe(protocol.remove(self._outbox.subscription, tickers), malformed)
            case Error() as error:
                self._refuse(error)

    def _subscribe(self, wanted: protocol.Subscription | Error, malformed: tuple[str, ...]) -> None:
        if malformed:
            self._refuse(protocol.bad_tickers(malformed))
        if isinstance(wanted, Error):
            self._refuse(wanted)
        else:
            self._hub.change(self._outbox, wanted)

    def _refuse(self, error: Error) -> None:
        self._errors += 1
        self._outbox.put(protocol.encode_error(error))

    def check(self, now: float) -> None:
        """Act on how the client keeps up, at `now` seconds of the loop's clock; called every so often."""
        if not self._is_open:
            return  # it waits for its first message, which must be the snapshot
        match self._outbox.judge(now, self._websocket.transport.get_write_buffer_size()):
            case Verdict.SLOW if self._closing is None:
                log.info("closing a slow client")
                self._closing = asyncio.create_task(self.close(SLOW_CONSUMER))
            case Verdict.IDLE:
                self._outbox.put(*self._hub.encode_idle())
            case _:
                pass

    async def close(self, close: CloseCode, *, last_hint_seconds: float = LAST_HINT_SECONDS) -> None:
        """Close with the code and its reason; cut the connection if the client does not take part."""
        self._hub.leave(self._outbox)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._websocket.close(close.code, reason(close, last_hint_seconds=last_hint_seconds))
        except TimeoutError:
            pass
        finally:
            self._websocket.transport.abort()
