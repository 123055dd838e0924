"""Each service process at its METRICS_PORT: the three pages, figures that are right, and health that is honest under faults."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from services.admin.embedded import EmbeddedPostgres, EmbeddedRedis, find_free_port
from shared.metrics import DECLARED, EVERY
from shared.redis.log import BATCH_ENTRIES
from tests.e2e.conftest import PARTITIONS
from tests.e2e.pipeline import SERVICES, Pipeline, Service, until
from tests.e2e.proof import Proof
from tests.e2e.viewer import Viewer
from tests.observed import Observed

CHECKS = {
    "fetcher": {"redis", "functions", "leases"},
    "analyzer": {"redis", "functions", "leases"},
    "persister": {"redis", "functions", "leases", "postgresql", "storing"},
    "gateway": {"redis", "functions", "streams"},
}


Condition = Callable[[], Awaitable[bool]]


def start_observed(pipeline: Pipeline, *names: str, **variables: str) -> dict[str, tuple[Service, Observed]]:
    """Start services, each with a port for its metrics."""
    ports = {name: find_free_port() for name in names or SERVICES}
    return {name: (pipeline.start(name, METRICS_PORT=str(port), **variables), Observed(port)) for name, port in ports.items()}


def says(observed: Observed, **checks: str) -> Condition:
    """A condition: these checks fail for such reasons; an empty reason: they hold."""

    async def does() -> bool:
        with suppress(OSError):  # not listening yet
            found = await observed.checks()
            return all(words in str(found[name]) if words else found[name] is True for name, words in checks.items())
        return False

    return does


def shows(observed: Observed, name: str, wanted: float | None = None) -> Condition:
    """A condition: the metric has this value, or any above 0."""

    async def does() -> bool:
        with suppress(OSError):
            found = await observed.total(name)
            return found > 0 if wanted is None else found == wanted
        return False

    return does


async def test_figures_of_a_whole_run_are_those_of_the_file(pipeline: Pipeline, proof: Proof) -> None:
    async with pipeline:
        await pipeline.migrate()
        started = start_observed(pipeline, "gateway", "persister", "analyzer")
        pages = {name: observed for name, (_, observed) in started.items()}
        async with Viewer(pipeline.port) as viewer:
            pipeline.start("fetcher")
            await pipeline.until(proof.is_complete, "all of the file in both streams and in PostgreSQL")
            await viewer.until(proof.has_all_prices, "the last price of every ticker")
            await _check_figures(pages, proof)
        await until(shows(pages["gateway"], "tickstream_gateway_clients", 0), "the gateway to miss its client")
        await pipeline.stop()
        pipeline.check_logs()


async def _check_figures(pages: dict[str, Observed], proof: Proof) -> None:
    ticks = proof.expected.ticks
    alerts = sum(1 for events in proof.expected.events for event in events if event.alert)
    analyzer, persister, gateway = pages["analyzer"], pages["persister"], pages["gateway"]
    await until(shows(analyzer, "tickstream_analyzer_ticks_total", ticks), "every tick to be counted")
    assert await analyzer.total("tickstream_analyzer_alerts_total") == alerts
    assert await analyzer.total("tickstream_analyzer_batch_entries_sum") == ticks
    commits = await analyzer.total("tickstream_analyzer_commits_total", answer="OK")
    assert commits == await analyzer.total("tickstream_analyzer_commit_seconds_count") > 0
    assert await analyzer.total("tickstream_leases_held") == PARTITIONS
    assert await analyzer.total("tickstream_lease_changes_total", change="taken") == PARTITIONS
    assert await analyzer.total("tickstream_hop_seconds_count", hop="fetcher_to_analyzer") == commits
    for stream, hop in (("ticks", "fetcher_to_persister"), ("enriched", "analyzer_to_persister")):
        assert await persister.total("tickstream_persister_rows_stored_total", stream=stream) == ticks
        assert await persister.total("tickstream_hop_seconds_count", hop=hop) > 0
        assert await persister.total("tickstream_newest_entry_age_seconds", hop=hop) > 0
    assert await persister.total("tickstream_persister_transactions_total", outcome="failed") == 0
    assert await persister.total("tickstream_persister_transactions_total", outcome="stored") > 0
    for observed, lag in ((analyzer, "tickstream_analyzer_lag_entries"), (persister, "tickstream_persister_lag_entries")):
        await until(shows(observed, lag, 0), "the lag to be seen to be none")
    await until(shows(gateway, "tickstream_gateway_clients", 1), "the gateway to know of its client")
    assert await gateway.value("tickstream_gateway_subscriptions") == 1
    assert await gateway.total("tickstream_gateway_alerts_total") == alerts
    assert await gateway.value("tickstream_gateway_redis_stale") == 0
    await until(shows(gateway, "tickstream_gateway_messages_sent_total"), "messages to be counted")
    assert await gateway.total("tickstream_gateway_sent_bytes_total") > 100
    assert await gateway.total("tickstream_hop_seconds_count", hop="analyzer_to_gateway") > 0


async def test_fetcher_counts_what_it_appended(pipeline: Pipeline, proof: Proof) -> None:
    async with pipeline:
        await pipeline.migrate()
        _, observed = start_observed(pipeline, "fetcher", SOURCE="simulated", SIMULATED_RATE="2000")["fetcher"]
        await pipeline.until(shows(observed, "tickstream_fetcher_ticks_appended_total"), "ticks to be counted")
        before = await proof.count("ticks")
        counted = await observed.total("tickstream_fetcher_ticks_appended_total")
        after = await proof.count("ticks")
        # What Redis has answered is counted; a batch of each partition may be without its answer.
        assert before - BATCH_ENTRIES * PARTITIONS <= counted <= after
        assert await observed.total("tickstream_fetcher_batch_ticks_sum") >= counted
        assert await observed.total("tickstream_fetcher_appends_total", answer="OK") > 0
        await pipeline.stop()


async def test_every_service_answers_all_three_pages_and_shows_its_own_metrics(pipeline: Pipeline) -> None:
    async with pipeline:
        await pipeline.migrate()
        for name, (_, observed) in start_observed(pipeline, SOURCE="simulated").items():
            await pipeline.until(observed.is_ready, f"{name} to be ready")
            assert set(await observed.checks()) == CHECKS[name]
            assert await observed.get("/healthz") == (200, "ok\n")
            assert (await observed.get("/")).status == 404
            page = (await observed.get("/metrics")).body
            wanted = {declared.name for declared in DECLARED if declared.service in (EVERY, name)}
            assert {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE tickstream_")} == wanted


async def test_checks_tell_of_servers_that_are_away_hang_and_come_back(
    redis_server: EmbeddedRedis, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    variables = {"SOURCE": "simulated", "SIMULATED_RATE": "200"}
    async with Pipeline(redis_server.url, postgres_server.url, tmp_path, PARTITIONS, **variables) as pipeline:
        started = {name: observed for name, (_, observed) in start_observed(pipeline).items()}
        for observed in started.values():
            await pipeline.until(says(observed, redis="", functions="`tickstream migrate`"), "functions to be missed")
        await pipeline.until(says(started["persister"], postgresql="`tickstream migrate`"), "tables to be missed")
        await pipeline.until(says(started["gateway"], streams="not every partition is loaded yet"), "streams to be missed")
        await pipeline.until(says(started["analyzer"], leases="not confirmed yet"), "leases to be missed")
        await pipeline.migrate()
        await _all_ready(pipeline, started)
        os.kill(redis_server.pid, signal.SIGSTOP)
        try:
            for observed in started.values():
                await pipeline.until(says(observed, redis="no answer within 2 s"), "Redis to be missed")
            await pipeline.until(says(started["gateway"], streams="was not heard of for 2 s"), "the streams to be missed")
        finally:
            os.kill(redis_server.pid, signal.SIGCONT)
        await _all_ready(pipeline, started)
        postgres_server.kill()
        await pipeline.until(says(started["persister"], redis="", postgresql="Connect"), "PostgreSQL to be missed")
        assert await started["analyzer"].is_ready()
        await asyncio.to_thread(postgres_server.start)
        await _all_ready(pipeline, started)
        await pipeline.stop()


async def _all_ready(pipeline: Pipeline, started: dict[str, Observed]) -> None:
    for name, observed in started.items():
        await pipeline.until(observed.is_ready, f"{name} to be ready")
        assert set(await observed.checks()) == CHECKS[name]


async def test_paused_service_does_not_answer_and_is_well_soon_after(pipeline: Pipeline) -> None:
    async with pipeline:
        await pipeline.migrate()
        service, observed = start_observed(pipeline, "analyzer")["analyzer"]
        await pipeline.until(observed.is_ready, "the analyzer to be ready")
        service.pause()

        async def is_silent() -> bool:
            with suppress(TimeoutError):
                await observed.get("/healthz", seconds=0.5)
                return False
            return True

        await pipeline.until(is_silent, "the analyzer to stand still")
        service.go_on()
        await pipeline.until(observed.is_ready, "the analyzer to be ready again")
        assert (await observed.get("/healthz")).status == 200
        await pipeline.stop()


async def test_stand_by_is_ready(pipeline: Pipeline) -> None:
    async with pipeline:
        await pipeline.migrate()
        _, holder = start_observed(pipeline, "analyzer")["analyzer"]
        await pipeline.until(shows(holder, "tickstream_leases_held", PARTITIONS), "the first to hold everything")
        _, stand_by = start_observed(pipeline, "analyzer")["analyzer"]
        await pipeline.until(stand_by.is_ready, "the second to be ready")
        assert await stand_by.total("tickstream_leases_held") == 0
        await pipeline.stop()


async def test_stopping_service_says_so_until_its_end(redis_server: EmbeddedRedis, database_url: str, tmp_path: Path) -> None:
    async with Pipeline(redis_server.url, database_url, tmp_path, PARTITIONS) as pipeline:
        await pipeline.migrate()
        service, observed = start_observed(pipeline, "analyzer")["analyzer"]
        await pipeline.until(observed.is_ready, "the analyzer to be ready")
        os.kill(redis_server.pid, signal.SIGSTOP)  # draining waits for Redis
        try:
            service.terminate()
            await pipeline.until(service.has_said("stopping"), "the analyzer to stop")
            answer = await observed.get("/readyz")
        finally:
            os.kill(redis_server.pid, signal.SIGCONT)
        assert answer.status == 503
        assert '"status": "stopping"' in answer.body
        assert await service.finish() == 0


@pytest.mark.parametrize("name", SERVICES)
async def test_taken_port_ends_the_service_with_2_and_names_the_variable(name: str, pipeline: Pipeline) -> None:
    async with pipeline:
        port = find_free_port()
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
        async with server:
            service = pipeline.start(name, METRICS_PORT=str(port))
            assert await service.finish() == 2
        lines = [line for line in service.text.splitlines() if not line.startswith("{")]
        assert lines == [f"METRICS_PORT={port}: is taken by another program; stop that one or choose another port"]


async def test_migration_opens_no_port(pipeline: Pipeline) -> None:
    async with pipeline:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port := find_free_port())
        async with server:
            migration = pipeline.run("migrate", "services.admin", "migrate", METRICS_PORT=str(port))
            assert await migration.finish() == 0
