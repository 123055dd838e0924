"""A start imports what the service needs and no more, and leaves nothing of it to the garbage collector."""

import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

from tests.architecture.deployment import CHECKOUT

SERVICES = ("fetcher", "analyzer", "persister", "gateway", "api")
STARTED = """
import atexit, gc, json, runpy, sys
def tell():
    print(json.dumps({"modules": sorted(sys.modules), "frozen": gc.get_freeze_count(), "others": len(gc.get_objects())}))
atexit.register(tell)
runpy.run_module("services." + sys.argv.pop(), run_name="__main__", alter_sys=True)
"""
NEEDED_BY = {
    "rich": (),
    "pygments": (),
    "pandas": (),
    "httpx": (),
    "exchange_calendars": (),
    "jwt": (),
    "cryptography.hazmat": (),
    "typer": (),
    "tickstream_client": (),
    "asyncpg": ("persister", "api"),
    "websockets": ("gateway",),
    "fastapi": ("api",),
    "uvicorn": ("api",),
}
"""Modules that take time and memory, and the services that need them at any start."""


@cache
def started(service: str) -> dict[str, Any]:
    """What a service that was just started and refuses its environment, since it is empty, has in memory."""
    environment = {"PYTHONPATH": str(CHECKOUT), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", STARTED, service]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2, ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


@pytest.mark.parametrize("service", SERVICES)
def test_service_imports_the_heavy_packages_that_it_needs_and_no_others(service: str) -> None:
    found = set(started(service)["modules"])
    assert found & NEEDED_BY.keys() == {package for package, services in NEEDED_BY.items() if service in services}


@pytest.mark.parametrize("service", SERVICES)
def test_service_imports_nothing_of_others_and_nothing_that_is_for_tests(service: str) -> None:
    modules = started(service)["modules"]
    ours = {module.split(".")[1] for module in modules if module.startswith("services.")}
    assert ours - {"__main__"} == {service}
    assert [module for module in modules if module.startswith(("shared.contract", "shared.testing"))] == []


@pytest.mark.parametrize("service", SERVICES)
def test_what_was_imported_is_out_of_sight_of_the_garbage_collector(service: str) -> None:
    told = started(service)
    assert told["frozen"] > 10 * told["others"]
