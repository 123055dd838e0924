"""The ground of every measurement: fresh servers as `make run` starts them, and the same ticks for both sides."""

import gc
import json
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from redis.asyncio import Redis

from services.admin.embedded import EmbeddedPostgres, EmbeddedRedis, find_free_port
from services.admin.migrate import migrate_redis
from shared import streams
from shared.events import TickValues
from shared.redis import log
from shared.redis.client import connect
from shared.starting import collect_seldom

ROUNDS, FEWEST_ROUNDS = 5, 3
"""Samples of each side, after a round that is thrown away; fewer on a machine that is slow at it."""
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

    def beside(self, number: int) -> "Ground":
        """The same servers with another of Redis' databases, for a deployment that stays while others have their turn."""
        return replace(self, redis_url=f"{self.redis_url}/{number}")


@contextmanager
def ground() -> Iterator[Ground]:
    """Start both servers, durable as for users, in a directory of this run."""
    with TemporaryDirectory(prefix="tickstream-bench-") as directory:
        Path(directory).chmod(0o755)
        redis = EmbeddedRedis(Path(directory, "redis"), find_free_port())
        postgres = EmbeddedPostgres(Path(directory, "postgres"), find_free_port())
        with redis, postgres:
            yield Ground(redis.url, postgres.url, (redis.flavour, postgres.flavour), Path(directory))


def set_aside() -> None:
    """Keep the collector from what a measurement holds so far: nothing of it is heap of a service at work. Peers do the same.

    From here on it looks as seldom as in a service; at the peers as their documentation leaves it.
    """
    gc.collect()
    gc.freeze()
    collect_seldom()


def write_ticks(ground: Ground, batches: list[list[TickValues]]) -> str:
    """The path of a file with these ticks, for programs of the other side."""
    path = Path(ground.directory, "ticks.json")
    path.write_text(json.dumps(batches), encoding="ascii")
    return str(path)


def rounds(most_seconds: float) -> Iterator[int]:
    """Number a round that is thrown away, and those that count; of these only the fewest when the time is over."""
    begun = time.monotonic()
    for number in range(1 + ROUNDS):
        if number > FEWEST_ROUNDS and time.monotonic() - begun > most_seconds:
            return
        yield number


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


async def set_up(redis: Redis, partitions: int = 1, period: int = PERIOD, services: Sequence[str] = ("fetcher", "analyzer")) -> None:
    """Empty the database, found a deployment, and take the leases that `append` and `commit` ask for."""
    await redis.flushdb()
    await migrate_redis(redis, partitions, period)
    names = (streams.log, streams.ticks, streams.enriched, streams.events, streams.producers)
    for service in services:
        for p in range(partitions):
            keys = [*(name(p) for name in names), streams.lease(service, p)]
            await log.call(redis, "acquire", keys, service, "bench", TOKEN, "", "")


async def append_all(redis: Redis, batches: list[list[TickValues]], partition: int = 0, first: int = 1) -> None:
    """Append everything to one partition; `first` is the number of the first tick."""
    number = first
    for batch in batches:
        frozen = log.freeze(number, batch)
        number += len(batch)
        appended = await log.append(redis, partition, token=TOKEN, producer=TOKEN, batch=frozen, cap=CAP)
        if appended.answer is not log.Answer.OK:
            raise RuntimeError(f"append answered {appended}")


async def redis_cpu_seconds(redis: Redis) -> float:
    """What the thread that executes commands has used so far."""
    told = await redis.info("cpu")
    return float(told["used_cpu_user_main_thread"] + told["used_cpu_sys_main_thread"])
