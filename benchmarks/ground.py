"""The ground of every measurement: fresh servers as `make run` starts them, and the same ticks for both sides."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from redis.asyncio import Redis

from services.admin.embedded import EmbeddedPostgres, EmbeddedRedis, find_free_port
from services.admin.migrate import migrate_redis
from shared import streams
from shared.events import TickValues
from shared.redis import log
from shared.redis.client import connect

PERIOD = 5
CAP = 100_000_000
TOKEN = "bench"


@dataclass(frozen=True)
class Ground:
    """The servers of a run."""

    redis_url: str
    database_url: str
    servers: tuple[str, str]
    directory: Path

    def client(self) -> Redis:
        """A client as the services have it."""
        return connect(self.redis_url, service="bench")


@contextmanager
def ground() -> Iterator[Ground]:
    """Start both servers, durable as for users, in a directory of this run."""
    with TemporaryDirectory(prefix="tickstream-bench-") as directory:
        Path(directory).chmod(0o755)
        redis = EmbeddedRedis(Path(directory, "redis"), find_free_port())
        postgres = EmbeddedPostgres(Path(directory, "postgres"), find_free_port())
        with redis, postgres:
            yield Ground(redis.url, postgres.url, (redis.flavour, postgres.flavour), Path(directory))


def make_batches(ticks: int, tickers: int) -> list[list[TickValues]]:
    """Batches of 1 000 ticks, each ticker in turn, with prices that wander by cents."""
    chance = random.Random(1)
    cents = [10_000 + 7 * i for i in range(tickers)]
    now_ms = time.time_ns() // 1_000_000
    batches = []
    for start in range(0, ticks, 1000):
        batch = []
        for n in range(start, start + 1000):
            i = n % tickers
            cents[i] += chance.randint(-5, 5)
            price = f"{cents[i] // 100}.{cents[i] % 100:02d}".rstrip("0").rstrip(".")
            batch.append((f"T{i:04d}", price, str(now_ms), "simulated", "", "", ""))
        batches.append(batch)
    return batches


async def set_up(redis: Redis, partitions: int = 1) -> None:
    """Empty the server, found a deployment, and take the leases that `append` and `commit` ask for."""
    await redis.flushall()
    await migrate_redis(redis, partitions, PERIOD)
    names = (streams.log, streams.ticks, streams.enriched, streams.events, streams.producers)
    for service in ("fetcher", "analyzer"):
        for p in range(partitions):
            keys = [*(name(p) for name in names), streams.lease(service, p)]
            await log.call(redis, "acquire", keys, service, "bench", TOKEN, "", "")


async def append_all(redis: Redis, batches: list[list[TickValues]]) -> None:
    """Append everything to partition 0."""
    for number, batch in enumerate(batches):
        frozen = log.freeze(number * 1000 + 1, batch)
        appended = await log.append(redis, 0, token=TOKEN, producer=TOKEN, batch=frozen, cap=CAP)
        if appended.answer is not log.Answer.OK:
            raise RuntimeError(f"append answered {appended}")
