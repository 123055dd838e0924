"""A partition set up for a test: leases held, ticks appended, batches digested and committed through the real functions."""

import time
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from services.admin.migrate import load_library
from services.analyzer.state_machine import StateMachine
from shared import streams
from shared.commits import Digest, State
from shared.redis import log
from shared.redis.deployment import join

PERIOD = 3
CAP = 1000


@dataclass
class PartitionUnderTest:
    """Partition 0 of a fresh deployment."""

    redis: Any
    """A client; its stubs type every reply as a union that only tests would have to take apart."""
    period: int = PERIOD
    cap: int = CAP
    number: int = 0

    async def take(self, service: str, token: str, *, seen: tuple[str, str] = ("", ""), owner: str = "me") -> list[object]:
        """Acquire the lease of a service."""
        names = (streams.log, streams.ticks, streams.enriched, streams.events, streams.producers)
        keys = [*(name(0) for name in names), streams.lease(service, 0)]
        reply: list[object] = await log.call(self.redis, "acquire", keys, service, owner, token, *seen)
        return reply

    async def append(
        self, *prices: str, ticker: str = "AAPL", first: int | None = None, token: str = "f", producer: str = "f"
    ) -> log.Appended:
        """Append one tick per price, numbered on from the last one that was accepted."""
        now = str(time.time_ns() // 1_000_000)
        first = self.number + 1 if first is None else first
        batch = log.freeze(first, [(ticker, price, now, "simulated", "", "", "") for price in prices])
        appended = await log.append(self.redis, 0, token=token, producer=producer, batch=batch, cap=self.cap)
        self.number = max(self.number, appended.number)
        return appended

    async def digest(self, count: int = 1000) -> tuple[State, Digest]:
        """Load the state and digest what comes after its cursor."""
        state = await log.load(self.redis, 0)
        found = await log.read(self.redis, "ticks", 0, state.cursor, count=count, block_ms=0)
        return state, StateMachine(state).digest(found.entries, found.seq)

    async def commit(self, state: State, digest: Digest, *, token: str = "a", period: int | None = None) -> log.Committed:
        """Commit a digest."""
        return await log.commit(
            self.redis, 0, token=token, period=period or self.period, incarnation=state.incarnation, cap=self.cap, digest=digest
        )

    async def analyze(self) -> log.Committed:
        """Digest and commit what there is."""
        return await self.commit(*await self.digest())

    async def restart_server(self) -> None:
        """As seen by the functions: the log was written under another run_id than the server's."""
        await self.redis.hset(streams.log(0), "run_id", "0" * 40)

    async def snapshot_of_keys(self) -> dict[str, bytes | None]:
        """Every key's serialized value: two equal ones prove that nothing was written in between."""
        dumps = {}
        async for key in self.redis.scan_iter():
            dumps[str(key)] = await self.redis.execute_command("DUMP", key, NEVER_DECODE=True)
        return dumps


async def set_up(redis: Redis, *, period: int = PERIOD, partitions: int = 1) -> PartitionUnderTest:
    """Found a deployment and take the leases of fetcher (token f) and analyzer (token a)."""
    await load_library(redis)
    await join(redis, partitions, period)
    partition = PartitionUnderTest(redis, period)
    await partition.take("fetcher", "f")
    await partition.take("analyzer", "a")
    return partition
