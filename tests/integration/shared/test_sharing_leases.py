"""Several members of a service: how partitions come to be shared evenly, and what does not move them."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from services.admin.embedded import EmbeddedRedis
from services.admin.migrate import load_library
from shared import streams
from shared.redis import client as client_module
from shared.redis.client import connect
from shared.redis.lease import Lease
from tests.faults.proxy import Cut, FaultProxy
from tests.integration.shared.holders import A_LEASE_AND_MORE, CALM, LONG, SERVICE, SHORT, Holders, Workers, running
from tests.integration.shared.polling import until
from tests.observed import Gain

ALWAYS = 10**9
MEMBERS = streams.members(SERVICE)


@pytest.fixture
async def holders(redis: Redis) -> AsyncIterator[Holders]:
    """Holders of a deployment of four partitions."""
    await load_library(redis)
    async with running(redis, 4) as found:
        yield found


async def loads(holders: Holders) -> list[int]:
    """How many partitions each holder has, sorted; what nobody holds is left out."""
    owners = [await holders.owner(p) for p in range(holders.deployment.partitions)]
    return sorted(owners.count(owner) for owner in set(owners) - {""})


async def until_loads(holders: Holders, *wanted: int) -> None:
    """Wait until the partitions are shared out like this."""

    async def are_shared() -> bool:
        return await loads(holders) == list(wanted)

    await until(are_shared)


async def take_all(holders: Holders, workers: Workers, **options: Any) -> Any:
    """Start a first holder, which gets everything."""
    stop = await holders.start(workers.work, **options)
    for _ in range(holders.deployment.partitions):
        await workers.next()
    return stop


async def test_a_second_member_gets_its_share_from_the_first(holders: Holders) -> None:
    first, second = Workers(), Workers()
    asked, given = Gain(SERVICE, "tickstream_lease_changes_total", change="stolen"), Gain(
        SERVICE, "tickstream_lease_changes_total", change="handed_over"
    )  # fmt: skip
    with capture_logs() as logs:
        await take_all(holders, first)
        await holders.start(second.work)
        await until_loads(holders, 2, 2)
    assert [await first.ended.get() for _ in range(2)] == ["drained"] * 2
    told = [(line["event"], line["partition"]) for line in logs if line["event"] in ("lease asked for", "handing a lease over")]
    moved = {(await second.next()).partition for _ in range(2)}
    assert sorted(told) == sorted((event, p) for event in ("lease asked for", "handing a lease over") for p in moved)
    await asked.reaches(2)
    await given.reaches(2)


async def test_nobody_works_on_a_partition_before_its_former_holder_has_drained(holders: Holders) -> None:
    at_work: dict[int, int] = dict.fromkeys(range(4), 0)

    async def work(lease: Lease) -> None:
        at_work[lease.partition] += 1
        assert at_work[lease.partition] == 1
        await lease.idle()
        await asyncio.sleep(0.05)  # what is in flight
        assert await holders.token(lease.partition) == lease.token
        at_work[lease.partition] -= 1

    with capture_logs() as logs:
        await holders.start(work)
        for shares in ((2, 2), (1, 1, 2)):
            await holders.start(work)
            await until_loads(holders, *shares)
    assert [line for line in logs if line["event"] == "worker failed"] == []


async def test_members_come_and_go_and_every_partition_is_held_in_even_shares(holders: Holders) -> None:
    stops = []
    for shares in ((4,), (2, 2), (1, 1, 2), (1, 1, 1, 1)):
        stops.append(await holders.start(Workers().work))
        await until_loads(holders, *shares)
    for shares in ((1, 1, 2), (2, 2), (4,)):
        await stops.pop(0)()
        await until_loads(holders, *shares)
    assert len(await holders.redis.hgetall(MEMBERS)) == 1


async def test_a_member_that_ends_leaves_before_its_leases_are_free(holders: Holders) -> None:
    first, second = Workers(), Workers()
    stop = await take_all(holders, first)
    await holders.start(second.work)
    await until_loads(holders, 2, 2)
    with capture_logs() as logs:
        await stop()
        await until_loads(holders, 4)
    (change,) = [line for line in logs if line["event"] == "members changed"]
    assert (change["members"], len(change["left"])) == (1, 1)
    assert "lease asked for" not in [line["event"] for line in logs]


async def test_a_member_that_died_is_taken_away_and_no_share_is_kept_for_it(holders: Holders) -> None:
    await holders.redis.hset(MEMBERS, "dead:1", "7")
    workers = Workers()
    with capture_logs() as logs:
        await holders.start(workers.work, lease_seconds=SHORT)
        await until_loads(holders, 4)

        async def is_clean() -> bool:
            return "dead:1" not in await holders.redis.hgetall(MEMBERS)

        await until(is_clean)
    changes = [line for line in logs if line["event"] == "members changed"]
    assert [line.get("joined") or line["stood_still"] for line in changes] == [["dead:1"], ["dead:1"]]


async def test_a_partition_whose_fair_taker_does_not_come_is_taken_by_another(holders: Holders) -> None:
    await take_all(holders, Workers())
    second = Workers()
    await holders.redis.hset(MEMBERS, "unable:1", "1")
    beating = asyncio.create_task(beat_for_ever(holders.redis, "unable:1"))
    await holders.redis.hset(streams.lease(SERVICE, 3), mapping={"owner": "", "token": "", "wanted_by": "unable:1"})
    try:
        await holders.start(second.work)
        await until_loads(holders, 2, 2)
    finally:
        beating.cancel()


async def beat_for_ever(redis: Redis, name: str) -> None:
    while True:
        await redis.hincrby(MEMBERS, name, 1)
        await asyncio.sleep(0.02)


async def test_a_worker_that_drains_slowly_holds_up_nothing_else(holders: Holders) -> None:
    may_end = asyncio.Event()

    async def drain_slowly(lease: Lease) -> None:
        await lease.idle()
        while not may_end.is_set():
            lease.progress()
            await asyncio.sleep(0.01)

    await holders.start(drain_slowly, lease_seconds=SHORT)
    await holders.start(Workers().work, lease_seconds=SHORT)
    tokens = [await holders.token(p) for p in range(4)]
    for p in range(4):
        await wait_for_beats(holders, p, A_LEASE_AND_MORE)
    assert [await holders.token(p) for p in range(4)] == tokens
    may_end.set()
    await until_loads(holders, 2, 2)


async def wait_for_beats(holders: Holders, partition: int, count: int) -> None:
    key = streams.lease(SERVICE, partition)
    goal = int(await holders.redis.hget(key, "beats") or 0) + count

    async def is_there() -> bool:
        return int(await holders.redis.hget(key, "beats") or 0) >= goal

    await until(is_there)


async def test_a_lease_whose_release_was_lost_is_taken_again_by_its_own_member_at_once(holders: Holders, redis_url: str) -> None:
    crashed = asyncio.Event()

    async def fail_once(lease: Lease) -> None:
        if lease.partition == 2 and not crashed.is_set():
            crashed.set()
            raise ZeroDivisionError
        await workers.work(lease)

    workers = Workers()
    async with FaultProxy(redis_url).running() as proxy, connect(proxy.url, service="tests") as client:
        cut = proxy.plan(Cut((b"release_1",), times=ALWAYS, request_bytes=0))
        with capture_logs() as logs:
            await holders.start(fail_once, redis=client)
            assert {(await workers.next()).partition for _ in range(4)} == set(range(4))
        proxy.withdraw(cut)
        await holders.stop()
    assert [line["event"] for line in logs].count("lease not released, others take it over") == 1


async def test_a_lost_answer_to_a_want_moves_one_partition(holders: Holders, redis_url: str) -> None:
    await take_all(holders, Workers())
    async with FaultProxy(redis_url).running() as proxy, connect(proxy.url, service="tests") as client:
        lost = proxy.plan(Cut((b"want_1",), reply_bytes=0))
        await holders.start(Workers().work, redis=client)
        assert lost.cuts == 1
        await until_loads(holders, 2, 2)
        await holders.stop()


async def test_members_that_redis_refuses_are_said_once_and_stop_no_lease(holders: Holders) -> None:
    await holders.redis.set(MEMBERS, "text")
    workers = Workers()
    with capture_logs() as logs:
        await take_all(holders, workers, lease_seconds=CALM)
        await wait_for_beats(holders, 3, 5)
        await holders.redis.delete(MEMBERS)
        await until(lambda: holders.redis.exists(MEMBERS))
    assert [line["event"] for line in logs if line["log_level"] == "error"] == [
        "redis refuses the members of a service, shares stay as they are"
    ]


async def test_after_a_flush_two_members_share_again(holders: Holders) -> None:
    for _ in range(2):
        await holders.start(Workers().work, lease_seconds=CALM)
    await until_loads(holders, 2, 2)
    await holders.redis.flushdb()
    await until_loads(holders, 2, 2)
    assert len(await holders.redis.hgetall(MEMBERS)) == 2


@pytest.mark.parametrize("answer_seconds", [10.0, 0.5], ids=["without an error", "with errors"])
async def test_a_redis_that_stood_still_longer_than_the_lease_moves_no_lease(
    redis_server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch, answer_seconds: float
) -> None:
    monkeypatch.setattr(client_module, "ANSWER_SECONDS", answer_seconds)
    async with connect(redis_server.url, service="tests") as one, connect(redis_server.url, service="tests") as other:
        await load_library(one)
        async with running(one, 4) as holders:
            await take_all(holders, Workers(), lease_seconds=CALM)
            await holders.start(Workers().work, lease_seconds=CALM, redis=other)
            await until_loads(holders, 2, 2)
            tokens = [await holders.token(p) for p in range(4)]
            os.kill(redis_server.pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(4 * CALM)
            finally:
                os.kill(redis_server.pid, signal.SIGCONT)
            for p in range(4):
                await wait_for_beats(holders, p, A_LEASE_AND_MORE)
            assert [await holders.token(p) for p in range(4)] == tokens


async def test_a_lease_is_in_doubt_while_redis_does_not_confirm_it_and_not_any_more_when_it_does(holders: Holders, redis_url: str) -> None:
    workers = Workers()
    async with FaultProxy(redis_url).running() as proxy, connect(proxy.url, service="tests") as client:
        await holders.start(workers.work, lease_seconds=CALM, redis=client)
        leases = [await workers.next() for _ in range(4)]
        assert not any(lease.is_in_doubt for lease in leases)
        began = time.monotonic()
        cut = proxy.plan(Cut((b"_1",), times=ALWAYS, request_bytes=0))

        async def are_in_doubt() -> bool:
            return all(lease.is_in_doubt for lease in leases)

        await until(are_in_doubt)
        assert time.monotonic() - began >= CALM / 2
        proxy.withdraw(cut)

        async def are_sure() -> bool:
            return not any(lease.is_in_doubt for lease in leases)

        await until(are_sure)
        assert workers.begun.empty()
        await holders.stop()


async def test_names_of_holders_differ_within_one_process(holders: Holders) -> None:
    for _ in range(3):
        await holders.start(Workers().work, lease_seconds=LONG)
    assert len(await holders.redis.hgetall(MEMBERS)) == 3
