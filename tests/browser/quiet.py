"""A deployment whose prices are the test's own: every service runs but the fetcher, in whose place the test appends and announces."""

import time

from redis.asyncio import Redis

from shared import streams
from shared.partitions import partition_of
from shared.redis.log import Answer, append, call, freeze, producer_numbers

TOKEN = "quiet"
CAP = 100_000


def now_ms() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000


class QuietMarket:
    """Appends and announces through the functions that the fetcher calls."""

    def __init__(self, redis: Redis, partitions: int) -> None:
        self.redis = redis
        self.partitions = partitions

    async def open(self) -> None:
        """Take the leases of the fetcher."""
        for p in range(self.partitions):
            names = (streams.log, streams.ticks, streams.enriched, streams.events, streams.producers)
            keys = [*(name(p) for name in names), streams.lease("fetcher", p)]
            held = [await self.redis.hget(keys[-1], field) or "" for field in ("token", "beats")]
            await call(self.redis, "acquire", keys, "fetcher", "tests", TOKEN, *held)

    async def trade(self, ticker: str, *prices: str) -> None:
        """Append a tick for each price, in one call."""
        p = partition_of(ticker, self.partitions)
        first = (await producer_numbers(self.redis, self.partitions, TOKEN))[p] + 1
        ticks = [(ticker, price, str(now_ms()), "finnhub", "", "", "") for price in prices]
        appended = await append(self.redis, p, token=TOKEN, producer=TOKEN, batch=freeze(first, ticks), cap=CAP)
        assert appended.answer is Answer.OK

    async def announce(self, status: str, reason: str, *, opens_in: float | None = None, closes_in: float | None = None) -> None:
        """Say on `market` how the exchange in New York is, and in how many seconds that changes."""
        times = ["" if seconds is None else str(now_ms() + round(seconds * 1000)) for seconds in (opens_in, closes_in)]
        await call(self.redis, "announce", [streams.MARKET], "XNYS", status, reason, *times)
