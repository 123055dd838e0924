"""Services that die (kill -9) in mid-run, at random moments: nothing is lost, nothing is doubled.

`make test` kills each of them at every crash point instead, and two gateways in turn (`tests/faults`).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from shared import streams
from tests.e2e.market_data import SPAN_SECONDS
from tests.e2e.pipeline import Pipeline, Service, random_moments
from tests.e2e.playing import moments, run_to_the_end, run_until
from tests.e2e.proof import Proof
from tests.e2e.viewer import Viewer

pytestmark = pytest.mark.long

KILLS = 2
PACE = str(SPAN_SECONDS / 3)
"""Three seconds for all of the file: a busy machine might be done with it between two looks."""


@pytest.mark.parametrize("name", ["fetcher", "analyzer", "persister"])
async def test_a_service_killed_again_and_again_loses_and_doubles_nothing(name: str, pipeline: Pipeline, proof: Proof) -> None:
    chance = random_moments(name)
    async with pipeline:
        await pipeline.migrate()
        running = {other: pipeline.start(other) for other in ("gateway", "persister", "analyzer")}
        async with Viewer(pipeline.port) as viewer:
            running["fetcher"] = pipeline.start("fetcher", REPLAY_SPEED=PACE)
            for number, moment in enumerate(moments(chance, proof.expected.ticks, KILLS)):
                # On a machine that is busy elsewhere the last ones may come late.
                assert await run_until(pipeline, proof, name, moment) or number > 0
                running[name].kill()
                running[name] = pipeline.start(name, **({"REPLAY_SPEED": PACE} if name == "fetcher" else {}))
            assert await running["fetcher"].finish() == 0
            await run_to_the_end(pipeline, proof, viewer)
    await proof.check_all()
    proof.check_prices(viewer.book.stocks.values())
    await proof.check_alerts_seen(viewer.book)


async def test_a_gateway_killed_again_and_again_shows_no_price_that_goes_back_and_every_alert_once(
    pipeline: Pipeline, proof: Proof
) -> None:
    chance = random_moments("gateway")
    async with pipeline:
        await pipeline.migrate()
        gateway, *_ = [pipeline.start(name) for name in ("gateway", "persister", "analyzer")]
        async with Viewer(pipeline.port) as viewer:
            fetcher = pipeline.start("fetcher", REPLAY_SPEED=PACE)
            for number, moment in enumerate(moments(chance, proof.expected.ticks, KILLS), start=1):
                # On a machine that is busy elsewhere the last one may come late.
                assert await run_until(pipeline, proof, "gateway", moment) or number > 1
                gateway.kill()
                # Viewers are to come back in mid-run, too.
                fetcher.pause()
                gateway = pipeline.start("gateway")
                await viewer.until_connected(number + 1)
                fetcher.go_on()
            assert await fetcher.finish() == 0
            await run_to_the_end(pipeline, proof, viewer)
    await proof.check_all()
    proof.check_prices(viewer.book.stocks.values())
    await proof.check_alerts_seen(viewer.book)


async def test_of_two_of_each_one_killed_is_replaced_by_the_other(pipeline: Pipeline, proof: Proof) -> None:
    async with playing_in_pairs(pipeline, proof) as pairs:
        async for name in mid_run_of_each(pipeline, proof, "killed"):
            busiest = await busiest_of(pairs[name], proof)
            busiest.kill()
            pairs[name].remove(busiest)


async def test_of_two_of_each_one_paused_beyond_its_lease_does_no_harm_when_it_goes_on(pipeline: Pipeline, proof: Proof) -> None:
    async with playing_in_pairs(pipeline, proof) as pairs:
        async for name in mid_run_of_each(pipeline, proof, "paused"):
            busiest = await busiest_of(pairs[name], proof)
            busiest.pause()
            await pipeline.until(partial(has_lost_a_lease, busiest, await leases_of(busiest, proof), proof), f"a {name} to be replaced")
            busiest.go_on()


async def leases_of(service: Service, proof: Proof) -> int:
    """How many partitions a service holds."""
    owners = [await proof.redis.hget(streams.lease(service.name, p), "owner") for p in range(proof.expected.partitions)]
    return sum(f":{service.process.pid}:" in str(owner) for owner in owners)


async def busiest_of(services: list[Service], proof: Proof) -> Service:
    """The one that holds the most partitions."""
    return max([(await leases_of(service, proof), number, service) for number, service in enumerate(services)])[-1]


async def has_lost_a_lease(service: Service, held: int, proof: Proof) -> bool:
    """Whether it holds fewer partitions than it held."""
    return await leases_of(service, proof) < held


@asynccontextmanager
async def playing_in_pairs(pipeline: Pipeline, proof: Proof) -> AsyncIterator[dict[str, list[Service]]]:
    """Two of each service at work while the body runs; then all must be as if nothing had happened."""
    async with pipeline:
        await pipeline.migrate()
        pipeline.start("gateway")
        pairs = {name: [pipeline.start(name), pipeline.start(name)] for name in ("persister", "analyzer")}
        async with Viewer(pipeline.port) as viewer:
            # Slow enough for a test to find one that still holds a lease, wherever in the run it looks.
            pairs["fetcher"] = [pipeline.start("fetcher", REPLAY_SPEED=str(SPAN_SECONDS / 4)) for _ in range(2)]
            yield pairs
            for fetcher in pairs["fetcher"]:
                assert await fetcher.finish() == 0
            await run_to_the_end(pipeline, proof, viewer)
    await proof.check_all()
    proof.check_prices(viewer.book.stocks.values())
    await proof.check_alerts_seen(viewer.book)


async def mid_run_of_each(pipeline: Pipeline, proof: Proof, what: str) -> AsyncIterator[str]:
    """Let the pipeline run, and name one service after the other when it is in mid-run."""
    # What comes later needs ticks that were fetched before.
    in_turn = ("fetcher", "analyzer", "persister")
    for name, moment in zip(in_turn, moments(random_moments(what), proof.expected.ticks, len(in_turn)), strict=True):
        assert await run_until(pipeline, proof, name, moment) or name != in_turn[0]
        yield name
