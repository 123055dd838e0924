"""A database that goes back to an older backup, and two persisters that write to one: every row once, every loss with its range."""

import asyncio
import subprocess
from pathlib import Path

import pytest
from redis.asyncio import Redis

from services.admin.embedded import EmbeddedPostgres
from services.persister import service
from shared import streams
from tests.e2e.pipeline import until
from tests.faults.postgres import Storage, persisting, processes_on, storage
from tests.observed import Gain


class Backup:
    """A copy of a stopped server's data, owners and modes included."""

    def __init__(self, server: EmbeddedPostgres, folder: Path) -> None:
        self._server = server
        self._data = server.data_dir / "cluster"
        self._copy = folder / "backup"

    async def take(self) -> None:
        """Stop the server for the time of the copy."""
        await asyncio.to_thread(self._server.stop)
        await asyncio.to_thread(copy, self._data, self._copy)
        await asyncio.to_thread(self._server.start)

    async def restore(self) -> None:
        """Start the stopped server with the copy."""
        await asyncio.to_thread(subprocess.run, ("rm", "-rf", self._data), check=True)
        await asyncio.to_thread(copy, self._copy, self._data)
        await asyncio.to_thread(self._server.start)


def copy(source: Path, target: Path) -> None:
    """Copy a directory as it is."""
    subprocess.run(("cp", "-a", source, target), check=True)


@pytest.mark.long
@pytest.mark.parametrize("trimmed", [True, False])
async def test_a_database_restored_from_a_backup_is_filled_again_and_what_was_trimmed_is_a_gap(
    redis: Redis, redis_url: str, postgres_server: EmbeddedPostgres, tmp_path: Path, trimmed: bool
) -> None:
    backup = Backup(postgres_server, tmp_path)
    async with (
        storage(redis, redis_url, postgres_server.url) as stored,
        processes_on(stored, tmp_path) as pipeline,
    ):
        persister = pipeline.start("persister")
        await stored.write("1", "2", "3")
        await stored.until_stored()
        await backup.take()
        await stored.connect_again()
        await stored.write("4", "5", "6", "7")
        await stored.until_stored()
        await asyncio.to_thread(postgres_server.stop)
        if trimmed:
            for stream in ("ticks", "enriched"):
                await redis.xtrim(streams.stream(stream, 0), maxlen=2, approximate=False)
        await backup.restore()
        await stored.connect_again()
        await stored.write("8")
        await until_rows(stored, 6 if trimmed else 8)
        await pipeline.stop()
        await stored.check(lost=range(4, 6), events=[("gap", 4, 5)] * 2) if trimmed else await stored.check()
        persister.check_log(("noted in stream_events", "Resetting connection with an active transaction"))


async def until_rows(stored: Storage, count: int) -> None:
    """Wait until both tables have so many rows."""

    async def has() -> bool:
        counts = [await stored.database.fetchval(f"SELECT count(*) FROM {table}") for table in ("ticks", "enriched")]
        return counts == [count, count]

    await until(has, f"{count} rows")


async def test_a_database_set_back_while_nothing_comes_is_filled_again(
    redis: Redis, redis_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the night, say: until the morning the streams would have been trimmed."""
    monkeypatch.setattr(service, "LOOK_AGAIN_SECONDS", 0)
    async with storage(redis, redis_url, database_url) as stored:
        await stored.write()
        async with persisting(redis_url, database_url):
            await stored.until_stored()
            await stored.database.execute(
                "BEGIN; DELETE FROM ticks WHERE seq > 2; UPDATE cursors SET seq = 2, passed = 2, position = "
                "(SELECT entry_id FROM ticks WHERE seq = 2) WHERE stream = 'ticks'; COMMIT"
            )
            await until_rows(stored, 5)
        await stored.check()


async def test_of_two_persisters_on_one_partition_one_wins_each_batch_and_the_other_complains_of_nothing(
    redis: Redis, redis_url: str, database_url: str
) -> None:
    outcomes = {
        outcome: Gain("persister", "tickstream_persister_transactions_total", outcome=outcome)
        for outcome in ("stored", "elsewhere", "failed")
    }
    async with storage(redis, redis_url, database_url) as stored:
        # Each commit takes a moment: the other one is waiting for the same cursor by then.
        await stored.set_fault("commit", "PERFORM pg_sleep(0.02)", times=1000)
        async with persisting(redis_url, database_url), persisting(redis_url, database_url):
            for _ in range(8):
                await stored.write()
                await stored.until_stored()
        await stored.check()
    assert outcomes["failed"].value == 0
    assert outcomes["elsewhere"].value >= 1


@pytest.mark.long
async def test_a_persister_paused_in_the_middle_of_a_transaction_is_replaced_and_does_no_harm_when_it_goes_on(
    redis: Redis, redis_url: str, database_url: str, tmp_path: Path
) -> None:
    """What it holds locked is let go by PostgreSQL, which ends transactions in which nothing happens."""
    async with storage(redis, redis_url, database_url) as stored, processes_on(stored, tmp_path) as pipeline:
        await stored.set_fault("copy", "PERFORM pg_sleep(0.5)")
        paused = pipeline.start("persister")
        await until(paused.has_said("lease taken"), "the first to hold the partition")
        other = pipeline.start("persister")
        await stored.write()
        await stored.until_asleep("copy")
        paused.pause()
        await until(other.has_said("lease taken"), "the other to take over")
        await stored.write()
        await stored.until_stored()
        paused.go_on()
        await stored.write()
        await stored.until_stored()
        await pipeline.stop()
        await stored.check()
        pipeline.check_logs(("Resetting connection with an active transaction",))
