"""The names of keys: other programs stand on them."""

import re
from collections.abc import Callable

import pytest

from shared import streams

KEYS = [
    (streams.ticks(3), "ticks:{3}"),
    (streams.enriched(3), "enriched:{3}"),
    (streams.prices(3, "BRK.B"), "prices:{3}:BRK.B"),
    (streams.latest(3), "latest:{3}"),
    (streams.deadletters(3), "deadletters:{3}"),
    (streams.log(3), "log:{3}"),
    (streams.events(3), "events:{3}"),
    (streams.sides(3), "sides:{3}"),
    (streams.producers(3), "producers:{3}"),
    (streams.last(3), "last:{3}"),
    (streams.lease("analyzer", 3), "lease:analyzer:{3}"),
]


@pytest.mark.parametrize(("key", "name"), KEYS)
def test_a_key_has_the_name_of_the_contract(key: str, name: str) -> None:
    assert key == name


@pytest.mark.parametrize(("key", "_name"), KEYS)
def test_all_keys_of_a_partition_lie_in_one_slot_of_a_cluster(key: str, _name: str) -> None:
    """Only the first braces of a key count, and these hold the partition alone."""
    assert re.findall(r"[{}]", key) == ["{", "}"]
    assert "{3}" in key


@pytest.mark.parametrize(("name", "key"), [("ticks", streams.ticks), ("enriched", streams.enriched), ("events", streams.events)])
def test_a_stream_that_is_asked_for_by_name_is_the_same_key(name: str, key: Callable[[int], str]) -> None:
    assert name in streams.STREAMS
    assert streams.stream(name, 7) == key(7)


def test_names_of_config_and_groups_are_those_of_the_contract() -> None:
    names = (streams.CONFIG, streams.MARKET, streams.ANALYZER_GROUP, streams.PERSISTER_GROUP)
    assert names == ("config", "market", "analyzer", "persister")


def test_the_members_of_a_service_are_one_key_outside_of_the_partitions() -> None:
    assert streams.members("analyzer") == "members:analyzer"
