"""The API as a process: it answers what the pipeline made, and ends as a service does."""

import json
import socket
from http.client import HTTPConnection

from services.admin.embedded import find_free_port
from tests.e2e.pipeline import Pipeline, Service
from tests.observed import Observed, get


def start(pipeline: Pipeline, port: int, **variables: str) -> Service:
    """Start an API."""
    return pipeline.start("api", API_PORT=str(port), **variables)


async def test_it_answers_what_the_pipeline_made_and_ends_with_0(pipeline: Pipeline) -> None:
    port, metrics_port = find_free_port(), find_free_port()
    async with pipeline:
        await pipeline.migrate()
        start(pipeline, port, METRICS_PORT=str(metrics_port))
        await pipeline.until(Observed(metrics_port).is_ready, "the api to be ready")
        services = pipeline.start_all()
        assert await services["fetcher"].finish() == 0

        async def has_alerts() -> bool:
            return bool(json.loads(get(port, "/api/alerts").body)["items"])

        await pipeline.until(has_alerts, "alerts in PostgreSQL")
        alert = json.loads(get(port, "/api/alerts?limit=1").body)["items"][0]
        assert alert["window"][-1] == alert["price"]
        assert alert["window"][-2] == alert["previous_price"]
        stock = json.loads(get(port, f"/api/stocks/{alert['ticker']}").body)
        assert stock["seq"] >= alert["seq"]
        assert "tickstream_api_requests_total" in get(metrics_port, "/metrics").body
        await pipeline.stop()
    pipeline.check_logs()


async def test_an_idle_client_does_not_hold_it_up(pipeline: Pipeline) -> None:
    port = find_free_port()
    async with pipeline:
        await pipeline.migrate()
        api = start(pipeline, port)
        await pipeline.until(api.has_said("listening"), "the api to listen")
        idle = HTTPConnection("127.0.0.1", port)
        idle.request("GET", "/healthz")
        assert idle.getresponse().read() == b'{"status":"ok"}'
        await pipeline.stop()
        idle.close()
    api.check_log()


async def test_a_taken_port_is_one_line_and_2(pipeline: Pipeline) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with pipeline:
            await pipeline.migrate()
            api = start(pipeline, port)
            assert await api.finish() == 2
    lines = [line for line in api.text.splitlines() if not line.startswith("{")]
    assert lines == [f"API_PORT={port}: is taken by another program; stop that one or choose another port"]


async def test_values_of_another_deployment_end_it_with_2(pipeline: Pipeline) -> None:
    async with pipeline:
        await pipeline.migrate()
        api = start(pipeline, find_free_port(), PARTITIONS="3", SMA_PERIOD="7")
        assert await api.finish() == 2
    named = sorted(line.partition(":")[0] for line in api.text.splitlines() if not line.startswith("{"))
    assert named == ["PARTITIONS=3", "SMA_PERIOD=7"]
