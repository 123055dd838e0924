"""Services that die (kill -9) in mid-run, at random moments: nothing is lost, nothing is doubled."""

import pytest

from tests.e2e.market_data import SPAN_SECONDS
from tests.e2e.pipeline import Pipeline, Service, random_moments
from tests.e2e.playing import moments, run_to_the_end, run_until
from tests.e2e.proof import Proof
from tests.e2e.viewer import Viewer

KILLS = 2


@pytest.mark.parametrize("name", ["fetcher", "analyzer", "persister"])
async def test_a_service_killed_again_and_again_loses_and_doubles_nothing(name: str, pipeline: Pipeline, proof: Proof) -> None:
    chance = random_moments(name)
    async with pipeline:
        await pipeline.migrate()
        running = {other: pipeline.start(other) for other in ("gateway", "persister", "analyzer")}
        async with Viewer(pipeline.port) as viewer:
            running["fetcher"] = pipeline.start("fetcher")
            for number, moment in enumerate(moments(chance, proof.expected.ticks, KILLS)):
                # On a machine that is busy elsewhere the last ones may come late.
                assert await run_until(pipeline, proof, name, moment) or number > 0
                running[name].kill()
                running[name] = pipeline.start(name)
            assert await running["fetcher"].finish() == 0
            await run_to_the_end(pipeline, proof, viewer)
    await proof.check_all()
    proof.check_prices(viewer.book.stocks.values())
    await proof.check_alerts_seen(viewer.book)


async def test_a_gateway_killed_again_and_again_shows_no_price_that_goes_back_and_no_alert_that_was_none(
    pipeline: Pipeline, proof: Proof
) -> None:
    chance = random_moments("gateway")
    async with pipeline:
        await pipeline.migrate()
        gateway, *_ = [pipeline.start(name) for name in ("gateway", "persister", "analyzer")]
        async with Viewer(pipeline.port) as viewer:
            fetcher = pipeline.start("fetcher", REPLAY_SPEED=str(SPAN_SECONDS / 2))
            for number, moment in enumerate(moments(chance, proof.expected.ticks, KILLS), start=1):
                assert await run_until(pipeline, proof, "gateway", moment)
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
    await proof.check_alerts_seen(viewer.book, all_of_them=False)


async def test_of_two_of_each_the_other_one_goes_on(pipeline: Pipeline, proof: Proof) -> None:
    chance = random_moments("two of each")
    async with pipeline:
        await pipeline.migrate()
        pipeline.start("gateway")
        async with Viewer(pipeline.port) as viewer:
            pairs = {name: [pipeline.start(name), pipeline.start(name)] for name in ("persister", "analyzer", "fetcher")}
            in_turn = ("fetcher", "analyzer", "persister")
            # What is killed later needs ticks that were fetched before.
            for name, moment in zip(in_turn, moments(chance, proof.expected.ticks, len(in_turn)), strict=True):
                assert await run_until(pipeline, proof, name, moment) or name != in_turn[0]
                busiest = max(pairs[name], key=leases_taken)
                busiest.kill()
                pairs[name].remove(busiest)
            assert await pairs["fetcher"][0].finish() == 0
            await run_to_the_end(pipeline, proof, viewer)
    await proof.check_all()
    proof.check_prices(viewer.book.stocks.values())
    await proof.check_alerts_seen(viewer.book)
    assert all(leases_taken(service) == proof.expected.partitions for (service,) in pairs.values())


def leases_taken(service: Service) -> int:
    """How many partitions a service has ever held."""
    return len({line["partition"] for line in service.said("lease taken")})
