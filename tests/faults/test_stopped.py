"""Processes that stand still for longer than their lease (SIGSTOP) and then go on, behind others that took over."""

from collections.abc import Iterator

import pytest

from shared.crash_points import CrashPoint, Kind
from tests.e2e.pipeline import SERVICES, Pipeline, random_moments
from tests.e2e.proof import Proof
from tests.faults.walk import LEASED, points_of, walking

pytestmark = pytest.mark.timeout(300)
"""A hang guard only: every step starts processes, for which a busy machine has little time."""

BETWEEN_READ_AND_WRITE = {
    "fetcher": CrashPoint.FETCHER_BATCH_FROZEN,
    "analyzer": CrashPoint.ANALYZER_BEFORE_COMMIT,
    "persister": CrashPoint.PERSISTER_CURSOR_MOVED,
    "gateway": CrashPoint.GATEWAY_BATCH_READ,
}
STOPS = 3
MOST_TICKS = 20


@pytest.mark.parametrize(
    "name", ["analyzer", "persister", pytest.param("fetcher", marks=pytest.mark.long), pytest.param("gateway", marks=pytest.mark.long)]
)
async def test_a_process_stopped_between_read_and_write_does_no_harm_when_it_goes_on(
    name: str, small_pipeline: Pipeline, small_proof: Proof
) -> None:
    async with walking(name, small_pipeline, small_proof) as walk:
        await walk.step(BETWEEN_READ_AND_WRITE[name], 1, Kind.STOP)


def walks() -> Iterator[object]:
    """Both hits and every service."""
    for hit in (1, 3):
        for name in SERVICES:
            yield pytest.param(hit, name, id=f"{hit}-{name}")


@pytest.mark.long
@pytest.mark.parametrize(("hit", "name"), list(walks()))
async def test_a_process_stopped_at_every_crash_point_does_no_harm_when_it_goes_on(
    hit: int, name: str, small_pipeline: Pipeline, small_proof: Proof
) -> None:
    async with walking(name, small_pipeline, small_proof) as walk:
        for point in points_of(name):
            await walk.step(point, hit, Kind.STOP)


@pytest.mark.long
@pytest.mark.parametrize("name", LEASED)
async def test_a_process_stopped_anywhere_does_no_harm_when_it_goes_on(name: str, small_pipeline: Pipeline, small_proof: Proof) -> None:
    chance = random_moments(name)
    async with walking(name, small_pipeline, small_proof) as walk:
        for _ in range(STOPS):
            await walk.stop_anywhere(chance.randint(1, MOST_TICKS))


@pytest.mark.long
async def test_a_persister_that_stays_stopped_in_its_transaction_does_not_hold_up_its_successor(
    small_pipeline: Pipeline, small_proof: Proof
) -> None:
    async with walking("persister", small_pipeline, small_proof) as walk:
        await walk.stop_for_ever(CrashPoint.PERSISTER_CURSOR_MOVED)
