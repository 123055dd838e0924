"""When a service may be called ready, and when its event loop has stopped."""

import json

import pytest

from shared.health import STILL_SECONDS, Finding, Health, Pulse, as_json, status_of


@pytest.fixture
def health() -> Health:
    """Two checks, whose confirmations hold for 5 seconds."""
    return Health(("redis", "leases"), confirmed_seconds=5)


def test_check_fails_until_it_is_confirmed(health: Health) -> None:
    assert health.findings(0) == dict.fromkeys(("redis", "leases"), Finding(False, "not confirmed yet"))
    health.confirm("redis", 1)
    assert health.findings(1)["redis"] == Finding(True, "")


def test_failed_check_tells_its_reason_until_it_is_confirmed_again(health: Health) -> None:
    health.fail("redis", "connection refused", 1)
    assert health.findings(100)["redis"] == Finding(False, "connection refused")
    health.confirm("redis", 101)
    assert health.findings(101)["redis"] == Finding(True, "")


def test_failure_without_words_is_a_failure(health: Health) -> None:
    health.fail("redis", "", 1)
    assert not health.findings(1)["redis"].is_ok


def test_confirmation_holds_for_its_time_and_no_longer(health: Health) -> None:
    health.confirm("redis", 10)
    assert health.findings(15)["redis"].is_ok
    assert health.findings(16.2)["redis"] == Finding(False, "not confirmed for 6 s")


def test_expected_check_is_added_and_a_known_one_keeps_what_was_said(health: Health) -> None:
    health.confirm("redis", 1)
    health.expect("redis")
    health.expect("postgresql")
    findings = health.findings(1)
    assert findings["redis"].is_ok
    assert findings["postgresql"] == Finding(False, "not confirmed yet")


def test_one_failed_check_is_enough_not_to_be_ready() -> None:
    well, bad = Finding(True, ""), Finding(False, "away")
    assert status_of({"a": well, "b": well}, is_stopping=False) == "ready"
    assert status_of({"a": well, "b": bad}, is_stopping=False) == "not ready"


def test_stopping_service_is_not_ready_although_all_is_well() -> None:
    assert status_of({"a": Finding(True, "")}, is_stopping=True) == "stopping"


def test_body_names_every_check_with_its_reason() -> None:
    body = json.loads(as_json({"redis": Finding(True, ""), "functions": Finding(False, 'not "loaded"')}, "not ready"))
    assert body == {
        "status": "not ready",
        "checks": {"redis": {"ok": True, "reason": ""}, "functions": {"ok": False, "reason": 'not "loaded"'}},
    }


def test_loop_that_beats_on_time_has_no_lag() -> None:
    pulse = Pulse(every_seconds=1, now=0)
    assert pulse.beat(1) == 0
    assert (pulse.lag_seconds(1.5), pulse.still_seconds(1.5)) == (0, 0)


def test_lag_is_how_much_later_than_due_the_beat_came() -> None:
    pulse = Pulse(every_seconds=1, now=0)
    assert pulse.beat(1.25) == 0.25
    assert pulse.lag_seconds(1.5) == 0.25


def test_loop_that_stands_still_is_told_of_while_it_does_and_not_after() -> None:
    pulse = Pulse(every_seconds=1, now=0)
    late = 1 + STILL_SECONDS
    assert pulse.still_seconds(late) == 0
    assert pulse.still_seconds(late + 2) == STILL_SECONDS + 2
    assert pulse.lag_seconds(late + 2) == STILL_SECONDS + 2
    pulse.beat(late + 2)
    assert pulse.still_seconds(late + 2) == 0
