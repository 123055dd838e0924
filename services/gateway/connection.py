"""One client: its messages in order, its commands answered, and an end with a code that says whether to come back.

The sender alone waits for the network. The hub only fills the outbox, so a client that does not read delays nobody.
"""

import asyncio
import time

import structlog
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from services.gateway import protocol
from services.gateway.authorization import Authorization
from services.gateway.close_codes import BAD_MESSAGES, FAULT, SLOW_CONSUMER, UNAUTHORIZED, CloseCode, reason
from services.gateway.hub import Hub
from services.gateway.measures import Tally
from services.gateway.outbox import Limits, Outbox, Verdict
from services.gateway.permits import Permit
from services.gateway.protocol import MOST_ERRORS, Auth, Error, ErrorCode, Opening, Ping, Subscribe, Subscription, Unsubscribe

CLOSE_SECONDS = 2.0
"""For the close frame to get out and be answered. Then the connection is cut: a client that does not read never answers."""
LOOK_SECONDS = 3600.0
"""A token that lasts longer is looked at again: a wall clock can be set, and a timer holds only so much."""
NO_TOKENS = Error(ErrorCode.NOT_SUPPORTED, "this gateway takes no token")
BAD_TOKEN = Error(ErrorCode.UNAUTHORIZED, "this token is not accepted")

log = structlog.get_logger(__name__)


class Connection:
    """A client that completed the handshake. `run` serves it until the connection is closed."""

    def __init__(self, websocket: ServerConnection, hub: Hub, limits: Limits, sent: Tally, authorization: Authorization) -> None:
        self._websocket = websocket
        self._hub = hub
        self._sent = sent
        self._authorization = authorization
        self._permit = Permit()
        self._expiry: asyncio.TimerHandle | None = None
        self._more = asyncio.Event()
        self._answered = asyncio.Event()
        self._errors = 0
        self._end: CloseCode | None = None
        self._is_open = False
        self._closing: asyncio.Task[None] | None = None
        self._outbox = Outbox(hub.encode_pending, self._more.set, limits, asyncio.get_running_loop().time())

    @property
    def waiting(self) -> int:
        """How much waits for this client: messages, prices, alerts."""
        return self._outbox.waiting

    async def run(self, permit: Permit) -> None:
        """Send what the permit allows and receive until either side closes; never raises for what a client did."""
        self._permit = permit
        self._expect_expiry()
        try:
            self._open(protocol.parse_query(self._query()))
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
            self._forget_expiry()

    def _query(self) -> str:
        request = self._websocket.request
        return request.path.partition("?")[2] if request else ""

    def _open(self, opening: Opening) -> None:
        allowed, refused = self._permit.split(opening.tickers)
        wanted = protocol.add(frozenset(), allowed)
        self._hub.join(self._outbox, frozenset() if isinstance(wanted, Error) else wanted, is_resuming=opening.since is not None)
        self._is_open = True
        self._refuse_names(opening.malformed, refused)
        if isinstance(wanted, Error):
            self._refuse(wanted)

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
            if self._end is not None:
                await self.close(self._end)

    def _obey(self, message: str) -> None:
        match protocol.parse_command(message):
            case Ping():
                self._outbox.put(protocol.encode_pong(self._hub.cursor))
            case Subscribe(tickers, malformed):
                allowed, refused = self._permit.split(tickers)
                self._refuse_names(malformed, refused)
                self._subscribe(protocol.add(self._outbox.subscription, allowed))
            case Unsubscribe(tickers, malformed):
                self._refuse_names(malformed)
                self._subscribe(protocol.remove(self._outbox.subscription, tickers))
            case Auth(token) if self._authorization.takes_tokens:
                self._renew(self._authorization.judge(token))
            case Auth():
                self._refuse(NO_TOKENS)
            case Error() as error:
                self._refuse(error)

    def _subscribe(self, wanted: Subscription | Error) -> None:
        if isinstance(wanted, Error):
            self._refuse(wanted)
        else:
            self._hub.change(self._outbox, wanted)

    def _renew(self, permit: Permit | None) -> None:
        """Go on with another token, without what it does not allow; a bad one ends the connection."""
        if permit is None:
            self._end = UNAUTHORIZED
            self._refuse(BAD_TOKEN)
            return
        self._permit = permit
        self._expect_expiry()
        self._hub.change(self._outbox, permit.split(self._outbox.subscription)[0])

    def _refuse_names(self, malformed: tuple[str, ...], refused: Subscription = frozenset()) -> None:
        if malformed:
            self._refuse(protocol.bad_tickers(malformed))
        if refused:
            self._refuse(protocol.forbidden_tickers(refused))

    def _refuse(self, error: Error) -> None:
        self._errors += 1
        if self._errors >= MOST_ERRORS:
            self._end = self._end or BAD_MESSAGES
        self._outbox.put(protocol.encode_error(error))

    def _expect_expiry(self) -> None:
        """Close when the token ends, by the wall clock."""
        self._forget_expiry()
        if self._permit.expires_at is None:
            return
        left_seconds = self._permit.expires_at - time.time()
        if left_seconds <= 0:
            self._close_soon(UNAUTHORIZED)
        else:
            self._expiry = asyncio.get_running_loop().call_later(min(left_seconds, LOOK_SECONDS), self._expect_expiry)

    def _forget_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def check(self, now: float) -> None:
        """Act on how the client keeps up, at `now` seconds of the loop's clock; called every so often."""
        if not self._is_open:
            return  # it waits for its first message, which must be the snapshot
        match self._outbox.judge(now, self._websocket.transport.get_write_buffer_size()):
            case Verdict.SLOW if self._closing is None:
                log.info("closing a slow client")
                self._close_soon(SLOW_CONSUMER)
            case Verdict.IDLE:
                self._outbox.put(*self._hub.encode_idle())
            case _:
                pass

    def _close_soon(self, close: CloseCode) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self.close(close))

    async def close(self, close: CloseCode) -> None:
        """Close with the code and its reason; cut the connection if the client does not take part."""
        self._hub.leave(self._outbox)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._websocket.close(close.code, reason(close))
        except TimeoutError:
            pass
        finally:
            self._websocket.transport.abort()
