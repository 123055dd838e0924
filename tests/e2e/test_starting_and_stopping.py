"""Services start in any order and wait for their servers; a signal ends them in order, a second one at once."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from services.admin.embedded import EmbeddedPostgres, EmbeddedRedis
from shared.redis.client import connect
from tests.e2e.conftest import PARTITIONS
from tests.e2e.market_data import SPAN_SECONDS, outcome
from tests.e2e.pipeline import SERVICES, STOP_SECONDS, FreshPipeline, random_moments
from tests.e2e.playing import moments, run_to_the_end, run_until
from tests.e2e.proof import Proof
from tests.e2e.viewer import Viewer

AT_ONCE_SECONDS = 4.0
PACE = {"REPLAY_SPEED": str(SPAN_SECONDS / 3)}
"""Three seconds for all of the file: a busy machine might be done with it between two looks."""


async def test_services_wait_for_servers_that_are_away_and_say_so_once(
    redis_server: EmbeddedRedis, postgres_server: EmbeddedPostgres, replay_file: Path, tmp_path: Path
) -> None:
    redis_server.kill()
    postgres_server.kill()
    variables = {"SOURCE": "replay", "REPLAY_FILE": str(replay_file)}
    async with FreshPipeline(redis_server.url, postgres_server.url, tmp_path, PARTITIONS, **variables) as pipeline:
        services = pipeline.start_all()
        migration = pipeline.run("migrate", "services.admin", "migrate")
        for service in (*services.values(), migration):
            await pipeline.until(service.has_said("waiting"), f"{service.name} to say that it waits")
        await asyncio.to_thread(redis_server.start)
        await asyncio.to_thread(postgres_server.start)
        async with Viewer(pipeline.port) as viewer, connect(redis_server.url, service="tests") as redis:
            proof = Proof(redis, postgres_server.url, outcome(PARTITIONS))
            assert await migration.finish() == 0
            assert await services["fetcher"].finish() == 0
            await run_to_the_end(pipeline, proof, viewer)
            await proof.check_all(incarnations=1)
        waited_for = {name: [line["what"] for line in service.said("waiting")] for name, service in services.items()}
    # By the time the persister has its PostgreSQL, Redis may be ready or not.
    assert waited_for.pop("persister") in (["postgresql"], ["postgresql", "redis"])
    assert waited_for == {"gateway": ["redis"], "analyzer": ["redis"], "fetcher": ["redis"]}


async def test_sigterm_in_mid_run_ends_each_service_with_0_and_the_next_one_goes_on(pipeline: FreshPipeline, proof: Proof) -> None:
    async with pipeline:
        await pipeline.migrate()
        running = {name: pipeline.start(name) for name in ("gateway", "persister", "analyzer")}
        async with Viewer(pipeline.port) as viewer:
            running["fetcher"] = pipeline.start("fetcher", **PACE)
            in_turn = ("fetcher", "analyzer", "gateway", "persister")
            for name, moment in zip(in_turn, moments(random_moments("sigterm"), proof.expected.ticks, len(in_turn)), strict=True):
                assert await run_until(pipeline, proof, name, moment) or name != in_turn[0]
                await pipeline.until(running[name].heeds_signals, f"{name} to have started")
                running[name].terminate()
                assert await running[name].finish(STOP_SECONDS) == 0
                running[name] = pipeline.start(name, **(PACE if name == "fetcher" else {}))
            assert await running["fetcher"].finish() == 0
            await run_to_the_end(pipeline, proof, viewer)
        # What was given back had not to be taken over.
        assert not [line for service in running.values() for line in service.said("lease taken") if "former" in line]
    await proof.check_all()
    await proof.check_alerts_seen(viewer.book)


@asynccontextmanager
async def hung(server: EmbeddedRedis) -> AsyncIterator[None]:
    """Redis keeps its connections and answers nothing."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@pytest.mark.long
async def test_a_hung_redis_holds_no_service_up_and_a_second_signal_ends_it_at_once(
    redis_server: EmbeddedRedis, database_url: str, tmp_path: Path
) -> None:
    async with FreshPipeline(redis_server.url, database_url, tmp_path, PARTITIONS, SOURCE="simulated", SIMULATED_RATE="2000") as pipeline:
        await pipeline.migrate()
        patient, hasty = pipeline.start_all(), {name: pipeline.start(name) for name in SERVICES if name != "gateway"}
        for service in pipeline.started:
            await pipeline.until(service.heeds_signals, f"{service.name} to have started")
        async with Viewer(pipeline.port) as viewer:
            await viewer.until(lambda book: len(book.stocks) == 15, "a price of every ticker")
            async with hung(redis_server):
                started = time.monotonic()
                for service in (*patient.values(), *hasty.values()):
                    service.terminate()
                for service in hasty.values():
                    await pipeline.until(service.has_said("stopping"), f"{service.name} to have had the signal")
                    service.terminate()
                for service in hasty.values():
                    await service.finish(AT_ONCE_SECONDS)
                for service in patient.values():
                    assert await service.finish(STOP_SECONDS - (time.monotonic() - started)) == 0
        pipeline.check_logs(errors_allowed=("not drained within the grace, cancelling",))
