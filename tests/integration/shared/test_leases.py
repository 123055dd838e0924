"""Holders of leases: who works on a partition, for how long, and who goes on after it."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

import shared
from services.admin.embedded import EmbeddedRedis
from services.admin.migrate import load_library, migrate_redis
from shared import streams
from shared.errors import ConfigurationError, Fenced, Problem
from shared.redis import lease as lease_module
from shared.redis import log
from shared.redis.client import connect
from shared.redis.lease import Lease
from tests.faults.proxy import Cut, FaultProxy
from tests.integration.partition import PartitionUnderTest
from tests.integration.shared.holders import A_LEASE_AND_MORE, CALM, KEY, LONG, SERVICE, SHORT, Holders, Workers, running
from tests.integration.shared.polling import until
from tests.observed import Gain


@pytest.fixture
async def holders(redis: Redis) -> AsyncIterator[Holders]:
    """Holders of a deployment of one partition."""
    await load_library(redis)
    async with running(redis, 1) as found:
        yield found


@pytest.fixture
async def holders_of_three(redis: Redis) -> AsyncIterator[Holders]:
    """Holders of a deployment of three partitions."""
    await load_library(redis)
    async with running(redis, 3) as found:
        yield found


async def test_a_holder_takes_every_free_partition_at_once(holders_of_three: Holders) -> None:
    workers = Workers()
    await holders_of_three.start(workers.work)
    leases = [await workers.next() for _ in range(3)]
    assert [lease.partition for lease in leases] == [0, 1, 2]
    assert [await holders_of_three.token(lease.partition) for lease in leases] == [lease.token for lease in leases]
    assert len({lease.token for lease in leases}) == 3


async def test_the_holder_shows_as_consumer_under_host_and_process(holders: Holders) -> None:
    workers = Workers()
    stop = await holders.start(workers.work)
    await workers.next()
    (consumer,) = await holders.redis.xinfo_consumers(streams.ticks(0), SERVICE)
    assert consumer["name"] == await holders.owner()
    assert consumer["name"].startswith(f"{socket.gethostname()}:{os.getpid()}:")
    await stop()
    assert await holders.redis.xinfo_consumers(streams.ticks(0), SERVICE) == []


@pytest.mark.parametrize("is_done", [False, True])
async def test_a_worker_that_is_idle_or_done_keeps_its_lease(holders: Holders, is_done: bool) -> None:
    async def idle_or_done(lease: Lease) -> None:
        if is_done:
            first.begun.put_nowait(lease)
        else:
            await first.work(lease)

    first, second = Workers(), Workers()
    await holders.start(idle_or_done, lease_seconds=CALM)
    lease = await first.next()
    await holders.start(second.work, lease_seconds=CALM)
    await holders.wait_for_beats(A_LEASE_AND_MORE)
    assert await holders.token() == lease.token
    assert (first.begun.empty(), second.begun.empty()) == (True, True)


async def test_a_hung_worker_loses_its_lease_and_is_ended(holders: Holders) -> None:
    hung, second = Workers(), Workers()
    await holders.start(hung.hang, lease_seconds=SHORT)
    lease = await hung.next()
    await holders.start(second.work, lease_seconds=SHORT)
    taken = await second.next()
    assert await holders.token() == taken.token != lease.token
    async with asyncio.timeout(5):
        assert await hung.ended.get() == "cancelled"
    assert lease.ended.is_set()
    assert second.begun.empty()


async def test_a_worker_whose_lease_was_taken_is_cancelled(holders: Holders) -> None:
    workers = Workers()
    await holders.start(workers.work, lease_seconds=SHORT)
    lease = await workers.next()
    await holders.redis.hset(KEY, mapping={"owner": "thief", "token": "stolen"})
    async with asyncio.timeout(5):
        await lease.ended.wait()
        assert await workers.ended.get() in ("cancelled", "drained")
    assert await holders.token() == "stolen"


async def test_a_worker_that_finds_itself_fenced_gives_nothing_back_and_stands_by(holders: Holders) -> None:
    workers = Workers()

    async def find_out(lease: Lease) -> None:
        if workers.begun.empty() and not is_fenced.is_set():
            await holders.redis.hset(KEY, mapping={"owner": "thief", "token": "stolen"})
            is_fenced.set()
            raise Fenced(SERVICE, 0)
        await workers.work(lease)

    is_fenced = asyncio.Event()
    with capture_logs() as logs:
        await holders.start(find_out, lease_seconds=SHORT)
        await is_fenced.wait()
        began = time.monotonic()
        await workers.next()  # the thief's counter stands still: after LEASE_SECONDS it is taken over
    assert time.monotonic() - began > SHORT * 0.9
    assert [line["event"] for line in logs] == ["lease taken", "lease lost", "lease taken"]


async def test_a_lost_answer_to_acquire_costs_one_round_and_no_lease(holders: Holders, redis_url: str) -> None:
    workers = Workers()
    async with FaultProxy(redis_url).running() as proxy, connect(proxy.url, service="tests") as client:
        lost = proxy.plan(Cut((b"acquire_1",), reply_bytes=0))
        with capture_logs() as logs:
            await holders.start(workers.work, lease_seconds=CALM, redis=client)
            assert (lost.cuts, workers.begun.empty()) == (1, True)
            token = await holders.token()
            lease = await workers.next()
        assert lease.token == token == await holders.token()
        assert [line["because"] for line in logs if line["event"] == "lease taken"] == ["it was free"]
        await holders.stop()


async def test_a_holder_that_is_gone_is_followed_after_the_lease_and_not_before(holders: Holders) -> None:
    dead = PartitionUnderTest(holders.redis)
    await dead.take(SERVICE, "dead", owner="dead:1")
    workers = Workers()
    began = time.monotonic()
    await holders.start(workers.work, lease_seconds=SHORT)
    await workers.next()
    assert time.monotonic() - began >= SHORT
    (consumer,) = await holders.redis.xinfo_consumers(streams.ticks(0), SERVICE)
    assert consumer["name"] == await holders.owner() != "dead:1"


HOLDER = """
import asyncio, structlog, sys
from shared.redis.client import connect
from shared.redis.deployment import join
from shared.redis.lease import hold
from shared.runtime import wait_or_stop

async def work(lease):
    print("begun", lease.token, flush=True)
    try:
        while not lease.ended.is_set():
            lease.progress()
            await wait_or_stop(lease.ended, 0.01)
    finally:
        print("ended", flush=True)

async def main():
    async with connect(sys.argv[1], service="tests") as redis:
        await hold(redis, await join(redis, 1, 3), "analyzer", float(sys.argv[2]), work, asyncio.Event())

structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
asyncio.run(main())
"""
ROOT = str(Path(str(shared.__file__)).parents[1])


@pytest.fixture
async def other_process(redis_url: str) -> AsyncIterator[Callable[[], Any]]:
    """Start a holder in a process of its own; it holds the lease when this returns."""
    async with AsyncExitStack() as stack:

        async def start() -> Process:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", HOLDER, redis_url, str(SHORT), stdout=PIPE, env=os.environ | {"PYTHONPATH": ROOT}
            )
            stack.push_async_callback(reap, process)
            assert process.stdout is not None
            assert (await process.stdout.readline()).startswith(b"begun")
            return process

        yield start


async def reap(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.communicate()


async def test_a_killed_process_is_followed_within_the_lease_and_a_second_and_a_half(
    holders: Holders, other_process: Callable[[], Any]
) -> None:
    process = await other_process()
    workers = Workers()
    await holders.start(workers.work, lease_seconds=SHORT)
    await holders.wait_for_beats(2)
    process.kill()
    killed = time.monotonic()
    await workers.next()
    assert time.monotonic() - killed < LONG / 2


async def test_a_process_that_stood_still_finds_its_lease_gone_and_ends_its_worker(
    holders: Holders, other_process: Callable[[], Any]
) -> None:
    process = await other_process()
    workers = Workers()
    await holders.start(workers.work, lease_seconds=SHORT)
    await holders.wait_for_beats(1)
    process.send_signal(signal.SIGSTOP)
    lease = await workers.next()
    process.send_signal(signal.SIGCONT)
    async with asyncio.timeout(5):
        assert await process.stdout.readline() == b"ended\n"
    await holders.wait_for_beats(5)
    assert await holders.token() == lease.token


async def test_on_stop_the_worker_drains_while_the_lease_is_still_held_and_the_next_takes_it_within_a_second(holders: Holders) -> None:
    tokens = []

    async def drain(lease: Lease) -> None:
        lease.progress()
        await lease.ended.wait()
        await asyncio.sleep(0.02)
        tokens.append((lease.token, await holders.token()))

    stop = await holders.start(drain)
    second = Workers()
    await holders.start(second.work)
    stopped = time.monotonic()
    await stop()
    await second.next()
    assert time.monotonic() - stopped < LONG / 2
    ((mine, found),) = tokens
    assert mine == found


async def test_a_lease_that_was_taken_while_its_worker_drained_is_said_to_be_lost_and_not_given_back(holders: Holders) -> None:
    lost, released = (Gain(SERVICE, "tickstream_lease_changes_total", change=change) for change in ("lost", "released"))

    async def drain(lease: Lease) -> None:
        await lease.idle()
        await holders.redis.hset(KEY, mapping={"owner": "thief", "token": "stolen"})

    with capture_logs() as logs:
        stop = await holders.start(drain)
        await stop()
    assert [line["event"] for line in logs] == ["lease taken", "lease lost"]
    assert await holders.token() == "stolen"
    await lost.reaches(1)
    await released.reaches(0)


async def test_what_cannot_be_given_back_because_redis_is_away_does_not_fail_the_stop(holders: Holders, redis_url: str) -> None:
    workers = Workers()
    async with FaultProxy(redis_url).running() as proxy, connect(proxy.url, service="tests") as client:
        stop = await holders.start(workers.work, redis=client)
        await workers.next()
        proxy.plan(Cut((b"release_1",), request_bytes=0))
        with capture_logs() as logs:
            await stop()
    assert await workers.ended.get() == "drained"
    assert [line["event"] for line in logs] == ["lease not released, others take it over"]


async def test_a_configuration_error_of_a_worker_ends_the_holder_and_gives_the_other_leases_back(holders_of_three: Holders) -> None:
    async def refuse_one(lease: Lease) -> None:
        if lease.partition == 1:
            raise ConfigurationError((Problem("SMA_PERIOD", "5", "was changed"),))
        await workers.work(lease)

    workers = Workers()
    await holders_of_three.start(refuse_one, lease_seconds=SHORT)
    with pytest.raises(ConfigurationError, match="SMA_PERIOD"):
        await holders_of_three.newest
    assert [await workers.ended.get() for _ in range(2)] == ["drained"] * 2
    assert [await holders_of_three.token(partition) for partition in (0, 2)] == ["", ""]


async def test_a_worker_that_fails_is_said_gives_its_lease_to_others_and_is_tried_again_later(holders: Holders) -> None:
    failed_at: list[float] = []

    async def fail_once(lease: Lease) -> None:
        if not failed_at:
            failed_at.append(time.monotonic())
            raise ZeroDivisionError
        await workers.work(lease)

    workers = Workers()
    with capture_logs() as logs:
        await holders.start(fail_once, lease_seconds=SHORT)

        async def is_free() -> bool:
            return bool(failed_at) and await holders.token() == ""

        await until(is_free)
        await workers.next()
    assert time.monotonic() - failed_at[0] >= 0.25
    (line,) = [line for line in logs if line["event"] == "worker failed"]
    assert (line["partition"], type(line["exc_info"])) == (0, ZeroDivisionError)


async def test_the_back_off_of_a_failing_worker_grows_and_starts_again_after_a_healthy_time(
    holders: Holders, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(lease: Lease) -> None:
        raise ZeroDivisionError

    async def waits(healthy_seconds: float) -> list[float]:
        monkeypatch.setattr(lease_module, "HEALTHY_SECONDS", healthy_seconds)
        with capture_logs() as logs:
            stop = await holders.start(fail, lease_seconds=0.1)

            async def has_failed_twice() -> bool:
                return len([line for line in logs if line["event"] == "worker failed"]) == 2

            await until(has_failed_twice)
            await stop()
        return [line["retry_in_seconds"] for line in logs if line["event"] == "worker failed"]

    growing, steady = await waits(60), await waits(0)
    assert growing[0] <= 0.5 <= growing[1] <= 1.0
    assert max(steady) <= 0.5


async def test_after_a_flush_the_partition_is_prepared_and_taken_again(holders: Holders) -> None:
    workers = Workers()
    await holders.start(workers.work, lease_seconds=SHORT)
    before = await workers.next()
    await holders.redis.flushdb()
    after = await workers.next()
    assert before.ended.is_set()
    assert (await log.head(holders.redis, 0)).lineage == ()
    assert await holders.token() == after.token != before.token
    assert await holders.redis.hget(streams.CONFIG, "sma_period") == "3"


async def test_after_a_flush_a_deployment_without_a_persister_stays_one(redis: Redis) -> None:
    await load_library(redis)
    await migrate_redis(redis, 1, 3, with_persister=False)
    workers = Workers()
    async with running(redis, 1) as holders:
        await holders.start(workers.work, lease_seconds=SHORT)
        await workers.next()
        await redis.flushdb()
        await workers.next()
        for key in (streams.CONFIG, streams.log(0)):
            assert json.loads(await redis.hget(key, "required") or "") == {"ticks": ["analyzer"]}


async def test_a_deployment_that_was_founded_anew_with_other_values_ends_the_holder(holders: Holders) -> None:
    workers = Workers()
    await holders.start(workers.work, lease_seconds=SHORT)
    await workers.next()
    pipeline = holders.redis.pipeline(transaction=True)
    pipeline.flushdb()
    pipeline.hset(streams.CONFIG, mapping={"partitions": "1", "sma_period": "7", "required": '{"ticks":["analyzer"]}'})
    await pipeline.execute()
    with pytest.raises(ConfigurationError, match=r"SMA_PERIOD=3: this deployment was set up with SMA_PERIOD=7"):
        await holders.newest


async def test_a_partition_that_redis_refuses_is_said_once_and_does_not_stop_the_others(holders_of_three: Holders) -> None:
    holders, workers = holders_of_three, Workers()
    await holders.redis.set(KEY, "text")
    with capture_logs() as logs:
        await holders.start(workers.work, lease_seconds=SHORT)
        assert [(await workers.next()).partition for _ in range(2)] == [1, 2]
        await holders.redis.hset(streams.lease(SERVICE, 2), mapping={"owner": "dead", "token": "dead"})
        assert (await workers.next()).partition == 2  # its counter is watched although partition 0 fails in every round
        await holders.redis.delete(KEY)
        assert (await workers.next()).partition == 0
    assert [line["partition"] for line in logs if line["event"] == "redis refuses the lease of a partition"] == [0]


async def test_a_missing_function_library_is_waited_out(holders: Holders) -> None:
    await holders.redis.function_delete(log.LIBRARY)
    workers = Workers()
    with capture_logs() as logs:
        await holders.start(workers.work, lease_seconds=SHORT)
        assert [(line["event"]) for line in logs] == ["leases wait for redis"]
        await load_library(holders.redis)
        await workers.next()


async def test_an_outage_of_redis_longer_than_the_lease_moves_no_lease(redis_server: EmbeddedRedis) -> None:
    async with connect(redis_server.url, service="tests") as redis:
        await load_library(redis)
        async with running(redis, 1) as holders:
            first, second = Workers(), Workers()
            await holders.start(first.work, lease_seconds=CALM)
            lease = await first.next()
            await holders.start(second.work, lease_seconds=CALM)
            await holders.wait_for_beats(1)
            await asyncio.to_thread(redis_server.kill)
            await asyncio.sleep(1.2 * CALM)
            await asyncio.to_thread(redis_server.start)
            await holders.wait_for_beats(3)
            assert await holders.token() == lease.token
            assert (first.ended.empty(), second.begun.empty()) == (True, True)
