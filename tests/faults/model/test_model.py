"""The services' own loops under random faults hold every promise; each known way to do it wrong breaks one."""

import os

import pytest

from tests.faults.model.mutations import HARMFUL, NO_TOKEN_CHECK_IN_COMMIT
from tests.faults.model.running import Failed, Mutation, run

SEEDS = range(6)
MORE_SEEDS = range(6, 16)
CAUGHT_WITHIN = range(24)
FEW_STEPS = 300
HANG_SECONDS = 900
"""Nothing but a guard: a seed takes a second where nothing else runs."""
GIVEN_SEED = os.environ.get("SEED")


@pytest.mark.parametrize("seed", [int(GIVEN_SEED)] if GIVEN_SEED else SEEDS)
def test_every_promise_holds_under_random_faults(model_redis_url: str, database_url: str, seed: int) -> None:
    run(model_redis_url, database_url, seed)


def test_a_seed_is_played_again_as_it_was_played_before(model_redis_url: str, database_url: str) -> None:
    assert run(model_redis_url, database_url, 0, steps=FEW_STEPS) == run(model_redis_url, database_url, 0, steps=FEW_STEPS)


@pytest.mark.long
@pytest.mark.timeout(HANG_SECONDS)
def test_every_promise_holds_under_many_more_random_faults(model_redis_url: str, database_url: str) -> None:
    for seed in MORE_SEEDS:
        run(model_redis_url, database_url, seed)


@pytest.mark.timeout(HANG_SECONDS)
@pytest.mark.parametrize("mutation", HARMFUL, ids=lambda mutation: mutation.name.partition(":")[0])
def test_the_oracle_objects_to_a_known_way_to_do_it_wrong(model_redis_url: str, database_url: str, mutation: Mutation) -> None:
    assert is_caught(model_redis_url, database_url, mutation)


@pytest.mark.long
@pytest.mark.timeout(HANG_SECONDS)
def test_the_cursor_check_alone_carries_the_correctness_of_a_commit(model_redis_url: str, database_url: str) -> None:
    for seed in SEEDS[:3]:
        run(model_redis_url, database_url, seed, NO_TOKEN_CHECK_IN_COMMIT)


def is_caught(redis_url: str, database_url: str, mutation: Mutation) -> bool:
    """Whether the oracle objects within seeds that pass without the mutation."""
    for seed in (mutation.first_seed, *CAUGHT_WITHIN):
        try:
            run(redis_url, database_url, seed, mutation)
        except Failed:
            return True
    return False
