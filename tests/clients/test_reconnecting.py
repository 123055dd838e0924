"""A connection that ends: when the client comes back, where, with what, and when it does not."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from tests.clients.conftest import PYTHON_CLIENTS
from tests.clients.scripted import Scripted, Visit, scripted
from tests.clients.subscriber import Subscribe, refused, until
from tests.e2e.pipeline import Pipeline
from tests.integration.gateway.conftest import running_gateway
from tests.integration.gateway.market import PERIOD, Market
from tests.observed import Gain

HINT_SECONDS = 0.7


@pytest.fixture
async def gateways(market: Market, redis_url: str, tmp_path: Path) -> AsyncIterator[Pipeline]:
    """A gateway process on the market; it can be killed and started again."""
    async with Pipeline(redis_url, "", tmp_path, market.partitions, SMA_PERIOD=str(PERIOD)) as pipeline:
        await start_gateway(pipeline)
        yield pipeline


async def start_gateway(pipeline: Pipeline) -> None:
    gateway = pipeline.start("gateway")
    await pipeline.until(gateway.has_said("listening"), "a gateway that listens")


async def test_killed_gateway_costs_no_alert_and_none_is_given_twice(subscribe: Subscribe, market: Market, gateways: Pipeline) -> None:
    await market.trade("AAPL", "10", "9")
    async with subscribe(f"ws://127.0.0.1:{gateways.port}") as subscriber:
        await until(subscriber, lambda seen: seen.updates, "the snapshot")
        await market.trade("AAPL", "11")
        await until(subscriber, lambda seen: len(seen.alerts) == 1, "the first alert")
        gateways.started[-1].kill()
        await until(subscriber, lambda seen: seen.states == [True, False], "the end of the connection")
        await market.trade("AAPL", "8", "12", "7")
        await start_gateway(gateways)
        await until(subscriber, lambda seen: len(seen.alerts) == 4, "the alerts of meanwhile")
        await market.trade("AAPL", "13")
        await until(subscriber, lambda seen: len(seen.alerts) == 5, "one more")
    assert [alert.seq for alert in subscriber.seen.alerts] == [3, 4, 5, 6, 7]
    assert not subscriber.seen.gaps


async def test_next_gateway_is_asked_when_one_is_killed(subscribe: Subscribe, market: Market, gateways: Pipeline, redis_url: str) -> None:
    await market.trade("AAPL", "10", "9")
    async with running_gateway(redis_url) as other:
        urls = [f"ws://127.0.0.1:{port}" for port in (gateways.port, other)]
        async with subscribe(urls) as subscriber:
            await until(subscriber, lambda seen: seen.updates, "the snapshot")
            gateways.started[-1].kill()
            await market.trade("AAPL", "11")
            await until(subscriber, lambda seen: seen.alerts, "the alert of meanwhile")
    assert [alert.seq for alert in subscriber.seen.alerts] == [3]
    assert not subscriber.seen.gaps


async def test_client_that_found_no_place_comes_in_when_there_is_one(subscribe: Subscribe, market: Market, redis_url: str) -> None:
    refusals = Gain("gateway", "tickstream_gateway_refused_total", reason="full")
    async with running_gateway(redis_url, gateway_max_connections=1) as port, AsyncExitStack() as second:
        url = f"ws://127.0.0.1:{port}"
        async with subscribe(url) as first:
            await until(first, lambda seen: seen.updates, "the snapshot")
            subscriber = await second.enter_async_context(subscribe(url))
            await refusals.begins()
        await until(subscriber, lambda seen: seen.updates, "the snapshot, later")


async def restarting(code: int, text: str, visit: Visit) -> None:
    """Close the first visit, and stay with the second."""
    await visit.first()
    if visit.number == 1:
        await visit.close(code, text)
    await visit.stay()


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013, 4408, 4429])
async def test_after_these_codes_it_comes_back_with_its_cursor(subscribe: Subscribe, code: int) -> None:
    async def attend(visit: Visit) -> None:
        await restarting(code, "some reason; reconnect in 0.1 s", visit)

    async with scripted(attend) as gateway, subscribe(gateway.url) as subscriber:
        await until(subscriber, lambda seen: seen.connections == 2, "a second connection")
    assert [visit.since for visit in gateway.visits] == ["", "a-cursor"]
    assert subscriber.seen.states[:3] == [True, False, True]


async def test_hint_of_the_gateway_is_waited_for(subscribe: Subscribe) -> None:
    async def attend(visit: Visit) -> None:
        await restarting(1001, f"going away; reconnect in {HINT_SECONDS} s", visit)

    async with scripted(attend) as gateway, subscribe(gateway.url) as subscriber:
        await until(subscriber, lambda seen: seen.connections == 2, "a second connection")
    assert waits(gateway)[0] >= HINT_SECONDS


def waits(gateway: Scripted) -> list[float]:
    """Seconds between the beginnings of connections."""
    began = [visit.began for visit in gateway.visits]
    return [later - earlier for earlier, later in pairwise(began)]


@pytest.mark.parametrize("code", [1002, 1007, 1009, 4400, 4401, 4403])
async def test_after_these_codes_it_never_comes_back(subscribe: Subscribe, code: int) -> None:
    async def refuse(visit: Visit) -> None:
        await visit.close(code, "some reason")

    async with scripted(refuse) as gateway, subscribe(gateway.url) as subscriber:
        await refused(subscriber, code)
    assert len(gateway.visits) == 1


async def test_what_is_no_gateway_is_left_alone(subscribe: Subscribe) -> None:
    async def chat(visit: Visit) -> None:
        await visit.send(hello="you")
        await visit.stay()

    async with scripted(chat) as gateway, subscribe(gateway.url) as subscriber:
        await refused(subscriber, None)
    assert len(gateway.visits) == 1


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python clients look after their gateway sooner than users want it."""
    monkeypatch.setattr("tickstream_client.session.QUIET_SECONDS", 0.1)
    monkeypatch.setattr("tickstream_client.session.ANSWER_SECONDS", 1.0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("subscribe", PYTHON_CLIENTS, indirect=True)
async def test_gateway_that_does_not_answer_a_ping_is_given_up(subscribe: Subscribe) -> None:
    async def attend(visit: Visit) -> None:
        await visit.first()
        if visit.number == 1:
            visit.fall_silent()
        await visit.stay()

    async with scripted(attend) as gateway, subscribe(gateway.url) as subscriber:
        await until(subscriber, lambda seen: seen.connections == 2, "a second connection")
    assert subscriber.seen.states[:3] == [True, False, True]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("subscribe", PYTHON_CLIENTS, indirect=True)
async def test_gateway_that_has_nothing_to_say_but_answers_is_kept(subscribe: Subscribe) -> None:
    pings: list[float] = []

    async def attend(visit: Visit) -> None:
        await visit.first()
        visit.on_ping(lambda: pings.append(visit.began))
        await visit.stay()

    async with scripted(attend) as gateway, subscribe(gateway.url) as subscriber:
        await until(subscriber, lambda _: len(pings) >= 2, "that it was asked again and again")
    assert len(gateway.visits) == 1
