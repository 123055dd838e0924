"""Redis emptied, cut, or written to by strangers while everything runs: reported on all four ways, old rows intact, new rows exact."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from services.admin.embedded import EmbeddedPostgres
from shared import streams
from tests.faults.simulating import PARTITIONS, Simulation, simulating

OTHERS = range(1, PARTITIONS)
"""Partition 0 is the one that is harmed."""
CUT_OFF = ("Resetting connection with an active transaction", "Future exception was never retrieved")
"""What asyncpg says of connections that died at work."""


async def check_reset_is_told(simulation: Simulation, lost: dict[int, str]) -> None:
    """By a row per stream that had rows, a log line, a metric and a message."""
    events = [row for row in await simulation.events() if row["stream"] != "events"]
    told = sorted((row["kind"], row["stream"], row["partition"], row["incarnation"]) for row in events)
    assert told == sorted(("reset", stream, p, life) for stream in ("ticks", "enriched") for p, life in lost.items())
    lines = [line["kind"] for line in simulation.services["persister"].said("redis lost entries that were stored")]
    assert set(lines) == {"reset"}
    assert {line["outcome"] for line in simulation.services["gateway"].said("a new incarnation began")} == {"reset"}
    assert await simulation.pages["persister"].total("tickstream_persister_stream_events_total", kind="reset") == len(lines)
    assert await simulation.pages["gateway"].total("tickstream_gateway_incarnations_total", outcome="reset") == PARTITIONS
    assert set(simulation.viewer.book.losses) == {"reset"}


async def test_flushall_while_everything_runs(redis_url: str, redis: Redis, database_url: str, tmp_path: Path) -> None:
    async with simulating(redis_url, redis, database_url, tmp_path) as simulation:
        await simulation.until_stored()
        lost = {p: await simulation.incarnation(p) for p in range(PARTITIONS)}
        before = {stream: await simulation.rows(stream) for stream in ("ticks", "enriched")}
        await redis.flushall()
        await simulation.until(lambda: has_all_heads(simulation), "that every partition is set up again")
        await simulation.until_stored()
        await simulation.settle()
        await check_reset_is_told(simulation, lost)
        await simulation.end()
        await simulation.check_rows()
        await check_kept(simulation, before)


async def has_all_heads(simulation: Simulation) -> bool:
    return all([await simulation.incarnation(p) for p in range(PARTITIONS)])


async def check_kept(simulation: Simulation, before: dict[str, dict[tuple[str, int], list[asyncpg.Record]]]) -> None:
    """The rows of before are there, as they were."""
    for stream, lives in before.items():
        after = await simulation.rows(stream)
        for life, rows in lives.items():
            assert after[life][: len(rows)] == rows


@pytest.mark.long
async def test_flushall_while_postgresql_is_down(redis_url: str, redis: Redis, postgres_server: EmbeddedPostgres, tmp_path: Path) -> None:
    async with simulating(redis_url, redis, postgres_server.url, tmp_path) as simulation:
        await simulation.until_stored()
        lost = {p: await simulation.incarnation(p) for p in range(PARTITIONS)}
        before = {stream: await simulation.rows(stream) for stream in ("ticks", "enriched")}
        postgres_server.kill()
        await simulation.until(simulation.services["persister"].has_said("waiting, nothing is lost"), "that PostgreSQL is missed")
        await redis.flushall()
        await simulation.viewer.until(lambda book: "reset" in book.losses, "the reset")
        await simulation.until(lambda: has_ticks(redis, 50), "new ticks in every partition")
        await asyncio.to_thread(postgres_server.start)
        await simulation.database.close()
        simulation.database = await asyncpg.connect(postgres_server.url)
        try:
            await simulation.until_stored()
            await simulation.settle()
            await check_reset_is_told(simulation, lost)
            await simulation.end(errors_allowed=("redis lost entries that were stored", *CUT_OFF))
            await simulation.check_rows()
            await check_kept(simulation, before)
        finally:
            await simulation.database.close()


async def has_ticks(redis: Redis, count: int) -> bool:
    return all([await redis.xlen(streams.ticks(p)) >= count for p in range(PARTITIONS)])


@pytest.mark.parametrize("command", [pytest.param("DEL", id="deleted"), pytest.param("XTRIM", id="trimmed", marks=pytest.mark.long)])
async def test_streams_that_a_stranger_deletes_or_trims_unread(
    redis_url: str, redis: Redis, database_url: str, tmp_path: Path, command: str
) -> None:
    async with simulating(redis_url, redis, database_url, tmp_path) as simulation:
        await simulation.until_stored()
        for name in ("persister", "analyzer", "gateway"):
            simulation.services[name].pause()
        before = int(await simulation.redis.hget(streams.log(0), "seq"))
        await simulation.until(lambda: has_grown(simulation, before + 30), "unread ticks")
        for stream in ("ticks", "enriched"):
            words = ("MAXLEN", "0") if command == "XTRIM" else ()
            await simulation.redis.execute_command(command, streams.stream(stream, 0), *words)
        for name in ("analyzer", "gateway", "persister"):
            simulation.services[name].go_on()
        await simulation.until_more_is_stored()
        await simulation.settle()
        gaps = await simulation.events()
        assert {(row["kind"], row["partition"]) for row in gaps} == {("gap", 0)}
        assert sum(row["last_seq"] - row["first_seq"] + 1 for row in gaps if row["stream"] == "ticks") >= 30
        await simulation.viewer.until(lambda book: "gap" in book.losses, "the gap")
        missing = await simulation.pages["analyzer"].total("tickstream_analyzer_ticks_missing_total")
        assert missing == sum(line["last_seq"] - line["first_seq"] + 1 for line in deleted_unread(simulation)) >= 30
        assert await simulation.pages["persister"].total("tickstream_persister_stream_events_total", kind="gap") == len(gaps)
        assert await simulation.pages["gateway"].total("tickstream_gateway_gaps_total") >= 1
        await simulation.end()
        await simulation.check_rows()


def deleted_unread(simulation: Simulation) -> list[dict[str, int]]:
    return simulation.services["analyzer"].said("ticks were deleted before they were read")


async def has_grown(simulation: Simulation, seq: int) -> bool:
    return int(await simulation.redis.hget(streams.log(0), "seq")) >= seq


@pytest.mark.long
@pytest.mark.parametrize("names", [("events", "producers", "deadletters"), ("ticks", "enriched"), ("latest", "sides")], ids=" and ".join)
async def test_a_key_of_a_wrong_type_stops_its_partition_alone_until_it_is_deleted(
    redis_url: str, redis: Redis, database_url: str, tmp_path: Path, names: tuple[str, ...]
) -> None:
    async with simulating(redis_url, redis, database_url, tmp_path) as simulation:
        await simulation.until_stored()
        for name in names:
            key: str = getattr(streams, name)(0)
            await redis.set(key, "stranger's")
            await simulation.until_more_is_stored(20, OTHERS)
            assert await redis.get(key) == "stranger's"
            await redis.delete(key)
            await simulation.until_more_is_stored()
        await simulation.settle()
        # What was in the key is lost with it: of a stream, what nobody had read.
        wanted = {"gap"} if "ticks" in names else set()
        events = await simulation.events()
        assert {row["kind"] for row in events} <= wanted
        assert {row["partition"] for row in events} <= {0}
        await simulation.end(errors_allowed=("redis refuses the lease", "redis lost", "noted in", "ticks were", "entries were"))
        if "sides" not in names:
            await simulation.check_rows()


@pytest.mark.parametrize("entry_id", ["*", pytest.param("99999999999999-7", marks=pytest.mark.long)])
async def test_entries_of_a_stranger_are_dead_letters_and_stop_nothing(
    redis_url: str, redis: Redis, database_url: str, tmp_path: Path, entry_id: str
) -> None:
    async with simulating(redis_url, redis, database_url, tmp_path) as simulation:
        await simulation.until_stored()
        await redis.xadd(streams.ticks(0), {"seq": "1000000", "ticker": "AAPL", "price": "1"})
        await redis.xadd(streams.enriched(0), {"seq": "-1"})
        await redis.xadd(streams.ticks(0), {b"\xff": b"\x00\xfe"}, id=entry_id)
        await redis.xadd(streams.enriched(0), {b"\xff": b"\x00\xfe"}, id=entry_id)
        await simulation.until_more_is_stored()
        await simulation.settle()
        assert await redis.xlen(streams.deadletters(0)) == 2
        events = await simulation.events()
        told = sorted((row["kind"], row["stream"], row["partition"]) for row in events)
        assert told == [("rejected", "enriched", 0)] * 2 + [("rejected", "ticks", 0)] * 2
        assert await simulation.pages["analyzer"].total("tickstream_analyzer_entries_deadlettered_total") == 2
        assert await simulation.pages["gateway"].total("tickstream_gateway_entries_skipped_total") == 2
        assert simulation.viewer.book.losses == []
        await simulation.end(errors_allowed=("noted in stream_events",))
        await simulation.check_rows()
