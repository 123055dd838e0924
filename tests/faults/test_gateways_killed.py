"""Gateways and workers killed in turn under many clients: each client sees every alert once and no price that goes back."""

import os
import signal
from functools import partial

import pytest

from services.admin.embedded import find_free_port
from tests.e2e.pipeline import Pipeline, Service
from tests.e2e.proof import Proof
from tests.e2e.swarming import swarming
from tests.faults.small_market import FAST

TICKS_BETWEEN = 40


async def until_more(pipeline: Pipeline, proof: Proof, ticks: int = TICKS_BETWEEN) -> None:
    """Let the market go on for so many ticks; fail if it is over then."""
    goal = await proof.count("enriched") + ticks

    async def has_come() -> bool:
        return await proof.count("enriched") >= goal

    await pipeline.until(has_come, f"{ticks} more ticks")
    assert goal < proof.expected.ticks, "the market was over before the last kill"


async def play_to_the_end(pipeline: Pipeline, proof: Proof, fetcher: Service) -> None:
    """Play the rest of the file as fast as it goes."""
    fetcher.terminate()
    assert await fetcher.finish() == 0
    fast = pipeline.start("fetcher", **FAST)
    assert await fast.finish() == 0
    await pipeline.until(proof.is_complete, "all of the file in both streams and in PostgreSQL")


def check_recovered(answers: dict[str, int]) -> None:
    """Every client that came back was told that it had missed nothing that it was not given now."""
    assert answers.get("recovered True", 0) > 0
    assert answers.get("recovered False", 0) == 0, answers


@pytest.mark.parametrize(("clients", "kills"), [(20, 2), pytest.param(500, 3, marks=pytest.mark.long)])
async def test_two_gateways_killed_in_turn_cost_no_client_an_alert(
    clients: int, kills: int, small_pipeline: Pipeline, small_proof: Proof
) -> None:
    pipeline, proof, ports = small_pipeline, small_proof, [find_free_port(), find_free_port()]
    async with pipeline, swarming(clients, ports) as swarm:
        await pipeline.migrate()
        gateways = [pipeline.start("gateway", GATEWAY_PORT=str(port)) for port in ports]
        for name in ("persister", "analyzer"):
            pipeline.start(name)
        await swarm.until_all_are_connected()
        fetcher = pipeline.start("fetcher")
        for kill in range(kills):
            await until_more(pipeline, proof)
            gateways[kill % 2].kill()
            await until_more(pipeline, proof)
            await swarm.until_all_are_connected()
            gateways[kill % 2] = pipeline.start("gateway", GATEWAY_PORT=str(ports[kill % 2]))
            await pipeline.until(gateways[kill % 2].has_said("listening"), "the gateway to listen again")
        await play_to_the_end(pipeline, proof, fetcher)
        answers = (await swarm.until_all_have(proof))["answers"]
        check_recovered(answers)
        assert answers["recovered True"] >= clients * (kills - 1)
        await pipeline.stop()
        pipeline.check_logs()


@pytest.mark.long
@pytest.mark.parametrize(("clients", "workers"), [(200, 4)])
async def test_workers_killed_one_after_the_other_cost_no_client_an_alert(
    clients: int, workers: int, small_pipeline: Pipeline, small_proof: Proof
) -> None:
    pipeline, proof = small_pipeline, small_proof
    async with pipeline, swarming(clients, [pipeline.port]) as swarm:
        await pipeline.migrate()
        gateway = pipeline.start("gateway", GATEWAY_WORKERS=str(workers))
        for name in ("persister", "analyzer"):
            pipeline.start(name)
        await pipeline.until(partial(have_begun, gateway, workers), "the workers to listen")
        await swarm.until_all_are_connected()
        fetcher = pipeline.start("fetcher")
        for number in range(1, workers + 1):
            await until_more(pipeline, proof)
            os.kill(pid_of(gateway, number), signal.SIGKILL)
            await pipeline.until(partial(have_begun, gateway, workers + number), "another worker to listen")
            await swarm.until_all_are_connected()
        await play_to_the_end(pipeline, proof, fetcher)
        check_recovered((await swarm.until_all_have(proof))["answers"])
        await pipeline.stop()
        pipeline.check_logs(("a worker ended",))


async def have_begun(gateway: Service, workers: int) -> bool:
    """Whether so many workers, over all the time, have begun to listen."""
    return len(gateway.said("listening")) >= workers


def pid_of(gateway: Service, worker: int) -> int:
    """The process that is that worker now."""
    return int([line for line in gateway.said("worker started") if line["worker"] == worker][-1]["worker_pid"])


@pytest.mark.long
async def test_a_gateway_that_goes_away_in_order_costs_nobody_an_alert(small_pipeline: Pipeline, small_proof: Proof) -> None:
    """SIGTERM under load: each client is asked to go with a hint, and comes back to the other gateway."""
    pipeline, proof, ports = small_pipeline, small_proof, [find_free_port(), find_free_port()]
    async with pipeline, swarming(20, ports) as swarm:
        await pipeline.migrate()
        leaving, _ = [pipeline.start("gateway", GATEWAY_PORT=str(port)) for port in ports]
        for name in ("persister", "analyzer"):
            pipeline.start(name)
        await swarm.until_all_are_connected()
        fetcher = pipeline.start("fetcher")
        await until_more(pipeline, proof)
        leaving.terminate()
        assert await leaving.finish(10.0) == 0
        await swarm.until_all_are_connected()
        await play_to_the_end(pipeline, proof, fetcher)
        answers = (await swarm.until_all_have(proof))["answers"]
        check_recovered(answers)
        assert answers["1001"] == answers["recovered True"]
        await pipeline.stop()
        pipeline.check_logs()
