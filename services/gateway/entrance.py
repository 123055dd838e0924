"""Where connections come in: each is counted from its first byte to its last, judged once, and cut when it sends too much.

The decisions are made in `admission`, `origins`, `client_addresses` and `rates`; here they meet the library.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import structlog
from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame
from websockets.http11 import Request, Response
from websockets.protocol import CONNECTING, Event
from websockets.typing import Subprotocol

from services.gateway.admission import HEALTH_PATH, Asked, Caps, Place, Places, Refusal, Refusals, refuse
from services.gateway.client_addresses import Address, ClientAddresses, counted_as, parse_address
from services.gateway.close_codes import TOO_MANY_REQUESTS, CloseCode, reason
from services.gateway.origins import Origins
from services.gateway.rates import Bucket, Rate
from services.gateway.settings import GatewaySettings
from services.gateway.wire import Wire
from shared import metrics

MOST_HANDSHAKE_BYTES = 32_768
"""Of a request with all its headers. The library allows a mebibyte, which a thousand connections would make a gibibyte."""
PARTING_SECONDS = 2.0
"""For a close frame to get out and the other side to hang up. Then the connection is cut."""
BEARER = Subprotocol("bearer")

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Bounds:
    """What no honest client meets."""

    handshake_seconds: float = 5.0
    token_seconds: float = 5.0
    rate: Rate = field(default_factory=Rate)


class Entrance:
    """Admits connections to one gateway, and remembers what it refused."""

    def __init__(self, settings: GatewaySettings, bounds: Bounds) -> None:
        self.rate = bounds.rate
        self.places = Places(Caps(settings.gateway_max_connections, settings.gateway_max_connections_per_ip))
        self._origins = Origins(settings.gateway_allowed_origins)
        self._addresses = ClientAddresses(settings.gateway_trusted_proxies)
        self._refusals = Refusals()

    @property
    def create_connection(self) -> type[ServerConnection]:
        """What the library calls for each TCP connection; it wants a class and takes anything that makes one."""
        return cast(type[ServerConnection], partial(GuardedConnection, self))

    def arrive(self, peer: Address | None) -> Place | None:
        """Take a place for a TCP connection; None if it must be dropped."""
        # A proxy speaks for many, so its connections are counted by client once their headers are there.
        place = self.places.arrive("" if self._addresses.is_proxy(peer) else counted_as(peer))
        if place is None:
            self.note("dropped", counted_as(peer))
        return place

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer what is plain HTTP or refused; None lets the WebSocket handshake go on."""
        assert isinstance(connection, GuardedConnection)
        path, _, query = request.path.partition("?")
        if path == HEALTH_PATH:
            return connection.respond(HTTPStatus.OK, "ok\n") if request.method == "GET" else None
        headers = request.headers
        refusal = refuse(Asked(path, query, headers.get_all("Host"), headers.get_all("Origin")), self._origins)
        refusal = refusal or self._admit(connection, headers.get_all("X-Forwarded-For"))
        return self._refuse(connection, refusal) if refusal else None

    def _admit(self, connection: "GuardedConnection", forwarded: Sequence[str]) -> Refusal | None:
        if connection.place is None:
            return None  # it was dropped, and is about to be told
        return self.places.admit(connection.place, counted_as(self._addresses.find(connection.peer, forwarded)))

    def _refuse(self, connection: ServerConnection, refusal: Refusal) -> Response:
        self.note(refusal.reason, refusal.detail)
        response = connection.respond(refusal.status, f"{refusal.text}\n")
        if refusal.retry_after_seconds is not None:
            response.headers["Retry-After"] = str(refusal.retry_after_seconds)
        return response

    def note(self, reason: str, detail: str = "") -> None:
        """Count a refusal, and keep it for the next report."""
        metrics.GATEWAY_REFUSED.labels(reason).inc()
        self._refusals.note(reason, detail)

    def report(self, now: float) -> None:
        """Log what was refused; called every so often with the seconds of the loop's clock."""
        if report := self._refusals.report(now):
            log.warning("connections were refused", **report)


def choose_subprotocol(_connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Echo `bearer` and never the token beside it; a browser takes no answer for a failure when it offered something."""
    return BEARER if BEARER in offered else None


class GuardedConnection(Wire):
    """A connection that has a place, or is dropped; that may send so many frames, control frames too; and that can be got rid of.

    The library answers each ping at once, read or not: what may be sent must be bounded where frames arrive.
    """

    def __init__(self, entrance: Entrance, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.peer: Address | None = None
        self.place: Place | None = None
        self._entrance = entrance
        self._bucket = Bucket(entrance.rate, self.loop.time())
        self._handshake_bytes = 0
        self._is_failed = False
        self._cut: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place, or hang up."""
        super().connection_made(transport)
        self.peer = parse_address((transport.get_extra_info("peername") or ("",))[0])
        self.place = self._entrance.arrive(self.peer)
        if self.place is None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back; this is called once for every connection, however it ends."""
        if self.place is not None:
            self._entrance.places.leave(self.place)
        if self._cut is not None:
            self._cut.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what the network brings, as long as it is within the bounds."""
        if self.protocol.state is CONNECTING:
            # Frames would count, too: a client must wait for the answer before it sends any (RFC 6455, 4.1).
            self._handshake_bytes += len(data)
            if self._handshake_bytes > MOST_HANDSHAKE_BYTES:
                self.transport.abort()
                return
        super().data_received(data)
        if self.protocol.close_expected():
            self._cut_soon()

    def process_event(self, event: Event) -> None:
        """Take a frame, if it is not one too many."""
        if self._is_failed:
            return  # in the same piece of the network as the one too many: thousands, each of which would be failed anew
        if isinstance(event, Frame) and not self._bucket.take(self.loop.time()):
            self._fail(TOO_MANY_REQUESTS)
        else:
            super().process_event(event)

    def _fail(self, close: CloseCode) -> None:
        """Close, and from now on discard what comes: pings would be answered until the closing is complete."""
        self._is_failed = True
        self.protocol.fail(close.code, reason(close))
        self.send_data()
        self.transport.resume_reading()  # paused by what is queued, it would not see the other side hang up
        self._cut_soon()

    def _cut_soon(self) -> None:
        # The library waits for the other side to hang up, which one that means harm need not do.
        if self._cut is None:
            self._cut = self.loop.call_later(PARTING_SECONDS, self.transport.abort)
