"""What every metric is called, who shows it, and what it tells."""

import re
import sys
import time

import pytest

from shared import metrics
from shared.hops import Hop
from shared.metrics import DECLARED, EVERY, SERVICES, Declared, exposition, registry_of
from tests.observed import samples

UNITS = ("_seconds", "_bytes", "_entries", "_ticks")


@pytest.mark.parametrize("declared", DECLARED, ids=lambda declared: declared.name)
def test_name_and_meaning_are_as_promised(declared: Declared) -> None:
    assert re.fullmatch(r"tickstream_[a-z][a-z_]*[a-z]", declared.name)
    assert declared.service in SERVICES
    assert declared.name.startswith(f"tickstream_{declared.service}_") or declared.service == EVERY
    assert declared.name.endswith("_total") == (declared.kind == "counter")
    assert declared.kind != "histogram" or declared.name.endswith(UNITS)
    assert declared.meaning.endswith(".")


def test_no_name_is_declared_twice() -> None:
    names = [declared.name for declared in DECLARED]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("service", SERVICES[1:])
def test_process_shows_its_own_metrics_those_of_all_and_no_others(service: str) -> None:
    page = exposition(registry_of(service)).decode()
    shown = set(re.findall(r"^# TYPE (tickstream_\w+)", page, re.MULTILINE))
    assert shown == {declared.name for declared in DECLARED if declared.service in (EVERY, service)}
    assert "_created" not in page
    build = next(labels for name, labels in samples(page) if name == "tickstream_build_info" and ("service", service) in labels)
    assert {name for name, _ in build} == {"service", "version", "python"}
    if sys.platform == "linux":  # elsewhere there is no /proc to read them from
        assert samples(page)["process_resident_memory_bytes", frozenset()] > 0


def hop_samples(name: str) -> dict[str, float]:
    """What the metrics tell of a hop, by the name of the sample."""
    found = samples(exposition(registry_of("tests")).decode())
    return {sample: value for (sample, labels), value in found.items() if dict(labels) == {"hop": name}}


def entry_id(age_seconds: float, sequence: int = 0) -> str:
    return f"{int((time.time() - age_seconds) * 1000)}-{sequence}"


def test_hop_tells_nothing_before_its_first_entry() -> None:
    Hop("unit-none")
    assert "tickstream_newest_entry_age_seconds" not in hop_samples("unit-none")
    assert hop_samples("unit-none")["tickstream_hop_seconds_count"] == 0


def test_hop_takes_as_long_as_its_entry_is_old() -> None:
    hop = Hop("unit-old")
    hop.done(entry_id(3.5))
    found = hop_samples("unit-old")
    assert found["tickstream_hop_seconds_count"] == 1
    assert found["tickstream_hop_seconds_sum"] >= 3.5
    assert found["tickstream_newest_entry_age_seconds"] >= 3.5


def test_age_is_that_of_the_newest_entry_of_any_partition() -> None:
    hop = Hop("unit-newest")
    hop.done(entry_id(10))
    hop.done(entry_id(5000))
    assert 10 <= hop_samples("unit-newest")["tickstream_newest_entry_age_seconds"] < 5000


def test_clock_behind_that_of_redis_gives_no_negative_time() -> None:
    hop = Hop("unit-ahead")
    hop.done(entry_id(-60))
    assert hop_samples("unit-ahead")["tickstream_hop_seconds_sum"] == 0


def test_what_was_taken_counts_when_it_is_finished_and_once() -> None:
    hop = Hop("unit-taken")
    hop.take(entry_id(3))
    hop.take(entry_id(2))
    assert hop_samples("unit-taken")["tickstream_hop_seconds_count"] == 0
    hop.finish()
    hop.finish()
    found = hop_samples("unit-taken")
    assert found["tickstream_hop_seconds_count"] == 1
    assert 2 <= found["tickstream_hop_seconds_sum"] < 3


def test_build_info_is_one() -> None:
    page = samples(exposition(registry_of("tests")).decode())
    assert [value for (name, labels), value in page.items() if name == "tickstream_build_info" and ("service", "tests") in labels] == [1]
    assert metrics.CONTENT_TYPE.startswith("text/plain; version=0.0.4")
