"""The stream `market`: whether the exchange trades, said when it changes and followed by every gateway."""

from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared import streams
from shared.errors import InvalidEntry, TransientError
from shared.events import Market, parse_market
from shared.redis.cluster import at
from shared.redis.log import call

NOTHING_YET = "0-0"


class Heard(NamedTuple):
    """The newest entry: its id, and what it says (None: there is none, or it is no `Market`)."""

    entry_id: str
    market: Market | None


async def announce(redis: Redis, market: Market) -> bool:
    """Say whether the exchange trades; return whether that was new. Saying it twice, or by two at once, is harmless."""
    said = (market.exchange, market.status, market.reason, market.next_open, market.next_close)
    return bool(await call(redis, "announce", [streams.MARKET], *said))


async def listen(redis: Redis, after: str, *, block_ms: int) -> Heard:
    """Wait up to `block_ms` for an entry after an id, and return the newest there is; raise `TransientError` if Redis refuses.

    The newest is asked for in any case: on a stream that was deleted and begun anew XREAD would wait for ever.
    """
    try:
        async with at(redis, streams.MARKET) as server:
            pipeline = server.pipeline(transaction=False)
            pipeline.xread({streams.MARKET: after}, count=1, block=block_ms)
            pipeline.xrevrange(streams.MARKET, count=1)
            _, newest = await pipeline.execute()
    except ResponseError as error:
        raise TransientError(str(error)) from error
    return _heard(newest)


async def newest(redis: Redis) -> Heard:
    """The newest entry there is; raise `TransientError` if Redis refuses."""
    try:
        async with at(redis, streams.MARKET) as server:
            return _heard(await server.xrevrange(streams.MARKET, count=1))
    except ResponseError as error:
        raise TransientError(str(error)) from error


def _heard(newest: Any) -> Heard:
    if not newest:
        return Heard(NOTHING_YET, None)
    entry_id, fields = newest[0]
    try:
        return Heard(entry_id, parse_market(fields))
    except InvalidEntry:
        return Heard(entry_id, None)
