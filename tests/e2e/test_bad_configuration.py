"""A bad configuration ends a service with 2 and one line per bad variable: its name, its value (secrets hidden), what is allowed."""

from pathlib import Path

import pytest

from tests.e2e.pipeline import SERVICES, Pipeline, Service

SECRET = "hunter22"
BAD = {
    "gateway": {
        "GATEWAY_PORT": "99999",
        "GATEWAY_FLUSH_SECONDS": "-1",
        "GATEWAY_JWT_KEY": f"-----BEGIN PRIVATE KEY-----{SECRET}",
        "GATEWAY_ALLOWED_ORIGINS": "https://example.org,example.org",
        "GATEWAY_MAX_CONNECTIONS": "-1",
        "GATEWAY_MAX_CONNECTIONS_PER_IP": "few",
        "GATEWAY_TRUSTED_PROXIES": "10.0.0.0/8,10.0.0.1/8",
        "LOG_LEVEL": "loud",
        "METRICS_PORT": "70000",
        "REDIS_CLUSTER": "perhaps",
        "FAULT": "gateway.lunch:1:kill",
    },
    "api": {
        "DATABASE_URL": f"mysql://me:{SECRET}@db/x",
        "API_PORT": "0",
        "API_CORS_ORIGINS": "example.org",
        "GATEWAY_PUBLIC_URL": "gateway",
    },
    "persister": {"DATABASE_URL": f"mysql://me:{SECRET}@db/x", "PARTITIONS": "65", "LEASE_SECONDS": "soon"},
    "analyzer": {"SMA_PERIOD": "1", "REPLAY_WINDOW_SECONDS": "-1", "STREAM_CAP": "0", "FINNHUB_WS_URL": "wss://h"},
    "fetcher": {
        "SOURCE": "finnhub-stream",
        "TICKERS": "AAPL,lower",
        "SIMULATED_RATE": "100001",
        "FINNHUB_API_KEY": f"two words {SECRET}",
        "FINNHUB_BASE_URL": "finnhub",
        "MARKET_HOURS": "maybe",
        "EXCHANGE": "New York",
    },
}
HIDDEN = ("REDIS_URL", "DATABASE_URL", "FINNHUB_API_KEY", "GATEWAY_JWT_KEY")
NOT_AVAILABLE = ("FINNHUB_WS_URL", "SOURCE")


def lines_by_variable(service: Service) -> dict[str, str]:
    """What a service wrote, by the variable that each line begins with; two lines of one are a failure."""
    lines = service.text.splitlines()
    found = {line.partition("=")[0]: line for line in lines}
    assert len(found) == len(lines), service.text
    return found


@pytest.mark.parametrize("name", [*SERVICES, "api"])
async def test_each_bad_variable_is_named_once_with_its_value_and_what_is_allowed(name: str, tmp_path: Path) -> None:
    bad = {"REDIS_URL": f"http://me:{SECRET}@cache", **BAD[name]}
    async with Pipeline("redis://127.0.0.1:1", "postgresql://127.0.0.1:1/x", tmp_path, 4) as pipeline:
        service = pipeline.start(name, **bad)
        assert await service.finish() == 2
    lines = lines_by_variable(service)
    assert sorted(lines) == sorted(bad)
    for variable, line in lines.items():
        shown, _, allowed = line.removeprefix(f"{variable}=").partition(": ")
        assert shown == ("(hidden)" if variable in HIDDEN else bad[variable])
        assert allowed
        assert ("not available in this version" in allowed) == (variable in NOT_AVAILABLE)
    assert SECRET not in service.text


async def test_a_service_that_differs_from_its_deployment_names_both_values(pipeline: Pipeline) -> None:
    async with pipeline:
        await pipeline.migrate()
        services = pipeline.start_all(PARTITIONS="3", SMA_PERIOD="7")
        for service in services.values():
            assert await service.finish() == 2
    for name, service in services.items():
        errors = {line.partition("=")[0]: line for line in service.text.splitlines() if not line.startswith("{")}
        assert "PARTITIONS=4" in errors["PARTITIONS"].removeprefix("PARTITIONS=3")
        # The persister is stopped by PostgreSQL, which knows nothing of the period.
        assert name == "persister" or "SMA_PERIOD=5" in errors["SMA_PERIOD"].removeprefix("SMA_PERIOD=7")
