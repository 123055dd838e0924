"""The gateway at work: follow every partition, flush the changes of each window, serve every client until told to stop."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import islice

import structlog
from redis.asyncio import Redis
from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as listen

from services.gateway.close_codes import GOING_AWAY, TRY_LATER
from services.gateway.connection import PATH, Connection, route
from services.gateway.draining import Draining
from services.gateway.feed import BLOCK_SECONDS, Feed, Outage
from services.gateway.hub import STALE_SECONDS, Hub
from services.gateway.market_feed import follow_market
from services.gateway.measures import HOP, Tally, note_end
from services.gateway.outbox import Limits
from services.gateway.settings import GatewaySettings
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
MOST_MESSAGE_BYTES = 4096
MOST_QUEUED_FRAMES = 4
HANDSHAKE_SECONDS = 5.0
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

    def __init__(self, settings: GatewaySettings, limits: Limits | None = None) -> None:
        self._settings = settings
        self._limits = limits or Limits()
        self._changed = asyncio.Event()
        self._loaded = asyncio.Event()
        self._connections: set[Connection] = set()
        self._sent = Tally()
        self._hub = Hub(settings.partitions, lambda: time.time_ns() // 1_000_000, self._on_change)
        self._show()

    def _show(self) -> None:
        """Have counted, whenever somebody looks, what can be counted at any moment."""

        def waiting() -> list[int]:
            # In the thread that answers: a copy, as clients come and go meanwhile.
            return [connection.waiting for connection in tuple(self._connections)]

        metrics.GATEWAY_CLIENTS.set_function(lambda: len(self._connections))
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
                feed = Feed(redis, p, self._hub, outage, lambda: self._join(redis))
                loops.append(tasks.create_task(feed.run(), name=f"feed {p}"))
            loops.append(tasks.create_task(follow_market(redis, self._hub), name="market"))
            await stop.wait()
            await self._drain(server)
            for loop in loops:
                loop.cancel()

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
            for connection in self._connections:
                connection.check(now())

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
            return await listen(
                self._attend, host, port,
                process_request=route,
                # On each connection alone it costs 64 KiB and compresses the same message again for every client.
                compression=None,
                max_size=MOST_MESSAGE_BYTES,
                max_queue=MOST_QUEUED_FRAMES,
                open_timeout=HANDSHAKE_SECONDS,
                server_header=None,
                reuse_port=self._settings.gateway_workers > 1 or None,
            )  # fmt: skip
        except OSError as error:
            raise ConfigurationError((address_problem("GATEWAY", host, port, error),)) from error

    async def _attend(self, websocket: ServerConnection) -> None:
        connection = Connection(websocket, self._hub, self._limits, self._sent)
        self._connections.add(connection)
        try:
            if await self._is_loaded_in_time(websocket):
                await connection.run()
            else:
                await connection.close(TRY_LATER)
        finally:
            self._connections.discard(connection)
            note_end(websocket.protocol)

    async def _is_loaded_in_time(self, websocket: ServerConnection) -> bool:
        if not self._loaded.is_set():
            loaded, gone = asyncio.ensure_future(self._loaded.wait()), asyncio.ensure_future(websocket.wait_closed())
            await asyncio.wait((loaded, gone), timeout=LOAD_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            loaded.cancel()
            gone.cancel()
        return self._loaded.is_set()
