"""Tells operators of this gateway: who it is, how many clients it has, how far it has read. Nothing in the fan-out waits for it."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared.pipeline import GatewayReport
from shared.redis.client import TRY_AGAIN
from shared.redis.gateways import leave, say
from shared.redis.lease import new_owner_name

REPORT_SECONDS = 2.0
AGAIN_SECONDS = 0.5
"""After one that failed: a Redis that is back is to hear of all gateways before they are taken for gone."""
LEAVE_SECONDS = 0.5
"""Leaving only spares operators the wait: while Redis hangs, the grace is not spent on it."""

FAILED: tuple[type[Exception], ...] = (*TRY_AGAIN, ResponseError)
"""Whatever Redis says to a report, the gateway works on."""

log = structlog.get_logger(__name__)


class Reporting:
    """What this process says of itself. `messages` counts those that were sent, `lags` and `is_stale` are as `GatewayReport` has them."""

    def __init__(
        self,
        connections: Callable[[], int],
        messages: Callable[[], int],
        lags: Callable[[], Sequence[int | None]],
        is_stale: Callable[[], bool],
    ) -> None:
        self.name = new_owner_name()
        self._connections = connections
        self._messages = messages
        self._lags = lags
        self._is_stale = is_stale
        self._said_id: str | None = None
        self._was_refused = False

    async def run(self, redis: Redis) -> None:
        """Report until cancelled."""
        now = asyncio.get_running_loop().time
        sent, looked_at = self._messages(), now()
        while True:
            seconds, sent_before = now() - looked_at, sent
            sent, looked_at = self._messages(), now()
            per_second = round((sent - sent_before) / seconds, 1) if seconds > 0 else 0.0
            report = GatewayReport(self.name, self._connections(), per_second, tuple(self._lags()), self._is_stale())
            is_heard = await self._say(redis, report)
            await asyncio.sleep(REPORT_SECONDS if is_heard else AGAIN_SECONDS)

    async def _say(self, redis: Redis, report: GatewayReport) -> bool:
        try:
            self._said_id = await say(redis, report, self._said_id)
        except FAILED as error:
            if not self._was_refused:
                log.info("operators are not told of this gateway", reason=str(error) or type(error).__name__)
            self._was_refused = True
            return False
        self._was_refused = False
        return True

    async def leave(self, redis: Redis) -> None:
        """Say that this process ends."""
        with suppress(TimeoutError, *FAILED):
            async with asyncio.timeout(LEAVE_SECONDS):
                await leave(redis, self.name)
