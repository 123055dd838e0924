"""FAULT: what it may say, when it strikes, and that nobody pays for it who did not set it."""

import asyncio
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from shared.crash_points import CrashPoint, Fault, InjectedError, Kind, answer_of, arm, parse_fault, reach
from shared.errors import ConfigurationError
from shared.settings import Settings, read_settings

POINT, OTHER = CrashPoint.ANALYZER_BATCH_READ, CrashPoint.ANALYZER_BEFORE_COMMIT


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    """This process is left without a fault."""
    yield
    arm(None)


@pytest.mark.parametrize("kind", Kind)
def test_text_names_point_hit_and_kind(kind: Kind) -> None:
    assert parse_fault(f"lease.acquired:3:{kind}") == Fault(CrashPoint.LEASE_ACQUIRED, 3, kind)


def test_a_delay_may_be_given_in_seconds() -> None:
    assert parse_fault("lease.acquired:1:delay=0.25") == Fault(CrashPoint.LEASE_ACQUIRED, 1, Kind.DELAY, 0.25)


def test_no_text_is_no_fault() -> None:
    assert parse_fault("") is None


@pytest.mark.parametrize(
    "text",
    [
        "lease.acquired",
        "lease.acquired:1",
        "lease.acquired:0:kill",
        "lease.acquired:-1:kill",
        "lease.acquired:1:explode",
        "lease.acquired:1:kill=1",
        "lease.acquired:1:delay=",
        "nowhere:1:kill",
        "lease.acquired:1:kill,lease.acquired:2:kill",
        " lease.acquired:1:kill",
    ],
)
def test_a_bad_text_is_refused_in_one_line_that_lists_every_point(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://localhost")
    monkeypatch.setenv("FAULT", text)
    with pytest.raises(ConfigurationError) as refused:
        read_settings(Settings)
    (problem,) = refused.value.problems
    assert (problem.variable, problem.value) == ("FAULT", text)
    assert all(point in problem.allowed for point in CrashPoint)


@pytest.mark.parametrize("fault", [None, Fault(OTHER, 1, Kind.RAISE)])
def test_a_point_that_is_not_meant_gives_up_no_turn(fault: Fault | None) -> None:
    arm(fault)
    with pytest.raises(StopIteration):
        reach(POINT).send(None)


async def test_it_strikes_at_its_hit_and_only_then() -> None:
    arm(Fault(POINT, 3, Kind.RAISE))
    await reach(POINT)
    await reach(OTHER)
    await reach(POINT)
    with pytest.raises(InjectedError):
        await reach(POINT)
    await reach(POINT)


async def test_a_request_is_under_way_when_the_fault_strikes_and_its_answer_is_not_taken() -> None:
    sent, answered = asyncio.Event(), asyncio.Event()

    async def request() -> str:
        sent.set()
        await answered.wait()
        return "answer"

    arm(Fault(POINT, 1, Kind.RAISE))
    with pytest.raises(InjectedError):
        await answer_of(request(), POINT)
    assert sent.is_set()
    answered.set()
    assert await answer_of(request(), POINT) == "answer"


async def test_a_hung_task_never_goes_on_and_can_be_cancelled() -> None:
    arm(Fault(POINT, 1, Kind.HANG))
    hung = asyncio.create_task(reach(POINT))
    assert not (await asyncio.wait({hung}, timeout=0.05))[0]
    hung.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hung


def test_who_is_armed_says_so_at_once_and_who_is_not_says_nothing() -> None:
    with capture_logs() as logs:
        arm(None)
        arm(Fault(POINT, 2, Kind.KILL))
    assert [(line["log_level"], line["event"], line["point"]) for line in logs] == [
        ("warning", "armed with a fault, for tests only", "analyzer.batch_read")
    ]
