"""How the Python clients end, and what they do with what their user's own code raises: nothing is left open, nothing swallowed."""

import asyncio
import logging
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tickstream_client.sync
from tickstream_client import Refused, Subscription, Update, subscribe

from tests.clients.scripted import Scripted, Visit, alert, scripted
from tests.integration.gateway.market import Market

PATIENCE_SECONDS = 20
CLIENT = Path(__file__).parents[2] / "clients" / "python"
FOLLOW = """
import asyncio, signal, sys, tickstream_client

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and what they start does

async def main():
    async for update in tickstream_client.subscribe(sys.argv[1], proxy=None):
        print("updated")

asyncio.run(main())
"""


class OwnError(Exception):
    """Of the user's code."""


async def attend(visit: Visit) -> None:
    """Send the first update, and stay."""
    await visit.first(alerts=[])
    await visit.stay()


async def all_gone(gateway: Scripted) -> None:
    """Wait until no client is connected."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        for visit in gateway.visits:
            await visit.stay()


async def leave(url: str, action: Callable[[], None]) -> None:
    """Do something within the loop, without holding the subscription anywhere else."""
    async for _ in subscribe(url, proxy=None):
        action()
        break


def leave_sync(url: str, action: Callable[[], None]) -> None:
    """As `leave`."""
    for _ in tickstream_client.sync.subscribe(url, proxy=None):
        action()
        break


def fail() -> None:
    """As the user's code may."""
    raise OwnError


async def test_loop_that_is_left_closes_the_connection() -> None:
    async with scripted(attend) as gateway:
        await leave(gateway.url, lambda: None)
        await asyncio.to_thread(leave_sync, gateway.url, lambda: None)
        assert len(gateway.visits) == 2
        await all_gone(gateway)


async def test_loop_whose_body_raises_closes_the_connection() -> None:
    async with scripted(attend) as gateway:
        with pytest.raises(OwnError):
            await leave(gateway.url, fail)
        with pytest.raises(OwnError):
            await asyncio.to_thread(leave_sync, gateway.url, fail)
        await all_gone(gateway)


async def test_subscription_that_is_held_goes_on_in_another_loop() -> None:
    async def twice(visit: Visit) -> None:
        await visit.first()
        await visit.update(alerts=[alert("a1")])
        await visit.stay()

    async with scripted(twice) as gateway:
        async with subscribe(gateway.url, proxy=None) as subscription:
            async for update in subscription:
                assert update.is_snapshot
                break
            async for update in subscription:
                assert [found.id for found in update.alerts] == ["a1"]
                break
        with pytest.raises(StopAsyncIteration):
            await anext(subscription)
        await all_gone(gateway)
        assert len(gateway.visits) == 1


async def test_wait_that_is_cancelled_loses_nothing() -> None:
    may_send = asyncio.Event()

    async def wait(visit: Visit) -> None:
        await visit.first()
        await may_send.wait()
        await visit.update(alerts=[alert("a1")])
        await visit.stay()

    async with scripted(wait) as gateway, subscribe(gateway.url, proxy=None) as subscription:
        await anext(subscription)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(subscription), 0.05)
        may_send.set()
        assert [found.id for found in (await anext(subscription)).alerts] == ["a1"]
        assert len(gateway.visits) == 1


async def test_back_off_that_is_cancelled_is_no_excuse_to_hurry() -> None:
    async def refuse(visit: Visit) -> None:
        await visit.close(1013, "try later; reconnect in 60 s")

    parted = asyncio.Event()
    async with scripted(refuse) as gateway, subscribe(gateway.url, proxy=None, on_status=lambda _: parted.set()) as subscription:
        waiting = asyncio.ensure_future(anext(subscription))
        await parted.wait()
        waiting.cancel()
        await asyncio.wait([waiting])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(subscription), 0.2)
        assert len(gateway.visits) == 1


async def end(subscription: Subscription, waiting: asyncio.Task[Update]) -> None:
    """Close from another task, and see the loop end."""
    await subscription.aclose()
    with pytest.raises(StopAsyncIteration):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await waiting


@pytest.mark.parametrize("has_hint", [True, False])
async def test_closing_ends_a_loop_that_waits_for_a_message_or_to_come_back(has_hint: bool) -> None:
    came = asyncio.Event()

    async def stay_or_refuse(visit: Visit) -> None:
        came.set()
        if has_hint:
            await visit.close(1013, "try later; reconnect in 30 s")
        await visit.stay()

    async with scripted(stay_or_refuse) as gateway:
        subscription = subscribe(gateway.url, proxy=None)
        waiting = asyncio.ensure_future(anext(subscription))
        await came.wait()
        await end(subscription, waiting)
        await all_gone(gateway)


async def test_refusal_is_raised_once_and_then_it_is_over() -> None:
    async def refuse(visit: Visit) -> None:
        await visit.close(4403, "forbidden")

    async with scripted(refuse) as gateway, subscribe(gateway.url, proxy=None) as subscription:
        with pytest.raises(Refused, match="forbidden, code 4403"):
            await anext(subscription)
        with pytest.raises(StopAsyncIteration):
            await anext(subscription)


def fail_as_a_disk_does(_: object) -> None:
    """As a user's callback may."""
    raise BrokenPipeError("mine")


async def test_what_a_users_function_raises_is_no_lost_connection() -> None:
    async with scripted(attend) as gateway:
        async with subscribe(gateway.url, proxy=None, on_message=fail_as_a_disk_does) as subscription:
            with pytest.raises(BrokenPipeError, match="mine"):
                await anext(subscription)
        plain = tickstream_client.sync.subscribe(gateway.url, proxy=None, on_message=fail_as_a_disk_does)
        with pytest.raises(BrokenPipeError, match="mine"):
            await asyncio.to_thread(next, plain)
        await asyncio.to_thread(plain.close)
        assert len(gateway.visits) == 2


async def test_token_may_come_from_a_coroutine_that_fails_at_first() -> None:
    failures = [ConnectionResetError("the issuer is away"), None]

    async def issue() -> str:
        if error := failures.pop(0):
            raise error
        return "a-token"

    async with scripted(attend) as gateway, subscribe(gateway.url, proxy=None, token=issue) as subscription:
        assert (await anext(subscription)).is_snapshot
        assert failures == []


async def test_token_of_a_function_that_is_wrong_is_told_to_its_author() -> None:
    async with subscribe("ws://127.0.0.1:1", proxy=None, token=lambda: "no token") as subscription:
        with pytest.raises(ValueError, match="the token must be") as raised:
            await anext(subscription)
    assert "no token" not in str(raised.value)


async def test_messages_come_compressed(market: Market, port: int) -> None:
    async with subscribe(f"ws://127.0.0.1:{port}", proxy=None) as subscription:
        await anext(subscription)
        assert subscription._connection is not None
        assert [extension.name for extension in subscription._connection.protocol.extensions] == ["permessage-deflate"]


def interrupt(url: str) -> str:
    """What a program says that follows a gateway and gets Ctrl-C."""
    with subprocess.Popen(
        [sys.executable, "-X", "dev", "-u", "-c", FOLLOW, url],
        env={"PYTHONPATH": str(CLIENT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as program:  # fmt: skip
        assert program.stdout is not None
        assert program.stdout.readline() == "updated\n"
        program.send_signal(signal.SIGINT)
        try:
            return program.communicate(timeout=PATIENCE_SECONDS)[1]
        finally:
            program.kill()


async def test_ctrl_c_ends_a_program_with_nothing_but_its_own_traceback() -> None:
    async with scripted(attend) as gateway:
        said = await asyncio.to_thread(interrupt, gateway.url)
        assert said.splitlines()[-1] == "KeyboardInterrupt"
        assert "destroyed" not in said
        assert "ResourceWarning" not in said
        await all_gone(gateway)


def test_library_stays_quiet_about_headers_whatever_the_level_of_the_program() -> None:
    assert not logging.getLogger("tickstream_client.websockets").isEnabledFor(logging.DEBUG)
