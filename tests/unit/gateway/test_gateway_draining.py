"""Parting with clients: at a rate, all of them well within the grace, and back again spread over time."""

import pytest

from services.gateway.close_codes import LAST_HINT_SECONDS
from services.gateway.draining import LEAST_PER_SECOND, MOST_SECONDS, RETURNS_PER_SECOND, Draining
from shared.runtime import GRACE_SECONDS


@pytest.mark.parametrize("clients", [1, 5, 399, 400, 401, 10_000, 100_000])
def test_all_are_asked_to_go_in_time_and_never_all_at_once(clients: int) -> None:
    draining = Draining(clients, began=100.0)
    assert draining.due(100.0) == 1
    assert draining.due(100.0 + MOST_SECONDS) >= clients
    assert draining.due(100.0 + MOST_SECONDS / 2) <= 1 + max(clients / 2, LEAST_PER_SECOND * MOST_SECONDS / 2)


def test_a_few_take_no_time() -> None:
    assert Draining(20, began=0.0).due(0.2) >= 20


def test_the_last_is_asked_long_before_the_grace_ends() -> None:
    assert MOST_SECONDS <= GRACE_SECONDS / 2


def test_a_crowd_is_asked_to_come_back_over_a_longer_time_and_a_few_soon() -> None:
    assert Draining(10, began=0.0).last_hint_seconds == LAST_HINT_SECONDS
    assert Draining(50_000, began=0.0).last_hint_seconds > 50_000 / RETURNS_PER_SECOND
