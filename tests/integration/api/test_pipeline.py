"""`GET /api/pipeline` tells where it is stuck, whatever of Redis and PostgreSQL is away, and costs the same however many ask."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from services.admin.embedded import EmbeddedPostgres, EmbeddedRedis
from services.admin.migrate import migrate_postgres, migrate_redis
from services.api import pipeline
from shared import streams
from shared.events import Market
from shared.pipeline import GatewayReport
from shared.redis.client import connect
from shared.redis.gateways import say
from shared.redis.log import call
from shared.redis.market import announce
from tests.integration.api.conftest import PARTITIONS, PERIOD, Api, Start, running
from tests.integration.partition import PartitionUnderTest

PATH = "/api/pipeline"
CURSOR = "INSERT INTO cursors VALUES ('ticks', 0, 'i', $1, 7, 7)"
EVENT = "INSERT INTO stream_events (kind, stream, partition, incarnation, first_seq) VALUES ('rewind', 'ticks', 1, 'i', $1)"


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question is asked anew."""
    monkeypatch.setattr(pipeline, "KEPT_SECONDS", 0.0)


async def until(client: httpx.AsyncClient, holds: Callable[[Any], bool]) -> Any:
    """The first answer that has it."""
    async with asyncio.timeout(30):
        while not holds(answer := (await client.get(PATH)).json()):
            await asyncio.sleep(0.02)
    return answer


def all_answer(told: Any) -> bool:
    """On a busy machine a first connection may take its time."""
    return not told["down"]


async def first_partition(api: Api) -> PartitionUnderTest:
    """Partition 0, its leases of fetcher and analyzer held."""
    partition = PartitionUnderTest(api.redis, PERIOD)
    await partition.take("fetcher", "f")
    await partition.take("analyzer", "a", owner="host:1:ab")
    return partition


async def test_a_deployment_in_which_nothing_happened_yet(api: Api) -> None:
    told = await until(api.client, all_answer)
    assert (told["down"], told["unknown"], told["gateways"], told["events"], told["market"]) == ([], [], [], [], None)
    assert (told["lease_seconds"], told["stream_cap"]) == (5, 100_000)
    assert told["members"] == {"fetcher": [], "analyzer": [], "persister": []}
    assert [each["partition"] for each in told["partitions"]] == list(range(PARTITIONS))
    for each in told["partitions"]:
        assert each["holders"] == {"fetcher": None, "analyzer": None, "persister": None}
        assert each["deadletters"] == {"count": 0, "stream": "", "reason": "", "age_seconds": None}
        assert (each["ticks"]["length"], each["ticks"]["age_seconds"], each["ticks"]["held_by"]) == (0, None, None)


@pytest.mark.usefixtures("fresh")
async def test_rate_lag_and_age_of_what_waits_and_of_what_was_read(api: Api) -> None:
    partition = await first_partition(api)
    await partition.append("1", "2", "3")
    ticks = (await api.json(PATH))["partitions"][0]["ticks"]
    assert (ticks["length"], ticks["seq"], ticks["per_second"], ticks["source"], ticks["shed"]) == (3, 3, 0.3, "simulated", 0)
    waiting = {group["name"]: group for group in ticks["groups"]}
    assert (waiting["analyzer"]["lag"], waiting["analyzer"]["is_required"]) == (3, True)
    assert 0 <= ticks["age_seconds"] <= waiting["analyzer"]["waiting_seconds"] + 0.001
    await partition.analyze()
    told = (await api.json(PATH))["partitions"][0]
    analyzer = next(group for group in told["ticks"]["groups"] if group["name"] == "analyzer")
    assert (analyzer["lag"], analyzer["waiting_seconds"]) == (0, None)
    assert (told["enriched"]["length"], told["enriched"]["seq"], told["enriched"]["per_second"]) == (3, 3, 0.3)
    assert told["enriched"]["held_by"]["group"] == "persister"


async def test_what_came_long_ago_makes_no_rate_and_its_pause_is_told(api: Api) -> None:
    now_ms = time.time_ns() // 1_000_000
    for seq, ago_ms in ((1, 90_000), (2, 30_100), (3, 30_000)):
        entry: Any = {"seq": str(seq), "source": "finnhub"}
        await api.redis.xadd(streams.ticks(0), entry, id=f"{now_ms - ago_ms}-0")
    ticks = (await api.json(PATH))["partitions"][0]["ticks"]
    assert (ticks["per_second"], ticks["pause_seconds"]) == (0.0, 60.0)
    assert 30 <= ticks["age_seconds"] < 90


async def test_an_entry_that_a_stranger_wrote_stops_nothing(api: Api) -> None:
    await api.redis.xadd(streams.ticks(0), {"anything": "at all"})
    ticks = (await api.json(PATH))["partitions"][0]["ticks"]
    assert (ticks["length"], ticks["seq"], ticks["per_second"], ticks["source"]) == (1, None, 0.0, "")


async def test_a_group_that_stands_still_holds_trimming(start_api: Start) -> None:
    api = await start_api(stream_cap=4)
    partition = await first_partition(api)
    await partition.append("1", "2", "3")
    await partition.analyze()
    await api.redis.xgroup_setid(streams.ticks(0), "persister", "$", entries_read=3)
    await api.redis.xgroup_create(streams.ticks(0), "mine", id="0")
    ticks = (await api.json(PATH))["partitions"][0]["ticks"]
    assert ticks["fill"] == 0.75
    assert (ticks["held_by"]["group"], ticks["held_by"]["entries"], ticks["held_by"]["is_required"]) == ("mine", 3, False)


@pytest.mark.usefixtures("fresh")
async def test_a_holder_whose_counter_stands_still_is_told_apart_from_one_that_lives(start_api: Start) -> None:
    api = await start_api(lease_seconds=0.2)
    await first_partition(api)

    async def beat() -> None:
        while True:
            await call(api.redis, "heartbeat", [streams.lease("fetcher", 0)], "f")
            await call(api.redis, "attend", [streams.members("fetcher")], "me")
            await asyncio.sleep(0.005)

    await call(api.redis, "attend", [streams.members("analyzer")], "host:1:ab")
    beating = asyncio.create_task(beat())
    told = await until(api.client, lambda told: told["partitions"][0]["holders"]["analyzer"]["still_seconds"] >= 0.2)
    beating.cancel()
    holders = told["partitions"][0]["holders"]
    assert (holders["analyzer"]["name"], holders["fetcher"]["name"], holders["persister"]) == ("host:1:ab", "me", None)
    assert holders["fetcher"]["still_seconds"] < holders["analyzer"]["still_seconds"]
    assert [each["name"] for each in told["members"]["analyzer"]] == ["host:1:ab"]
    assert told["members"]["analyzer"][0]["still_seconds"] >= 0.1
    assert told["members"]["fetcher"][0]["still_seconds"] < told["members"]["analyzer"][0]["still_seconds"]


async def test_dead_letters_are_counted_and_the_newest_is_named(api: Api) -> None:
    partition = await first_partition(api)
    await partition.append("1")
    await api.redis.xadd(streams.ticks(0), {"anything": "at all"})
    await partition.analyze()
    told = (await api.json(PATH))["partitions"][0]["deadletters"]
    assert (told["count"], told["stream"], told["reason"]) == (1, "ticks", "field seq is missing")
    assert told["age_seconds"] >= 0


async def test_what_postgresql_has_stored_the_newest_events_and_the_market_are_told(api: Api) -> None:
    await api.database.execute(CURSOR, "1771105101950-3")
    for number in range(7):
        await api.database.execute(EVENT, number)
    await announce(api.redis, Market("XNYS", "closed", "weekend", next_open="1771252200000"))
    told = await until(api.client, all_answer)
    (stored,) = told["stored"]
    assert (stored["stream"], stored["partition"], stored["seq"]) == ("ticks", 0, 7)
    assert stored["newest_ts"] == "2026-02-14T21:38:21.950+00:00"
    assert [event["first_seq"] for event in told["events"]] == [6, 5, 4, 3, 2]
    assert (told["market"]["status"], told["market"]["next_open"]) == ("closed", "2026-02-16T14:30:00.000+00:00")
    assert told["market"]["next_close"] is None


async def test_gateways_are_told_with_their_clients_and_how_long_they_are_silent(api: Api) -> None:
    redis = api.redis
    now_ms = time.time_ns() // 1_000_000
    for name, ago_ms in (("forgotten", 61_000), ("b", 20_000)):
        await redis.xadd(streams.GATEWAYS, {"name": name, "report": "[40, 1.5, [0, null], true]"}, id=f"{now_ms - ago_ms}-0")
    await redis.xadd(streams.GATEWAYS, {"name": "of-tomorrow", "report": "{}"})
    first = await say(redis, GatewayReport("a", 1, 0.0, (), False), None)
    await say(redis, GatewayReport("a", 2, 12.5, (0, 3, 0, 0), False), first)
    a, b = (await api.json(PATH))["gateways"]
    assert (a["name"], a["connections"], a["messages_per_second"], a["lags"], a["is_stale"]) == ("a", 2, 12.5, [0, 3, 0, 0], False)
    assert a["silent_seconds"] < 20 <= b["silent_seconds"]
    assert (b["name"], b["connections"], b["lags"], b["is_stale"]) == ("b", 40, [0, None], True)
    assert await redis.xlen(streams.GATEWAYS) == 3, "what is long gone was not trimmed"


async def test_a_partition_that_cannot_be_read_leaves_the_others(api: Api) -> None:
    await api.redis.set(streams.ticks(2), "not a stream")
    told = await until(api.client, all_answer)
    assert (told["down"], told["unknown"]) == ([], [2])
    assert [each["partition"] for each in told["partitions"]] == [0, 1, 3]


async def test_many_who_ask_at_once_cost_redis_as_much_as_one(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "KEPT_SECONDS", 30.0)
    redis: Any = api.redis
    before = await reads(redis)
    answers = await asyncio.gather(*(api.get(PATH) for _ in range(20)))
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].headers["cache-control"] == "no-store"
    assert await reads(redis) - before == PARTITIONS


async def reads(redis: Any) -> int:
    """How often a partition was read."""
    stats = await redis.info("commandstats")
    return int(stats.get("cmdstat_xinfo|stream", {}).get("calls", 0)) // 2


@pytest.mark.usefixtures("fresh")
async def test_without_redis_the_rest_is_told_and_redis_is_named(redis_server: EmbeddedRedis, database_url: str) -> None:
    await migrate_postgres(database_url, PARTITIONS)
    async with connect(redis_server.url, service="tests") as redis:
        await migrate_redis(redis, PARTITIONS, PERIOD)
    async with (
        running(redis_server.url, database_url) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, verify=False) as client,
    ):
        await until(client, all_answer)
        redis_server.stop()
        assert (await client.get(PATH)).status_code == 200
        told = await until(client, lambda told: told["down"] == ["redis"])
        assert (told["partitions"], told["stored"]) == ([], [])
        assert told["unknown"] == list(range(PARTITIONS))
        assert told["members"] == {}
        redis_server.start()
        assert len((await until(client, all_answer))["partitions"]) == PARTITIONS


@pytest.mark.usefixtures("fresh")
async def test_without_postgresql_the_rest_is_told_and_postgresql_is_named(
    redis: Redis, redis_url: str, postgres_server: EmbeddedPostgres
) -> None:
    await migrate_postgres(postgres_server.url, PARTITIONS)
    await migrate_redis(redis, PARTITIONS, PERIOD)
    async with (
        running(redis_url, postgres_server.url) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, verify=False) as client,
    ):
        await until(client, all_answer)
        postgres_server.stop()
        told = await until(client, lambda told: told["down"] == ["postgresql"])
        assert (told["stored"], told["events"], len(told["partitions"])) == (None, None, PARTITIONS)
        postgres_server.start()
        await until(client, all_answer)
