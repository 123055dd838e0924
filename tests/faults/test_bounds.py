"""Streams and memory at their bounds: writers wait or shed with counts, nothing unread goes, and a forgotten group freezes nothing."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from services.admin.embedded import EmbeddedRedis, find_free_port
from services.admin.migrate import migrate_redis
from services.admin.status import describe
from shared import streams
from shared.errors import TransientError
from shared.redis import log
from shared.redis.client import connect
from shared.redis.pipeline import read_partition
from tests.e2e.conftest import replay_file
from tests.e2e.market_data import PERIOD, Outcome, outcome
from tests.e2e.pipeline import Pipeline, Service
from tests.fakes.finnhub import FakeFinnhub
from tests.faults.simulating import PARTITIONS, Simulation, simulating
from tests.integration.partition import set_up
from tests.observed import Observed

__all__ = ["replay_file"]

OVERRUN = "tickstream_analyzer_overrun_entries_total"
CAP = 500
BATCH = 1000
KEY = "c0ffee-key-of-this-test"
STORED = "SELECT partition, seq, ticker, price::text, coalesce(sma::text, ''), coalesce(alert, '') FROM enriched ORDER BY partition, seq"


def seen(service: Service, event: str, **fields: object) -> Callable[[], Awaitable[bool]]:
    """A condition: a line with these fields was logged."""

    async def is_seen() -> bool:
        return any(fields.items() <= line.items() for line in service.said(event))

    return is_seen


async def check_stored(database_url: str, expected: Outcome) -> None:
    """Every tick of the file is a row of `enriched`, once."""
    database = await asyncpg.connect(database_url)
    rows = [tuple(row) for row in await database.fetch(STORED)]
    ticks = await database.fetch("SELECT partition, count(*), max(seq) FROM ticks GROUP BY partition ORDER BY partition")
    events = await database.fetch("SELECT * FROM stream_events")
    await database.close()
    assert rows == [(p, e.seq, e.ticker, e.price, e.sma, e.alert) for p, part in enumerate(expected.events) for e in part]
    assert [tuple(row) for row in ticks] == [(p, len(part), len(part)) for p, part in enumerate(expected.events)]
    assert events == []


@pytest.mark.long
async def test_a_persister_that_stands_still_fills_the_streams_a_replay_waits_and_nothing_is_lost(
    redis_url: str, redis: Any, database_url: str, replay_file: Path, tmp_path: Path
) -> None:
    settings = {"SOURCE": "replay", "REPLAY_FILE": str(replay_file), "STREAM_CAP": str(CAP)}
    async with Pipeline(redis_url, database_url, tmp_path, 1, **settings) as pipeline:
        await pipeline.migrate()
        port = find_free_port()
        analyzer, fetcher = pipeline.start("analyzer", METRICS_PORT=str(port)), pipeline.start("fetcher")
        for stream in ("ticks", "enriched"):
            filling = seen(analyzer, "a stream fills up, a group is behind", stream=stream, reached_percent=80, held_by="persister")
            await pipeline.until(filling, f"a warning of {stream}")
        await pipeline.until(seen(fetcher, "append waits", reason="the stream is full"), "the fetcher to wait")
        assert CAP <= await redis.xlen(streams.ticks(0)) < CAP + BATCH
        status = describe(await read_partition(redis, 0))
        for stream in ("ticks", "enriched"):
            hold = status.held_by[stream]
            assert hold is not None
            assert (hold.group, hold.entries, hold.is_required) == ("persister", await redis.xlen(streams.stream(stream, 0)), True)
        held = await Observed(port).value("tickstream_analyzer_stream_held_ratio", stream="ticks", partition="0", group="persister")
        assert held is not None
        assert held >= 1
        pipeline.start("persister")
        assert await fetcher.finish() == 0
        await pipeline.until(lambda: is_stored(redis), "all to be stored")
        await pipeline.until(seen(analyzer, "a stream has room again", partition=0, stream="ticks"), "room again")
        await pipeline.stop()
        pipeline.check_logs()
    await check_stored(database_url, outcome(1))


async def is_stored(redis: Redis) -> bool:
    groups = [group for stream in ("ticks", "enriched") for group in await redis.xinfo_groups(streams.stream(stream, 0))]
    return int(await redis.hget(streams.log(0), "cursor_seq") or 0) == outcome(1).ticks and all(group["lag"] == 0 for group in groups)


@pytest.mark.long
async def test_a_forgotten_group_is_passed_by_name_and_the_feed_goes_on(
    redis_url: str, redis: Any, database_url: str, tmp_path: Path
) -> None:
    async with simulating(redis_url, redis, database_url, tmp_path, STREAM_CAP="100") as simulation:
        await simulation.until_stored()
        await redis.xgroup_create(streams.ticks(0), "forgotten", id="0")
        await simulation.until(lambda: has_overrun(simulation), "an overrun")
        await simulation.until_more_is_stored(100)
        await simulation.settle()
        details = [row["detail"] for row in await simulation.events("overrun")]
        assert {(row["stream"], row["partition"]) for row in await simulation.events()} == {("ticks", 0)}
        assert all('"group": "forgotten"' in detail for detail in details)
        lines = simulation.services["analyzer"].said("a group was passed, it has lost entries")
        assert {(line["stream"], line["group"], line["partition"]) for line in lines} == {("ticks", "forgotten", 0)}
        passed = await simulation.pages["analyzer"].total(OVERRUN, stream="ticks", group="forgotten")
        assert passed >= sum(line["entries"] for line in lines) > 0
        assert await simulation.pages["persister"].total("tickstream_persister_stream_events_total", kind="overrun") == len(details)
        filling = simulation.services["analyzer"].said("a stream fills up, a group is behind")
        assert "forgotten" in {line["held_by"] for line in filling if line["partition"] == 0}
        assert simulation.viewer.book.losses == []
        await simulation.end(errors_allowed=("a group was passed",))
        await simulation.check_rows()


async def has_overrun(simulation: Simulation) -> bool:
    return bool(await simulation.events("overrun"))


@pytest.mark.long
async def test_a_live_source_sheds_at_a_full_stream_and_the_next_tick_says_how_many(
    redis_url: str, redis: Any, database_url: str, tmp_path: Path
) -> None:
    async with FakeFinnhub(key=KEY) as fake:
        settings = {
            "FINNHUB_API_KEY": KEY, "FINNHUB_BASE_URL": fake.base_url, "TICKERS": "AAPL", "FETCH_INTERVAL_SECONDS": "1",
            "MARKET_HOURS": "always", "STREAM_CAP": "4",
        }  # fmt: skip
        async with Pipeline(redis_url, database_url, tmp_path, 1, **settings) as pipeline:
            await pipeline.migrate()
            port = find_free_port()
            pipeline.start("analyzer")
            fetcher = pipeline.start("fetcher", METRICS_PORT=str(port))

            async def has_shed() -> bool:
                return await Observed(port).total("tickstream_fetcher_ticks_shed_total") >= 2

            await pipeline.until(seen(fetcher, "append waits"), "a full stream")
            await pipeline.until(has_shed, "two ticks to be shed")
            pipeline.start("persister")
            told: dict[str, int] = {}

            async def is_told() -> bool:
                told.update({entry_id: int(fields["shed"] or 0) for entry_id, fields in await redis.xrange(streams.ticks(0))})
                return any(told.values())

            await pipeline.until(is_told, "a tick that says how many were shed")

            async def is_counted() -> bool:
                await is_told()
                return sum(told.values()) == await Observed(port).total("tickstream_fetcher_ticks_shed_total")

            await pipeline.until(is_counted, "the metric to say the same")
            await pipeline.stop()
            pipeline.check_logs()


@pytest.mark.long
async def test_without_a_persister_in_config_a_pipeline_runs_on_and_one_that_joins_is_foreign_until_migrate(
    redis_url: str, redis: Any, database_url: str, tmp_path: Path
) -> None:
    async with simulating(
        redis_url,
        redis,
        database_url,
        tmp_path,
        services=("gateway", "analyzer", "fetcher"),
        with_persister=False,
        STREAM_CAP="100",
        SIMULATED_RATE="400",
    ) as simulation:
        await simulation.until(lambda: has_passed(redis, 250), "more than twice STREAM_CAP")
        assert await required(redis) == '{"ticks":["analyzer"]}'
        simulation.start("persister")
        await simulation.until_stored(300)
        # It begins with what is still there; what is not is a gap from the first seq on. A slow one may be passed again.
        firsts = {(row["stream"], row["partition"]) for row in await simulation.events("gap") if row["first_seq"] == 1}
        assert firsts == {(stream, p) for stream in ("ticks", "enriched") for p in range(PARTITIONS)}
        assert {row["kind"] for row in await simulation.events()} <= {"gap", "overrun"}
        simulation.services["persister"].pause()
        await simulation.until(lambda: has_passed_group(simulation), "the persister to be passed")
        simulation.services["persister"].go_on()
        await migrate_redis(redis, PARTITIONS, PERIOD)
        assert await required(redis) == '{"ticks":["analyzer","persister"],"enriched":["persister"]}'
        await simulation.until_more_is_stored(50)
        overrun = await simulation.pages["analyzer"].total(OVERRUN)
        simulation.services["persister"].pause()
        await simulation.until(simulation.services["fetcher"].has_said("append waits"), "the source to wait for the persister")
        simulation.services["persister"].go_on()
        await simulation.settle()
        assert await simulation.pages["analyzer"].total(OVERRUN) == overrun
        await simulation.end(errors_allowed=("a group was passed", "noted in stream_events"))
        await simulation.check_rows()


async def has_passed_group(simulation: Simulation) -> bool:
    return bool(simulation.services["analyzer"].said("a group was passed, it has lost entries"))


async def required(redis: Any) -> str:
    return str(await redis.hget(streams.log(0), "required"))


async def has_passed(redis: Redis, seq: int) -> bool:
    return all([int(await redis.hget(streams.log(p), "cursor_seq") or 0) >= seq for p in range(PARTITIONS)])


async def test_at_full_memory_append_and_commit_are_refused_whole_and_trimming_still_works(redis_server: EmbeddedRedis) -> None:
    async with connect(redis_server.url, service="tests") as client:
        partition = await set_up(client)
        await partition.append(*map(str, range(1, 21)))
        await partition.analyze()
        await partition.append("21", "22")
        state, digest = await partition.digest()
        await client.config_set("maxmemory", 1)
        before = await partition.snapshot_of_keys()
        with pytest.raises(TransientError, match="used memory"):
            await partition.append("23")
        with pytest.raises(TransientError, match="used memory"):
            await partition.commit(state, digest)
        assert await partition.snapshot_of_keys() == before
        for stream in ("ticks", "enriched"):
            ((last, _),) = await partition.redis.xrevrange(streams.stream(stream, 0), count=1)
            await log.mirror(client, 0, stream=stream, group="persister", incarnation=state.incarnation, entry_id=last, passed=20)
        assert (await log.trim(client, 0, cap=1000, window_ms=0))[:2] == (19, 19)
        await client.config_set("maxmemory", 0)
        assert (await partition.commit(state, digest)).answer is log.Answer.OK
        assert (await partition.append("23")).seq == 23
        assert [int(fields["seq"]) for _, fields in await partition.redis.xrange(streams.enriched(0))] == [20, 21, 22]


@pytest.mark.long
async def test_services_wait_out_a_full_memory_and_lose_nothing(redis_server: EmbeddedRedis, database_url: str, tmp_path: Path) -> None:
    async with (
        connect(redis_server.url, service="tests") as client,
        simulating(redis_server.url, client, database_url, tmp_path) as simulation,
    ):
        await simulation.until_stored()
        await client.config_set("maxmemory", 1)
        await simulation.until(simulation.services["fetcher"].has_said("append waits"), "the fetcher to wait")
        await client.config_set("maxmemory", 0)
        await simulation.until_more_is_stored()
        await simulation.settle()
        assert await simulation.events() == []
        assert simulation.viewer.book.losses == []
        await simulation.end(errors_allowed=())
        await simulation.check_rows()
