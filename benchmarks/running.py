"""Services as processes of their own, on servers of a measurement; they are ended whatever happens."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from benchmarks.ground import PERIOD, Ground
from services.admin.migrate import migrate_postgres, migrate_redis

END_SECONDS = 20


async def found(ground: Ground, partitions: int) -> None:
    """Empty both servers and found a deployment, as `make run` does."""
    async with ground.client() as redis:
        await redis.flushall()
        await migrate_redis(redis, partitions, PERIOD)
    database = await asyncpg.connect(ground.database_url)
    await database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await database.close()
    await migrate_postgres(ground.database_url, partitions)


@contextmanager
def running(ground: Ground, services: Sequence[str], partitions: int, **variables: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start a process of each name."""
    given = {"REDIS_URL": ground.redis_url, "DATABASE_URL": ground.database_url, "PARTITIONS": str(partitions), "SMA_PERIOD": str(PERIOD)}
    environment = os.environ | given | {"LOG_LEVEL": "error"} | variables
    processes = [subprocess.Popen([sys.executable, "-m", f"services.{name}"], env=environment) for name in services]
    try:
        yield processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(END_SECONDS)


def cpu_seconds(pid: int) -> float:
    """What a process has used so far, of all its threads, to the ns.

    Not `utime` and `stime`: those are counted by looks at the clock, between which a short wake-up falls.
    """
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text(encoding="ascii").split()[0]) for thread in threads) / 1e9
