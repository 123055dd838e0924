"""The persister's housekeeping: once an hour, and soon again after a failure; storing never waits for it."""

import asyncio

import structlog

from services.persister.store import POSTGRES_AWAY, Store
from shared.runtime import wait_or_stop

log = structlog.get_logger(__name__)

EVERY_SECONDS = 3600.0
AGAIN_SECONDS = 30.0
"""After a failure, such as a lock that a long query holds. Each try may hold up COPY for half a second."""


async def keep_house_hourly(store: Store, retention_days: int, stop: asyncio.Event, *, again_seconds: float = AGAIN_SECONDS) -> None:
    """Make and drop partitions until `stop`; may be cancelled at any time."""
    failures = 0
    while not stop.is_set():
        try:
            await store.keep_house(retention_days)
            failures = 0
        except POSTGRES_AWAY as error:
            if failures == 0:
                log.warning("housekeeping failed, trying again; rows are stored all the same", reason=str(error) or type(error).__name__)
            failures += 1
        await wait_or_stop(stop, again_seconds if failures else EVERY_SECONDS)
