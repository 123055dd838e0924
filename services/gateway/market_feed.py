"""Follows the stream `market` for ever: clients hear whether the exchange trades, and when that changes."""

import asyncio

import structlog
from redis.asyncio import Redis

from services.gateway.feed import BLOCK_SECONDS, MOST_WAIT_SECONDS
from services.gateway.hub import Hub
from shared.backoff import Backoff
from shared.redis.client import TRY_AGAIN
from shared.redis.market import NOTHING_YET, Heard, listen

log = structlog.get_logger(__name__)


async def follow_market(redis: Redis, hub: Hub) -> None:
    """Tell the hub what the newest entry says, until cancelled. That Redis is away is for the feeds to tell."""
    heard, backoff = Heard(NOTHING_YET, None), Backoff(most_seconds=MOST_WAIT_SECONDS)
    while True:
        try:
            newest = await listen(redis, heard.entry_id, block_ms=int(BLOCK_SECONDS * 1000))
        except TRY_AGAIN as error:
            log.debug("market not heard", reason=str(error) or type(error).__name__)
            await asyncio.sleep(backoff.next_seconds())
            continue
        backoff.reset()
        if newest != heard:
            heard = newest
            _pass_on(heard, hub)


def _pass_on(heard: Heard, hub: Hub) -> None:
    if heard.market is not None:
        hub.tell_market(heard.market)
    elif heard.entry_id != NOTHING_YET:
        log.warning("skipped an entry of market that is none", entry_id=heard.entry_id)
