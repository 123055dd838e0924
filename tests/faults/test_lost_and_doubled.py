"""Replies that are lost again and again, requests that arrive twice, or after their sender gave up: nothing comes of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio import Redis

from shared import streams
from shared.redis import log
from shared.redis.client import REDIS_AWAY, connect
from shared.redis.log import library_code
from tests.faults.lanes import PATIENCE_SECONDS, Stage, key_tag, set_stage
from tests.faults.proxy import Cut, Duplicate, Fault, FaultProxy, Late
from tests.faults.test_every_byte import Live, Replay
from tests.integration.partition import PartitionUnderTest, set_up

LANES = 6
TURNS = 3
TIMES = (1, 2, 5)
Words = tuple[bytes, ...]


@pytest.fixture
async def stage(redis: Redis, redis_url: str) -> AsyncIterator[Stage]:
    """A few partitions, and a proxy before Redis."""
    async with set_stage(redis, redis_url, LANES) as found:
        yield found


def lost(words: Words, number: int) -> Fault:
    """Executed, and cut off with the answer: once, twice or five times in a row."""
    return Cut(words, times=TIMES[number % len(TIMES)], reply_bytes=0)


def doubled(words: Words, number: int) -> Fault:
    """Executed twice in a row."""
    return Duplicate(words, skipped=number % 2)


def late(words: Words, number: int) -> Fault:
    """Executed before, while or after its sender loads again, and commits the same once more."""
    return Late(words, seconds=0.03 * (number % 6))


FAULTS = pytest.mark.parametrize("fault", [lost, doubled, late])


@FAULTS
async def test_a_commit(stage: Stage, fault: Callable[[Words, int], Fault]) -> None:
    faults = []
    async with stage.analyzing():
        for turn in range(TURNS):
            for lane in stage.lanes:
                faults.append(stage.proxy.plan(fault((b"commit_1", key_tag(lane.partition)), turn + lane.partition)))
                await lane.append(9)
            for lane in stage.lanes:
                await lane.until_committed()
                await lane.check()
    assert sum(planned.hits for planned in faults) >= LANES


@FAULTS
@pytest.mark.parametrize("source", [Live, Replay])
async def test_an_append(stage: Stage, fault: Callable[[Words, int], Fault], source: type[Live | Replay]) -> None:
    sources = [source(stage, lane) for lane in stage.lanes]

    async def append(lane_number: int) -> Fault:
        lane = stage.lanes[lane_number]
        planned = stage.proxy.plan(fault((b"append_1", key_tag(lane.partition)), lane_number))
        for _ in range(TURNS):
            await sources[lane_number].append()
            await lane.check_appended()
        return planned

    planned = await stage.suffer(range(LANES), lambda lane, _: append(lane.partition))
    assert all(fault.hits for fault in planned)


async def repeat(call: Callable[[], Awaitable[object]]) -> object:
    """Call until there is an answer."""
    while True:
        try:
            return await call()
        except REDIS_AWAY:
            pass


@FAULTS
@pytest.mark.parametrize("number", [0, 1, 2])
async def test_a_mirror_a_trim_and_an_acquire(redis: Redis, redis_url: str, fault: Callable[[Words, int], Fault], number: int) -> None:
    partition = await set_up(redis)
    await partition.append("1", "2", "3", "4")
    await partition.analyze()
    head = await log.head(redis, 0)
    ends = {name: (await partition.redis.xrevrange(streams.stream(name, 0), count=1))[0][0] for name in ("ticks", "enriched")}
    async with FaultProxy(redis_url).running() as proxy, connect(proxy.url, service="tests") as client:
        faulty = PartitionUnderTest(client)

        async def mirror() -> object:
            for name, entry_id in ends.items():
                await log.mirror(
                    client, 0, stream=name, group="persister", incarnation=head.incarnation, entry_id=entry_id, passed=4
                )  # fmt: skip
            return None

        async def take() -> object:
            return await faulty.take("persister", "p")

        async def trim() -> object:
            return await log.trim(client, 0, cap=1000, window_ms=0)

        for name, call in (("mirror", mirror), ("acquire", take), ("trim", trim)):
            proxy.plan(fault((name.encode() + b"_1",), number))
            answers = [await repeat(call), await repeat(call)]
            if name == "acquire":
                assert answers[0] == answers[1] == [1, "me", "p", "0"]
    for stream in ("ticks", "enriched"):
        groups = await partition.redis.xinfo_groups(streams.stream(stream, 0))
        assert {(group["name"], group["entries-read"], group["lag"]) for group in groups} >= {("persister", 4, 0)}
        assert [str(found["name"]) for found in await redis.xinfo_consumers(streams.stream(stream, 0), "persister")] == ["me"]
        assert await redis.xlen(streams.stream(stream, 0)) == 1, "all but the entry that the groups stand at"


@pytest.fixture
async def mutate(stage: Stage) -> AsyncIterator[Callable[[dict[str, str]], Awaitable[None]]]:
    """Load a library in which some texts are replaced; the sound one is back at the end."""

    async def load(broken: dict[str, str]) -> None:
        code = library_code()
        for sound, text in broken.items():
            assert sound in code
            code = code.replace(sound, text)
        await redis.function_load(code, replace=True)

    redis = stage.lanes[0].redis
    yield load
    await redis.function_load(library_code(), replace=True)


Mutate = Callable[[dict[str, str]], Awaitable[None]]
NO_CURSOR_CHECK = {
    "if head.cursor == last_id then return": "if false then return",
    "if head.cursor ~= previous or": "if",
}
NO_NUMBER_CHECK = {
    "if first + count - 1 <= stored then": "if false then",
    "local is_new = first + offset > stored": "local is_new = true",
}


def after_all(words: Words, _number: int) -> Fault:
    """Executed when its sender has long loaded again, and committed the same once more."""
    return Late(words, seconds=0.6)


@pytest.mark.parametrize("fault", [doubled, after_all])
async def test_the_oracle_objects_to_a_commit_that_does_not_check_the_cursor(
    stage: Stage, mutate: Mutate, fault: Callable[[Words, int], Fault]
) -> None:
    await mutate(NO_CURSOR_CHECK)
    lane = stage.lanes[0]
    async with stage.analyzing():
        await lane.append(9)
        await lane.until_committed()
        stage.proxy.plan(fault((b"commit_1", key_tag(0)), 4))
        with pytest.raises(AssertionError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    await lane.append(9)
                    await lane.until_committed()
                    await lane.check()


@pytest.mark.parametrize("source", [Live, Replay])
async def test_the_oracle_objects_to_an_append_that_takes_no_number_for_a_duplicate(
    stage: Stage, mutate: Mutate, source: type[Live | Replay]
) -> None:
    await mutate(NO_NUMBER_CHECK)
    lane = stage.lanes[0]
    stage.proxy.plan(lost((b"append_1", key_tag(0)), 0))
    await source(stage, lane).append()
    with pytest.raises(AssertionError):
        await lane.check_appended()
