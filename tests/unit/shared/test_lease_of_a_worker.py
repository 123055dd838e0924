"""What a worker's lease tells: whether rounds were finished, and that a read is given up when the lease ends."""

import asyncio
import gc

import pytest

from shared.redis.lease import Lease


def lease() -> Lease:
    return Lease("analyzer", 0, "token")


def test_a_new_lease_counts_as_progress_once() -> None:
    held = lease()
    assert [held.take_progress(), held.take_progress()] == [True, False]


def test_progress_is_told_once_however_many_rounds_there_were() -> None:
    held = lease()
    held.take_progress()
    for _ in range(3):
        held.progress()
    assert [held.take_progress(), held.take_progress()] == [True, False]


async def test_a_read_gives_its_result_while_the_lease_is_held() -> None:
    reading = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(lease().while_held(reading))
    await asyncio.sleep(0)
    reading.set_result("found")
    assert await waiting == "found"


async def test_a_read_that_fails_raises_its_error() -> None:
    reading = asyncio.get_running_loop().create_future()
    reading.set_exception(ConnectionError("away"))
    with pytest.raises(ConnectionError, match="away"):
        await lease().while_held(reading)


async def test_when_the_lease_ends_the_read_is_given_up() -> None:
    held = lease()
    reading = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(held.while_held(reading))
    await asyncio.sleep(0)
    held.ended.set()
    assert await waiting is None
    assert reading.cancelled()


async def test_what_was_read_when_the_lease_has_ended_is_not_used() -> None:
    held = lease()
    held.ended.set()
    reading = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(held.while_held(reading))
    await asyncio.sleep(0)
    reading.set_result("too late")
    assert await waiting is None


async def test_the_error_of_a_read_that_was_given_up_is_reported_to_nobody() -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))

    async def read() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError("away") from None
        return ""

    held = lease()
    asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, held.ended.set)
    assert await held.while_held(asyncio.ensure_future(read())) is None
    gc.collect()
    assert reported == []


async def test_a_worker_that_is_cancelled_gives_its_read_up() -> None:
    reading = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(lease().while_held(reading))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert reading.cancelled()
