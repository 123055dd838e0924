"""Processes that stand still for longer than their lease (SIGSTOP) and then go on, behind others that took over."""

import pytest

from shared.crash_points import CrashPoint, Kind
from tests.e2e.pipeline import SERVICES, Pipeline, random_moments
from tests.e2e.proof import Proof
from tests.faults.walk import LEASED, Walk, walk_together

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


async def test_processes_stopped_between_read_and_write_do_no_harm_when_they_go_on(small_pipeline: Pipeline, small_proof: Proof) -> None:
    await walk_together(SERVICES, small_pipeline, small_proof, lambda walk: walk.step(BETWEEN_READ_AND_WRITE[walk.name], 1, Kind.STOP))


@pytest.mark.long
async def test_processes_stopped_at_every_crash_point_do_no_harm_when_they_go_on(small_pipeline: Pipeline, small_proof: Proof) -> None:
    # The first hit is walked with tasks that come late (`delay`), which are as late as whole processes to everybody else.
    await walk_together(SERVICES, small_pipeline, small_proof, lambda walk: walk.steps(3, Kind.STOP))


@pytest.mark.long
async def test_processes_stopped_anywhere_do_no_harm_when_they_go_on(small_pipeline: Pipeline, small_proof: Proof) -> None:
    async def stop_again_and_again(walk: Walk) -> None:
        chance = random_moments(walk.name)
        for _ in range(STOPS):
            await walk.stop_anywhere(chance.randint(1, MOST_TICKS))

    await walk_together(LEASED, small_pipeline, small_proof, stop_again_and_again)


@pytest.mark.long
async def test_a_persister_that_stays_stopped_in_its_transaction_does_not_hold_up_its_successor(
    small_pipeline: Pipeline, small_proof: Proof
) -> None:
    await walk_together(["persister"], small_pipeline, small_proof, lambda walk: walk.stop_for_ever(CrashPoint.PERSISTER_CURSOR_MOVED))
