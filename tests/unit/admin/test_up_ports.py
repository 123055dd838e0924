"""Ports: those of the contract must be free, those of the embedded servers give way and are remembered."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.admin.embedded import find_free_port, is_port_free
from services.admin.ports import first_free, metrics_ports, remember, remembered, wanted_ports
from services.admin.scale import parse_scale
from services.admin.settings import UpSettings
from services.admin.up import find_ports
from shared.errors import ConfigurationError

LOOPBACK = "127.0.0.1"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port where something listens; the one below it is free."""
    while True:
        with socket.create_server((LOOPBACK, 0)) as listener:
            port = int(listener.getsockname()[1])
            if is_port_free(LOOPBACK, port - 1):
                yield port
                return


def test_taken_gateway_port_is_named_with_its_variable(taken: int) -> None:
    with pytest.raises(ConfigurationError, match=f"^GATEWAY_PORT={taken}: port {taken} on {LOOPBACK} is taken"):
        wanted_ports("GATEWAY", LOOPBACK, taken, 1)


def test_every_port_of_scaled_gateways_is_looked_at(taken: int) -> None:
    with pytest.raises(ConfigurationError, match=f"^GATEWAY_PORT={taken - 1}: .*{taken}"):
        wanted_ports("GATEWAY", LOOPBACK, taken - 1, 2)


def test_gateways_count_up(taken: int) -> None:
    free = first_free(taken, ())
    assert wanted_ports("GATEWAY", LOOPBACK, free, 1) == [free]


def test_ports_end_at_65535() -> None:
    with pytest.raises(ConfigurationError, match="beyond port 65535"):
        wanted_ports("GATEWAY", LOOPBACK, 65535, 2)


def test_host_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="GATEWAY_HOST"):
        wanted_ports("GATEWAY", "192.0.2.1", 8001, 1)


def test_taken_port_gives_way_to_the_next_that_nobody_wants(taken: int) -> None:
    assert first_free(taken, {taken + 1}) > taken + 1


def test_metrics_take_the_first_free_ports_that_no_gateway_has(taken: int) -> None:
    found = metrics_ports(LOOPBACK, taken - 1, [1, 1, 1], {taken + 1})
    assert found[0] == taken - 1
    assert found == sorted(set(found) - {taken, taken + 1})
    assert len(found) == 3


def test_a_process_that_needs_ports_in_a_row_is_given_the_first_row_that_is_free(taken: int) -> None:
    gateway, other = metrics_ports(LOOPBACK, taken - 1, [3, 1], {taken + 3})
    assert gateway > taken + 3
    assert other >= gateway + 3


def test_metrics_are_off_with_port_0() -> None:
    assert metrics_ports(LOOPBACK, 0, [1, 1, 1], ()) == []


@pytest.mark.parametrize(("host", "first"), [(LOOPBACK, 65535), ("192.0.2.1", 9101)])
def test_ports_for_metrics_that_cannot_be_had_are_refused_by_variable(host: str, first: int) -> None:
    with pytest.raises(ConfigurationError, match=f"^METRICS_PORT={first}: cannot listen on {host}"):
        metrics_ports(host, first, [1, 1], ())


def test_port_of_the_last_run_is_preferred(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    assert remembered(file, "redis", 16379) == 16379
    remember(file, "redis", 16380)
    remember(file, "postgresql", 15433)
    assert (remembered(file, "redis", 1), remembered(file, "postgresql", 1)) == (16380, 15433)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"redis":"x"}', '{"redis":null}', '{"redis":80}', '{"redis":70000}', "7"])
def test_damaged_memory_is_ignored(content: str, tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    file.write_text(content)
    assert remembered(file, "redis", 16379) == 16379
    remember(file, "redis", 16381)
    assert remembered(file, "redis", 16379) == 16381


def test_each_gateway_has_ports_for_the_metrics_of_its_workers() -> None:
    settings = UpSettings(
        gateway_port=first_free(find_free_port(), (), needed=2), api_port=find_free_port(), metrics_port=find_free_port(),
        gateway_workers=3, scale=parse_scale("gateway=2"),
    )  # fmt: skip
    *_, one, other, api = find_ports(settings).metrics
    assert other - one >= 4
    assert api - other >= 4
