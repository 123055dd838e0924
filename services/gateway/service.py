"""The gateway at work: follow every partition, flush the changes of each window, serve every client until told to stop."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from itertools import islice
from typing import cast

import structlog
from redis.asyncio import Redis
from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as listen

from services.gateway.admission import PATH
from services.gateway.authorization import Authorization, Check
from services.gateway.close_codes import GOING_AWAY, TRY_LATER, CloseCode
from services.gateway.connection import Connection
from services.gateway.deflate import SharedDeflate
from services.gateway.draining import Draining
from services.gateway.entrance import Bounds, Entrance, choose_subprotocol
from services.gateway.feed import BLOCK_SECONDS, Feed, Outage
from services.gateway.hub import STALE_SECONDS, Hub
from services.gateway.market_feed import follow_market
from services.gateway.measures import HOP, Tally, note_end
from services.gateway.outbox import Limits
from services.gateway.reporting import Reporting
from services.gateway.rounds import Rounds
from services.gateway.settings import GatewaySettings
from services.gateway.wire import WRITE_LIMIT, Wire
from shared import metrics
from shared.crash_points import CrashPoint, reach
from shared.errors import ConfigurationError
from shared.listening import address_problem, allow_open_files
from shared.observe import confirm, fail
from shared.redis.cluster import connect_to
from shared.redis.deployment import join
from shared.runtime import until_ready

READY_CHECK = "streams"
"""What a look at the feeds confirms: that clients can be given the prices of now."""
CHECK_SECONDS = 0.25
LOAD_SECONDS = 5.0
"""How long a client that came before the first snapshots waits for them, before it is asked to come back."""
CATCH_UP_SECONDS = 2.0
"""Gateways are a flush apart, and the delay of a read, or an incarnation that one has not noticed yet."""
MOST_MESSAGE_BYTES = 4096
MOST_QUEUED_FRAMES = 4
SYSTEM_BUFFER_BYTES = 65_536
"""What the system keeps for a client that does not read (it doubles this), before the outbox does: so much of what a slow client
gets is old. By default it grows to megabytes."""
MOST_CONNECTING = 4096
"""At once: who comes while so many wait to be accepted is not heard by the system and tries again after a second. The system's own
bound (`net.core.somaxconn`) holds, too."""
DRAIN_STEP_SECONDS = 0.05
LAST_SECONDS = 1.0

log = structlog.get_logger(__name__)


async def serve(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Run a gateway until `stop` is set. Raise `ConfigurationError` if the port is taken or the deployment is another."""
    allow_open_files()
    gateway = Gateway(settings)
    async with connect_to(settings, service="gateway", block_seconds=BLOCK_SECONDS) as redis, gateway.listening() as server:
        await gateway.work(redis, server, stop)


class Gateway:
    """One hub, fed by every partition, and the connections of its clients."""

    def __init__(self, settings: GatewaySettings, limits: Limits | None = None, bounds: Bounds | None = None) -> None:
        self._settings = settings
        self._limits = limits or Limits(catch_up_seconds=CATCH_UP_SECONDS + settings.gateway_flush_seconds)
        self._bounds = bounds or Bounds()
        self._entrance = Entrance(settings, self._bounds)
        self._authorization = Authorization(_check(settings), self._bounds.token_seconds, self._entrance.note)
        self._changed = asyncio.Event()
        self._loaded = asyncio.Event()
        self._connections: set[Connection] = set()
        self._busy: set[Connection] = set()
        self._visits: Rounds[Connection] = Rounds(self._limits.visit_seconds)
        self._sent = Tally()
        self._hub = Hub(settings.partitions, lambda: time.time_ns() // 1_000_000, self._on_change)
        self._feeds: list[Feed] = []
        self._reporting = Reporting(
            lambda: len(self._connections), lambda: self._sent.moved, lambda: [feed.lag for feed in self._feeds], lambda: self._hub.is_stale
        )
        self._show()

    def _show(self) -> None:
        """Have counted, whenever somebody looks, what can be counted at any moment."""

        def waiting() -> list[int]:
            # In the thread that answers: a copy, as clients come and go meanwhile.
            return [connection.waiting for connection in tuple(self._busy)]

        metrics.GATEWAY_CLIENTS.set_function(lambda: len(self._connections))
        metrics.GATEWAY_HANDSHAKES.set_function(lambda: self._entrance.places.unfinished)
        metrics.GATEWAY_SUBSCRIPTIONS.set_function(lambda: self._hub.subscriptions)
        metrics.GATEWAY_INDEXED_ALERTS.set_function(lambda: self._hub.indexed_alerts)
        metrics.GATEWAY_REDIS_STALE.set_function(lambda: self._hub.is_stale)
        metrics.GATEWAY_OUTBOX_LARGEST.set_function(lambda: max(waiting(), default=0))
        metrics.GATEWAY_OUTBOX_WAITING.set_function(lambda: sum(waiting()))

    async def work(self, redis: Redis, server: Server, stop: asyncio.Event) -> None:
        """Follow the streams until `stop` is set and every client has been asked to go: until its turn each is served."""
        async with asyncio.TaskGroup() as tasks:
            loops = [tasks.create_task(self._flush_changes(), name="flush"), tasks.create_task(self._watch(), name="watch")]
            await until_ready(lambda: self._join(redis), what="redis", stop=stop)
            outage = Outage()
            for p in range(self._settings.partitions):
                self._feeds.append(feed := Feed(redis, p, self._hub, outage, lambda: self._join(redis)))
                loops.append(tasks.create_task(feed.run(), name=f"feed {p}"))
            loops.append(tasks.create_task(follow_market(redis, self._hub), name="market"))
            loops.append(tasks.create_task(self._reporting.run(redis), name="report"))
            await stop.wait()
            await self._drain(server)
            for loop in loops:
                loop.cancel()
        await self._reporting.leave(redis)

    async def _drain(self, server: Server) -> None:
        """Let nobody in, and part with everybody at a rate; whoever does not answer holds up nobody."""
        server.close(close_connections=False)
        now = asyncio.get_running_loop().time
        draining, going = Draining(len(self._connections), now()), set[Connection]()
        async with asyncio.TaskGroup() as partings:
            while staying := self._connections - going:
                for connection in islice(staying, draining.due(now()) - len(going)):
                    going.add(connection)
                    partings.create_task(connection.close(GOING_AWAY, last_hint_seconds=draining.last_hint_seconds))
                await asyncio.sleep(DRAIN_STEP_SECONDS)

    async def _join(self, redis: Redis) -> None:
        await join(redis, self._settings.partitions, self._settings.sma_period)

    def _on_change(self) -> None:
        if self._hub.is_loaded:
            self._loaded.set()
        if self._settings.gateway_flush_seconds == 0:
            self._flush()
        else:
            self._changed.set()

    async def _flush_changes(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(self._settings.gateway_flush_seconds)
            await reach(CrashPoint.GATEWAY_BEFORE_FLUSH)
            self._changed.clear()
            self._flush()
            await reach(CrashPoint.GATEWAY_FLUSHED)

    def _flush(self) -> None:
        with metrics.GATEWAY_FLUSH_SECONDS.time():
            metrics.GATEWAY_ALERTS.inc(self._hub.flush())
        HOP.finish()

    async def _watch(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            self._hub.watch(now())
            self._confirm()
            self._sent.move()
            self._entrance.report(now())
            self._look_at_clients(now())

    def _look_at_clients(self, now: float) -> None:
        for connection in tuple(self._busy):
            connection.check(now)
        idle = cache(self._hub.encode_idle)
        for connection in self._visits.due(now):
            connection.visit(now, idle)

    def _confirm(self) -> None:
        if not self._hub.is_loaded:
            fail(READY_CHECK, "not every partition is loaded yet")
        elif self._hub.is_stale:
            fail(READY_CHECK, f"a partition was not heard of for {STALE_SECONDS:g} s")
        else:
            confirm(READY_CHECK)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Server]:
        """Accept clients; at the end close those that are still there."""
        server = await self._listen()
        log.info("listening", url=f"ws://{self._settings.gateway_host}:{self._settings.gateway_port}{PATH}/")
        try:
            yield server
        finally:
            server.close(close_connections=False)
            await asyncio.gather(*(connection.close(GOING_AWAY) for connection in self._connections))
            with suppress(TimeoutError):  # what is left after that is a handshake that nobody goes on with
                async with asyncio.timeout(LAST_SECONDS):
                    await server.wait_closed()

    async def _listen(self) -> Server:
        host, port = self._settings.gateway_host, self._settings.gateway_port
        try:
            server = await listen(
                self._attend, host, port,
                process_request=self._entrance.answer,
                select_subprotocol=choose_subprotocol,
                create_connection=self._entrance.create_connection,
                compression=None,  # that is, not the one that compresses the same message again for every client
                extensions=[SharedDeflate()],
                write_limit=WRITE_LIMIT,
                ping_interval=None,  # that is, not by a task for each: see `visit`
                start_serving=False,
                max_size=MOST_MESSAGE_BYTES,
                max_queue=MOST_QUEUED_FRAMES,
                open_timeout=self._bounds.handshake_seconds,
                server_header=None,
                backlog=MOST_CONNECTING,
                reuse_port=self._settings.gateway_workers > 1 or None,
            )  # fmt: skip
            for listener in server.sockets:  # whose connections inherit it
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SYSTEM_BUFFER_BYTES)
            await server.start_serving()
            return server
        except OSError as error:
            raise ConfigurationError((address_problem("GATEWAY", host, port, error),)) from error

    async def _attend(self, websocket: ServerConnection) -> None:
        connection = Connection(cast(Wire, websocket), self._hub, self._limits, self._sent, self._busy, self._authorization)
        self._connections.add(connection)
        self._visits.enter(connection, asyncio.get_running_loop().time())
        try:
            permit = await self._authorization.permit(websocket)
            if isinstance(permit, CloseCode):
                await connection.close(permit)
            elif await self._is_loaded_in_time(websocket):
                await connection.run(permit)
            else:
                await connection.close(TRY_LATER)
        finally:
            self._connections.discard(connection)
            self._busy.discard(connection)
            self._visits.leave(connection)
            note_end(websocket.protocol)

    async def _is_loaded_in_time(self, websocket: ServerConnection) -> bool:
        if not self._loaded.is_set():
            loaded, gone = asyncio.ensure_future(self._loaded.wait()), asyncio.ensure_future(websocket.wait_closed())
            await asyncio.wait((loaded, gone), timeout=LOAD_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            loaded.cancel()
            gone.cancel()
        return self._loaded.is_set()


def _check(settings: GatewaySettings) -> Check | None:
    """What tokens are judged by; None where nobody needs one."""
    if settings.gateway_jwt_key is None:
        return None
    from services.gateway.tokens import TokenCheck  # takes 15 MB: only where it is needed

    return TokenCheck(settings.gateway_jwt_key.get_secret_value(), settings.gateway_jwt_audience)
