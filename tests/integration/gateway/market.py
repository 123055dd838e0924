"""What stands before a gateway: ticks appended and committed by the functions themselves, judged by the analyzer's state machine."""

from collections.abc import Sequence

from redis.asyncio import Redis

from services.admin.migrate import migrate_redis
from services.analyzer.state_machine import StateMachine
from shared import streams
from shared.partitions import partition_of
from shared.redis.log import Answer, append, call, commit, freeze, load, read

PERIOD = 2
CAP = 100_000


class Market:
    """Sets up a deployment and trades on it; every trade is in `enriched:{p}` when `trade` returns."""

    def __init__(self, redis: Redis, partitions: int) -> None:
        self.redis = redis
        self.partitions = partitions
        self._numbers = dict.fromkeys(range(partitions), 0)

    async def open(self) -> None:
        """Make the deployment, and take the leases that writing needs."""
        self._numbers = dict.fromkeys(range(self.partitions), 0)
        await migrate_redis(self.redis, self.partitions, PERIOD)
        for p in range(self.partitions):
            for service in ("fetcher", "analyzer"):
                names = (streams.log, streams.ticks, streams.enriched, streams.events, streams.producers)
                keys = [*(name(p) for name in names), streams.lease(service, p)]
                held = await self.redis.hget(streams.lease(service, p), "token") or ""
                beats = await self.redis.hget(streams.lease(service, p), "beats") or ""
                await call(self.redis, "acquire", keys, service, "tests", "token", held, beats)

    async def trade(self, ticker: str, *prices: str, ts: str = "1771105101950") -> None:
        """Append ticks of one ticker and commit what the analyzer makes of them."""
        await self.append([(ticker, price, ts) for price in prices])
        await self.analyze(partition_of(ticker, self.partitions))

    async def append(self, ticks: Sequence[tuple[str, str, str]]) -> None:
        """Append ticks (ticker, price, ts) of one partition."""
        p = partition_of(ticks[0][0], self.partitions)
        rows = [(ticker, price, ts, "simulated", "", "", "") for ticker, price, ts in ticks]
        batch = freeze(self._numbers[p] + 1, rows)
        appended = await append(self.redis, p, token="token", producer="token", batch=batch, cap=CAP)
        assert appended.answer is Answer.OK
        self._numbers[p] = appended.number

    async def analyze(self, p: int) -> None:
        """Commit everything that was appended to a partition."""
        state = await load(self.redis, p)
        machine = StateMachine(state)
        found = await read(self.redis, "ticks", p, state.cursor, count=1000, block_ms=0)
        digest = machine.digest(found.entries, found.seq)
        committed = await commit(
            self.redis, p, token="token", period=PERIOD, incarnation=state.incarnation, cap=CAP, digest=digest
        )  # fmt: skip
        assert committed.answer is Answer.OK

    async def incarnation(self, p: int) -> str:
        """The incarnation of a partition now."""
        return str(await self.redis.hget(streams.log(p), "incarnation"))

    async def reconnect(self) -> None:
        """Go on after Redis restarted: a producer asks where its numbers stand."""
        await self.redis.connection_pool.disconnect()
        for p in range(self.partitions):
            self._numbers[p] = int(await self.redis.hget(streams.producers(p), "token") or 0)

    async def lose_everything(self) -> None:
        """FLUSHALL, and the deployment set up again."""
        await self.redis.flushdb()
        await self.open()
