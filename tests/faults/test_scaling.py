"""Services that are asked to end, and numbers of them that change, while prices flow."""

import pytest

from tests.e2e.pipeline import Pipeline, Service
from tests.e2e.proof import Proof
from tests.faults.tail import Tail
from tests.faults.walk import LEASED, Walk, end, leases_of, playing_slowly, walk_together

pytestmark = pytest.mark.timeout(300)
"""A hang guard only: every step starts processes, for which a busy machine has little time."""

SCALED = ("analyzer", "persister")
MOST = 4


async def test_a_second_signal_ends_at_once_what_cannot_drain(small_pipeline: Pipeline, small_proof: Proof) -> None:
    await walk_together(LEASED, small_pipeline, small_proof, Walk.insist)


@pytest.mark.parametrize(
    ("changes", "ticks"), [pytest.param(2, 60, id="once"), pytest.param(8, 90, id="for half a minute", marks=pytest.mark.long)]
)
async def test_from_one_to_four_and_back_nothing_is_lost_and_every_reader_sees_the_same(
    changes: int, ticks: int, redis_url: str, small_pipeline: Pipeline, small_proof: Proof
) -> None:
    async with Tail(redis_url, small_proof.expected.partitions) as tail:
        async with playing_slowly(small_pipeline, small_proof) as (running, _):
            crowds = {name: [running[name]] for name in SCALED}
            for change in range(changes):
                for name, crowd in crowds.items():
                    await scale(small_pipeline, name, crowd, 1 if change % 2 else MOST)
                await flow(small_pipeline, small_proof, crowds, ticks)
        await tail.check(small_proof.redis)


async def scale(pipeline: Pipeline, name: str, crowd: list[Service], count: int) -> None:
    """Start more of a service, or end those that have been there for longest."""
    while len(crowd) < count:
        crowd.append(pipeline.start(name))
    for service in crowd[:-count]:
        await end(service)
    del crowd[:-count]


async def flow(pipeline: Pipeline, proof: Proof, crowds: dict[str, list[Service]], ticks: int) -> None:
    """Let so many more ticks be analyzed and stored, by whoever holds every partition."""
    analyzed, stored = await proof.count("enriched"), await proof.passed("enriched", "persister")

    async def has_flowed() -> bool:
        return await proof.count("enriched") >= analyzed + ticks and await proof.passed("enriched", "persister") >= stored + ticks

    async def are_all_held() -> bool:
        held = [sum([await leases_of(service, proof) for service in crowd]) for crowd in crowds.values()]
        return all(count == proof.expected.partitions for count in held)

    await pipeline.until(are_all_held, "every partition to be held")
    await pipeline.until(has_flowed, f"{ticks} more ticks")
