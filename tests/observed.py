"""What a service shows at its METRICS_PORT, read as Prometheus and an orchestrator read it."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection
from typing import Any, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from shared.metrics import exposition, registry_of

PATIENCE_SECONDS = 10.0


class Answer(NamedTuple):
    """Status and body."""

    status: int
    body: str


def get(port: int, path: str, *, seconds: float = PATIENCE_SECONDS) -> Answer:
    """GET a path of this machine; raise `OSError` if nobody answers in time."""
    connection = HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return Answer(response.status, response.read().decode())
    finally:
        connection.close()


class Observed:
    """The three pages of a process that listens on `port`, for tests with an event loop of their own."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def get(self, path: str, *, seconds: float = PATIENCE_SECONDS) -> Answer:
        """GET a path; the loop goes on meanwhile."""
        return await asyncio.to_thread(get, self.port, path, seconds=seconds)

    async def checks(self) -> dict[str, Any]:
        """What `/readyz` says of each check: its reason, or True."""
        answer = await self.get("/readyz")
        body = json.loads(answer.body)
        assert (answer.status == 200) == (body["status"] == "ready")
        return {name: check["ok"] or check["reason"] for name, check in body["checks"].items()}

    async def is_ready(self) -> bool:
        """Whether `/readyz` answers 200; False also while nobody answers."""
        try:
            return (await self.get("/readyz")).status == 200
        except OSError:
            return False

    async def value(self, name: str, **labels: str) -> float | None:
        """A sample's value, None if it is not there."""
        return samples((await self.get("/metrics")).body).get((name, frozenset(labels.items())))

    async def total(self, name: str, **labels: str) -> float:
        """The sum of all samples of that name that have these labels."""
        return add_up((await self.get("/metrics")).body, name, labels)


def add_up(page: str, name: str, labels: Mapping[str, str]) -> float:
    """The sum of the samples of that name on a page that have these labels."""
    return sum(value for (sample, its), value in samples(page).items() if sample == name and labels.items() <= dict(its).items())


def samples(page: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of a page by name and labels; raise `ValueError` if Prometheus could not read it."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def total(service: str, name: str, **labels: str) -> float:
    """What this process itself would show of a service: the sum of the samples of that name that have these labels."""
    return add_up(exposition(registry_of(service)).decode(), name, labels)


class Gain:
    """How much a metric of this process has gained since this was made."""

    def __init__(self, service: str, name: str, **labels: str) -> None:
        self._ask = partial(total, service, name, **labels)
        self._before = self._ask()

    @property
    def value(self) -> float:
        """The gain by now."""
        return self._ask() - self._before

    async def begins(self) -> None:
        """Wait until it has gained anything; fail if it does not."""
        await self._wait(1)
        assert self.value >= 1

    async def reaches(self, wanted: float) -> None:
        """Wait until it has gained so much; fail if it does not, or if it gains more."""
        await self._wait(wanted)
        assert self.value == wanted

    async def _wait(self, wanted: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while self.value < wanted:
                    await asyncio.sleep(0.01)
