"""How `up` names where the metrics of its services are."""

import pytest

from services.admin.up import _metrics_urls

PORTS = [
    ([9101], "http://127.0.0.1:9101/metrics"),
    ([9101, 9102, 9103], "http://127.0.0.1:9101/metrics … 9103"),
    ([9101, 9102, 9104], "http://127.0.0.1:9101/metrics, 9102, 9104"),
]


@pytest.mark.parametrize(("ports", "said"), PORTS)
def test_ports_of_metrics_are_said_in_one_line(ports: list[int], said: str) -> None:
    assert _metrics_urls("127.0.0.1", ports) == said


@pytest.mark.parametrize(("host", "reachable"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("10.0.0.7", "10.0.0.7")])
def test_address_that_is_said_is_one_that_can_be_opened(host: str, reachable: str) -> None:
    assert _metrics_urls(host, [9101]) == f"http://{reachable}:9101/metrics"
