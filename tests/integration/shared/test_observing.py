"""What `/readyz` and `/healthz` say while servers die, hang and come back, and while the service itself hangs or stops."""

import asyncio
import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from services.admin.embedded import EmbeddedPostgres, EmbeddedRedis, find_free_port, is_port_free
from services.admin.migrate import load_library, migrate_postgres
from services.persister.__main__ import check_database
from services.persister.store import connect_store
from shared import health, observe, streams
from shared.errors import ConfigurationError
from shared.observe import confirm, fail, observing, probing
from shared.redis.client import connect
from shared.redis.deployment import join
from shared.redis.lease import CHECK, hold
from shared.settings import Settings
from tests.integration.shared.holders import Workers
from tests.integration.shared.polling import until
from tests.observed import Observed, get

WELL = {"redis": True, "functions": True}
LOOPBACK = "127.0.0.1"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probers ask often, and do not wait long for an answer."""
    monkeypatch.setattr(observe, "PROBE_SECONDS", 0.02)
    monkeypatch.setattr(observe, "ANSWER_SECONDS", 0.5)


Start = Callable[..., Awaitable[Observed]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Begin to observe a service with such checks on such a Redis; what is begun ends with the test."""
    async with AsyncExitStack() as stack:

        async def begin(url: str, *checks: str, stop: asyncio.Event | None = None) -> Observed:
            settings = Settings(redis_url=SecretStr(url), metrics_port=find_free_port())
            await stack.enter_async_context(observing("tests", settings, stop or asyncio.Event(), checks))
            return Observed(settings.metrics_port)

        yield begin


def says(observed: Observed, **checks: object) -> Callable[[], Awaitable[bool]]:
    """A condition: these checks hold (True), or fail with a reason that has these words in it."""

    async def does() -> bool:
        found = await observed.checks()
        return all(
            found[name] is True if wanted is True else isinstance(found[name], str) and str(wanted) in found[name]
            for name, wanted in checks.items()
        )

    return does


async def test_service_is_ready_once_every_check_was_confirmed(redis: Redis, redis_url: str, start: Start) -> None:
    await load_library(redis)
    observed = await start(redis_url, "leases")
    assert (await observed.checks())["leases"] == "not confirmed yet"
    await until(says(observed, **WELL))
    assert not await observed.is_ready()
    confirm("leases")
    assert await observed.is_ready()
    assert json.loads((await observed.get("/readyz")).body) == {
        "status": "ready",
        "checks": {name: {"ok": True, "reason": ""} for name in ("leases", "redis", "functions")},
    }


async def test_killed_redis_is_told_of_and_so_is_its_return(redis_server: EmbeddedRedis, start: Start) -> None:
    async with connect(redis_server.url, service="tests") as redis:
        await load_library(redis)
    observed = await start(redis_server.url)
    await until(observed.is_ready)
    redis_server.kill()
    await until(says(observed, redis="Connect", functions="not known while redis fails"))
    await asyncio.to_thread(redis_server.start)
    await until(observed.is_ready)


async def test_redis_that_was_never_there_is_told_of(start: Start) -> None:
    observed = await start(f"redis://me:hunter22@{LOOPBACK}:{find_free_port()}")
    await until(says(observed, redis="Connect"))
    assert "hunter22" not in (await observed.get("/readyz")).body


async def test_hung_redis_counts_as_not_answering_until_it_goes_on(redis_server: EmbeddedRedis, start: Start) -> None:
    async with connect(redis_server.url, service="tests") as redis:
        await load_library(redis)
    observed = await start(redis_server.url)
    await until(observed.is_ready)
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        await until(says(observed, redis="no answer within 0.5 s"))
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    await until(observed.is_ready)


async def test_functions_that_are_flushed_are_missed_until_they_are_loaded_again(redis: Redis, redis_url: str, start: Start) -> None:
    await load_library(redis)
    observed = await start(redis_url)
    await until(observed.is_ready)
    await redis.function_flush()
    await until(says(observed, redis=True, functions="is not loaded in Redis; run `tickstream migrate`"))
    await load_library(redis)
    await until(observed.is_ready)


async def test_postgresql_must_answer_and_have_its_tables(
    postgres_server: EmbeddedPostgres, redis: Redis, redis_url: str, start: Start
) -> None:
    await load_library(redis)
    observed = await start(redis_url)
    async with connect_store(postgres_server.url) as store, probing({"postgresql": lambda: check_database(store, 4)}):
        assert (await observed.checks())["postgresql"] == "not confirmed yet"
        await until(says(observed, postgresql="run `tickstream migrate`"))
        await migrate_postgres(postgres_server.url, 4)
        await until(observed.is_ready)
        postgres_server.kill()
        await until(says(observed, redis=True, postgresql="Connect"))
        await asyncio.to_thread(postgres_server.start)
        await until(observed.is_ready)


async def test_hung_postgresql_counts_as_not_answering_and_holds_nobody_up(
    postgres_server: EmbeddedPostgres, redis: Redis, redis_url: str, start: Start
) -> None:
    await migrate_postgres(postgres_server.url, 4)
    await load_library(redis)
    observed = await start(redis_url)
    async with connect_store(postgres_server.url, close_seconds=0.1) as store, probing({"postgresql": lambda: check_database(store, 4)}):
        await until(observed.is_ready)
        # Not through the store: it would make a second connection for the prober, which nobody stops.
        looking = await asyncpg.connect(postgres_server.url)
        backends = await looking.fetchval("SELECT array_agg(pid) FROM pg_stat_activity WHERE application_name = 'tickstream-persister'")
        await looking.close()
        for process in (postgres_server.pid, *backends):  # first the one that would make new ones
            os.kill(process, signal.SIGSTOP)
        try:
            await until(says(observed, redis=True, postgresql="no answer within 0.5 s"))
        finally:
            for process in (postgres_server.pid, *backends):
                os.kill(process, signal.SIGCONT)
        await until(observed.is_ready)


async def test_stand_by_is_ready_and_so_is_the_holder(redis: Redis, redis_url: str, start: Start) -> None:
    await load_library(redis)
    deployment = await join(redis, 1, 3)
    workers, stop = Workers(), asyncio.Event()
    holding = asyncio.create_task(hold(redis, deployment, "analyzer", 30, workers.work, stop))
    await workers.next()
    observed = await start(redis_url, CHECK)
    standing_by = asyncio.create_task(hold(redis, deployment, "analyzer", 30, workers.work, stop))
    await until(observed.is_ready)
    stop.set()
    await asyncio.gather(holding, standing_by)
    assert workers.begun.empty()


async def test_lease_loop_whose_redis_is_away_is_told_of(redis_server: EmbeddedRedis, redis: Redis, redis_url: str, start: Start) -> None:
    await load_library(redis)
    observed = await start(redis_url, CHECK)
    async with connect(redis_server.url, service="tests") as theirs:
        await load_library(theirs)
        deployment, stop = await join(theirs, 1, 3), asyncio.Event()
        holding = asyncio.create_task(hold(theirs, deployment, "analyzer", 0.5, Workers().work, stop))
        await until(observed.is_ready)
        redis_server.kill()
        await until(says(observed, leases="Connect", **WELL))
        await asyncio.to_thread(redis_server.start)
        await until(observed.is_ready)
        stop.set()
        await holding


async def test_loop_that_stopped_to_confirm_is_told_of(redis: Redis, redis_url: str, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "Health", lambda checks: health.Health(checks, confirmed_seconds=0.3))
    await load_library(redis)
    observed = await start(redis_url, "leases")
    confirm("leases")
    await until(says(observed, leases="not confirmed for", **WELL))


async def test_reason_hides_what_is_secret(redis_url: str, start: Start) -> None:
    observed = await start(redis_url, "streams")
    fail("streams", "cannot reach redis://me:hunter22@cache")
    assert (await observed.checks())["streams"] == "cannot reach redis://***@cache"


async def test_stopping_service_is_not_ready(redis: Redis, redis_url: str, start: Start) -> None:
    await load_library(redis)
    stop = asyncio.Event()
    observed = await start(redis_url, stop=stop)
    await until(observed.is_ready)
    stop.set()
    answer = await observed.get("/readyz")
    assert (answer.status, json.loads(answer.body)["status"]) == (503, "stopping")
    assert (await observed.get("/healthz")).status == 200


async def test_loop_that_stands_still_is_told_of_by_the_thread_beside_it(
    redis_url: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "STILL_SECONDS", 0.2)
    observed = await start(redis_url)
    assert await observed.get("/healthz") == (200, "ok\n")
    found: list[str] = []

    def look() -> None:
        while (answer := get(observed.port, "/healthz")).status == 200:
            pass
        found.append(answer.body)

    looking = threading.Thread(target=look)
    looking.start()
    looking.join(10)  # which keeps this loop from turning
    assert found
    assert found[0].startswith("the event loop has stood still for ")

    async def lives() -> bool:
        return (await observed.get("/healthz")).status == 200

    await until(lives)


async def test_ready_checks_are_metrics_too(redis: Redis, redis_url: str, start: Start) -> None:
    await load_library(redis)
    observed = await start(redis_url, "leases")
    await until(says(observed, **WELL))
    assert await observed.value("tickstream_ready", check="redis") == 1
    assert await observed.value("tickstream_ready", check="leases") == 0
    assert await observed.value("tickstream_event_loop_lag_now_seconds") is not None

    async def has_beaten() -> bool:
        return await observed.total("tickstream_event_loop_lag_seconds_count") > 0

    await until(has_beaten)


async def test_lease_changes_are_counted(redis: Redis, redis_url: str, start: Start) -> None:
    await load_library(redis)
    deployment = await join(redis, 2, 3)
    observed = await start(redis_url)

    async def changes(change: str) -> float:
        return await observed.total("tickstream_lease_changes_total", change=change)

    before = {change: await changes(change) for change in ("taken", "lost", "released")}
    stop, workers = asyncio.Event(), Workers()
    holding = asyncio.create_task(hold(redis, deployment, "analyzer", 0.5, workers.work, stop))
    first, second = await workers.next(), await workers.next()

    async def holds_both() -> bool:
        return await observed.value("tickstream_leases_held", service="analyzer") == 2

    await until(holds_both)
    assert await changes("taken") == before["taken"] + 2
    await redis.hset(streams.lease("analyzer", first.partition), "token", "somebody else")

    async def has_lost() -> bool:
        return await changes("lost") == before["lost"] + 1

    await until(has_lost)
    stop.set()
    await holding
    assert second.ended.is_set()
    assert await changes("released") >= before["released"] + 1
    assert await observed.value("tickstream_leases_held", service="analyzer") == 0


async def test_without_a_port_nothing_is_started(redis_url: str) -> None:
    threads, tasks = threading.active_count(), len(asyncio.all_tasks())
    async with observing("tests", Settings(redis_url=SecretStr(redis_url)), asyncio.Event(), ("leases",)), probing({"never": _never}):
        confirm("leases")
        fail("leases", "nobody asks")
        assert threading.active_count() == threads
        assert len(asyncio.all_tasks()) == tasks


async def _never() -> None:
    raise AssertionError("asked although nobody wants to know")


@asynccontextmanager
async def observed_for_a_moment(redis_url: str) -> AsyncIterator[int]:
    settings = Settings(redis_url=SecretStr(redis_url), metrics_port=find_free_port())
    async with observing("tests", settings, asyncio.Event(), ()):
        yield settings.metrics_port


async def test_end_leaves_nothing(redis_url: str) -> None:
    threads, tasks = threading.active_count(), asyncio.all_tasks()
    async with observed_for_a_moment(redis_url) as port:
        assert not is_port_free(LOOPBACK, port)
    assert threading.active_count() == threads
    assert {task for task in asyncio.all_tasks() if not task.done()} == tasks
    assert is_port_free(LOOPBACK, port)


async def test_taken_port_is_refused_by_variable(redis_url: str) -> None:
    async with observed_for_a_moment(redis_url) as port:
        settings = Settings(redis_url=SecretStr(redis_url), metrics_port=port)
        with pytest.raises(ConfigurationError, match=f"^METRICS_PORT={port}: is taken by another program"):
            async with observing("tests", settings, asyncio.Event(), ()):
                pass
