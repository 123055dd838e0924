"""The client's copies of the pipeline's rules are the pipeline's rules: it may import nothing of it, and must agree with all of it."""

import json

from hypothesis import given
from hypothesis import strategies as st
from tickstream_client.streams import keys, lineage, sharing

from shared import incarnations, lease_rules, streams

MEMBERS = ("a", "b", "c", "d")
NAMES = st.sampled_from(("", *MEMBERS))
SECONDS = st.sampled_from((None, 0.0, 0.4, 1.0, 7.0))
SEEN = st.tuples(NAMES, st.sampled_from(("", "t")), st.just("0"), NAMES, SECONDS)


@given(st.dictionaries(st.integers(0, 15), SEEN), st.frozensets(st.sampled_from(MEMBERS)))
def test_a_member_plans_as_a_service_does(leases: dict[int, tuple[str, str, str, str, float | None]], live: frozenset[str]) -> None:
    ours = sharing.plan("a", {p: sharing.Seen(*seen) for p, seen in leases.items()}, live)
    theirs = lease_rules.plan("a", {p: lease_rules.Seen(*seen) for p, seen in leases.items()}, live)
    assert tuple(ours) == tuple(theirs)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.floats(0, 3)), max_size=30))
def test_a_member_watches_as_a_service_does(looks: list[tuple[int, int, float]]) -> None:
    ours, theirs, now = sharing.Standstill(1.0), lease_rules.Standstill[int](1.0), 0.0
    for key, mark, step in looks:
        now += step
        still = ours.look(key, mark, now)
        assert still == theirs.look(key, mark, now)
        for token in ("", "t"):
            assert sharing.vacant_seconds(token, still, 2.0) == lease_rules.vacant_seconds(token, still, 2.0)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4).map(sorted), st.integers(1, 12), st.integers(0, 5))
def test_an_entry_is_named_and_a_position_judged_as_everywhere_else(ends: list[int], seq: int, life: int) -> None:
    text = json.dumps(
        [
            {"incarnation": str(number), **{name: {"seq": end, "id": f"{end}-0", "added": end} for name in ("ticks", "enriched", "events")}}
            for number, end in enumerate(ends)
        ]
    )
    ours = lineage.read_head("ticks", "now", text)
    theirs = incarnations.Head("now", incarnations.parse_lineage(text), {"ticks": 20})
    assert ours.label(seq) == incarnations.label("ticks", seq, theirs)
    judged, _ = lineage.fate(lineage.Position(str(life), seq, f"{seq}-0"), ours)
    words = {"CONTINUE": "KEPT", "REWIND": "REWOUND", "RESET": "FORGOTTEN"}
    assert judged.name == words[incarnations.resolve("ticks", str(life), seq, theirs).name]


def test_keys_are_spelled_as_in_the_pipeline() -> None:
    service = keys.service("ticks", "risk")
    assert keys.CONFIG == streams.CONFIG
    assert keys.lease(service, 3) == streams.lease(service, 3)
    assert keys.members(service) == streams.members(service)
    names = (streams.log, streams.ticks, streams.enriched, streams.events, streams.producers)
    assert keys.of_lease(service, 3) == [*(name(3) for name in names), streams.lease(service, 3)]
