"""One client: its messages in order, its commands answered, and an end with a code that says whether to come back.

Nothing waits for the network: what is for a client that keeps up is written at once, what is for a busy one stays in its outbox
until it drains. So a client that does not read delays nobody.
"""

import asyncio
import time
from collections.abc import Callable

import structlog
from websockets.exceptions import ConnectionClosed

from services.gateway import protocol
from services.gateway.authorization import Authorization
from services.gateway.catching_up import catch_up
from services.gateway.close_codes import BAD_MESSAGES, FAULT, LAST_HINT_SECONDS, SLOW_CONSUMER, UNAUTHORIZED, CloseCode, reason
from services.gateway.frames import Frame, Frames
from services.gateway.hub import Hub
from services.gateway.measures import Tally
from services.gateway.outbox import Limits
from services.gateway.permits import Permit
from services.gateway.protocol import MOST_ERRORS, Auth, Error, ErrorCode, Opening, Ping, Subscribe, Subscription, Unsubscribe
from services.gateway.pulse import Pulse, Sign
from services.gateway.wire import SocketOutbox, Wire

CLOSE_SECONDS = 2.0
"""For the close frame to get out and be answered. Then the connection is cut: a client that does not read never answers."""
LOOK_SECONDS = 3600.0
"""A token that lasts longer is looked at again: a wall clock can be set, and a timer holds only so much."""
NO_TOKENS = Error(ErrorCode.NOT_SUPPORTED, "this gateway takes no token")
BAD_TOKEN = Error(ErrorCode.UNAUTHORIZED, "this token is not accepted")

log = structlog.get_logger(__name__)


class Connection:
    """A client that completed the handshake. `run` serves it until the connection is closed.

    It is in `busy` while its bytes wait for the network: `check` is for those alone, `visit` for everybody now and then.
    """

    def __init__(self, wire: Wire, hub: Hub, limits: Limits, sent: Tally, busy: "set[Connection]", authorization: Authorization) -> None:
        self._wire = wire
        self._hub = hub
        self._limits = limits
        self._busy = busy
        self._authorization = authorization
        self._permit = Permit()
        self._expiry: asyncio.TimerHandle | None = None
        self._errors = 0
        self._end: CloseCode | None = None
        self._is_open = False
        self._drained: asyncio.Future[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        now = wire.loop.time()
        self._pulse = Pulse(now)
        self._outbox = SocketOutbox(wire, sent, hub.encode_pending, limits, now)
        wire.serve(self, self._outbox)

    @property
    def waiting(self) -> int:
        """How much waits for this client: messages, prices, alerts."""
        return self._outbox.waiting

    async def run(self, permit: Permit) -> None:
        """Send what the permit allows and receive until either side closes; never raises for what a client did."""
        self._permit = permit
        self._expect_expiry()
        try:
            opening = protocol.parse_query(self._query())
            if opening.since is not None:
                await catch_up(self._hub, opening.since, self._wire, self._limits.catch_up_seconds)
            self._open(opening)
            await self._receive()
        except ConnectionClosed:
            pass
        except Exception:
            log.exception("connection failed")
            await self.close(FAULT)
        finally:
            self._hub.leave(self._outbox)
            self._forget_expiry()

    def _query(self) -> str:
        request = self._wire.request
        return request.path.partition("?")[2] if request else ""

    def _open(self, opening: Opening) -> None:
        allowed, refused = self._permit.split(opening.tickers)
        wanted = protocol.add(frozenset(), allowed)
        self._hub.join(self._outbox, frozenset() if isinstance(wanted, Error) else wanted, opening.since)
        self._is_open = True
        self._refuse_names(opening.malformed, refused)
        if isinstance(wanted, Error):
            self._refuse(wanted)

    def on_paused(self) -> None:
        """Bytes wait in the transport: from now on the outbox keeps what comes."""
        self._outbox.on_paused(self._wire.loop.time())
        self._busy.add(self)

    def on_drained(self) -> None:
        """The system took everything: send what the outbox kept."""
        try:
            self._outbox.on_drained()
        except Exception:
            log.exception("connection failed")
            self._begin_to_close(FAULT, "closing after a fault")
        if not self._outbox.is_busy:
            self._busy.discard(self)
            self._go_on()

    def on_lost(self) -> None:
        """Nothing can be sent any more."""
        self._busy.discard(self)
        self._go_on()

    def _go_on(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def _receive(self) -> None:
        while True:
            message = await self._wire.recv()
            if isinstance(message, bytes):
                await self.close(BAD_MESSAGES)
                continue
            self._obey(message)
            # The next command waits for this one's answer: a client that asks and does not read queues nothing here.
            if self._outbox.is_busy:
                self._drained = self._wire.loop.create_future()
                await self._drained
            if self._end is not None:
                await self.close(self._end)

    def _obey(self, message: str) -> None:
        match protocol.parse_command(message):
            case Ping():
                self._outbox.put(Frame(protocol.encode_pong(self._hub.cursor)))
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
        self._outbox.put(Frame(protocol.encode_error(error)))

    def _expect_expiry(self) -> None:
        """Close when the token ends, by the wall clock."""
        self._forget_expiry()
        if self._permit.expires_at is None:
            return
        left_seconds = self._permit.expires_at - time.time()
        if left_seconds <= 0:
            self._begin_to_close(UNAUTHORIZED, "closing, the token has expired")
        else:
            self._expiry = asyncio.get_running_loop().call_later(min(left_seconds, LOOK_SECONDS), self._expect_expiry)

    def _forget_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def check(self, now: float) -> None:
        """Act on how a busy client keeps up, at `now` seconds of the loop's clock; called every so often."""
        if self._outbox.is_slow(now, self._wire.transport.get_write_buffer_size()):
            self._begin_to_close(SLOW_CONSUMER, "closing a slow client")

    def visit(self, now: float, idle: Callable[[], Frames]) -> None:
        """See whether the client lives, and let it hear that we do: by what `idle` returns, if it was sent nothing for long."""
        was_heard, self._wire.was_heard = self._wire.was_heard or self._outbox.is_busy, False  # who is busy is not read from
        match self._pulse.look(now, was_heard, ask_seconds=self._limits.ask_seconds, mute_seconds=self._limits.mute_seconds):
            case Sign.MUTE:
                self._begin_to_close(FAULT, "closing a client that does not answer")
            case Sign.ASK:
                self._wire.ask()
            case _:
                pass
        # Who waits for the first message, which must be the snapshot, gets no other.
        if self._is_open and self._outbox.is_quiet(now):
            self._outbox.put(*idle())

    def _begin_to_close(self, close: CloseCode, event: str) -> None:
        if self._closing is None:
            log.info(event)
            self._closing = asyncio.create_task(self.close(close))

    async def close(self, close: CloseCode, *, last_hint_seconds: float = LAST_HINT_SECONDS) -> None:
        """Close with the code and its reason; cut the connection if the client does not take part."""
        self._hub.leave(self._outbox)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._wire.close(close.code, reason(close, last_hint_seconds=last_hint_seconds))
        except TimeoutError:
            pass
        finally:
            self._wire.transport.abort()
