"""The pure modules of the ops view: what counts as stuck, by whose fault, and what is said of it."""

from copy import deepcopy
from typing import Any

import pytest

from tests.browser.visit import Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")

JUDGE = """async (steps) => {
  const { Judge } = await import("/static/ops/judging.js");
  const { headline, sentence } = await import("/static/ops/words.js");
  const judge = new Judge();
  let verdict;
  for (const [told, now] of steps) verdict = judge.judge(told, now);
  const told = steps.at(-1)[0];
  return { ...verdict, headline: headline(verdict, told, 0), sentences: verdict.findings.map((finding) => sentence(finding, told)) };
}"""
CURVE = """async (samples) => {
  const { Curve } = await import("/static/ops/figures.js");
  const curve = new Curve(1);
  samples.forEach(([value, at]) => curve.add(value, at));
  return { path: curve.path(samples.at(-1)[1], 120, 10), most: curve.most };
}"""
STORED_RATE = """async (answers) => {
  const { StoredRate } = await import("/static/ops/figures.js");
  const rate = new StoredRate();
  return answers.map((told) => rate.take(told));
}"""
FIGURES = """async (told) => (await import("/static/ops/figures.js")).figures(told, null)"""

SERVICES = ("fetcher", "analyzer", "persister")
Told = dict[str, Any]


def group(name: str, *, lag: int = 0, waiting: float | None = None, last_id: str = "9-0", required: bool = True) -> Told:
    return {"name": name, "lag": lag, "pending": 0, "last_id": last_id, "waiting_seconds": waiting, "is_required": required}


def stream(*names: str) -> Told:
    groups = [group(name) for name in names]
    return {
        "length": 100, "fill": 0.001, "per_second": 6.0, "seq": 100, "age_seconds": 0.3, "pause_seconds": 1.0, "source": "simulated",
        "shed": 0, "groups": groups, "held_by": None,
    }  # fmt: skip


def partition(number: int) -> Told:
    holders = {service: {"name": f"host:7:{service}", "still_seconds": 0.2, "wanted_by": ""} for service in SERVICES}
    return {
        "partition": number, "ticks": stream("analyzer", "persister"), "enriched": stream("persister"), "holders": holders,
        "deadletters": {"count": 0, "stream": "", "reason": "", "age_seconds": None},
    }  # fmt: skip


def gateway(name: str = "host:9:abcdef", **more: Any) -> Told:
    return {"name": name, "connections": 3, "messages_per_second": 9.0, "lags": [0, 2], "is_stale": False, "silent_seconds": 1.0, **more}


def healthy() -> Told:
    """Two partitions of which everything is well."""
    return {
        "ts": "2026-02-14T21:38:22.000+00:00", "down": [], "lease_seconds": 5, "stream_cap": 1000, "unknown": [], "events": [],
        "market": {"exchange": "XNYS", "status": "open", "reason": "simulated", "next_open": None, "next_close": None},
        "partitions": [partition(0), partition(1)],
        "members": {service: [{"name": f"host:7:{service}", "still_seconds": 0.2}] for service in SERVICES},
        "gateways": [gateway()],
        "stored": [{"stream": "ticks", "partition": 0, "seq": 90, "newest_ts": "2026-02-14T21:38:21.000+00:00"}],
    }  # fmt: skip


async def judged(modules: Visit, told: Told, *before: Told, step_ms: int = 1000) -> Told:
    """What is found of an answer, `before` being those that came before it, a second apart."""
    steps = [[each, number * step_ms] for number, each in enumerate((*before, told))]
    verdict: Told = await modules.run(JUDGE, steps)
    return verdict


def found(verdict: Told) -> list[tuple[str, str, list[int]]]:
    return [(each["stage"], each["kind"], each["partitions"]) for each in verdict["findings"]]


async def test_where_all_is_well_nothing_is_found(modules: Visit) -> None:
    verdict = await judged(modules, healthy(), *[healthy()] * 8)
    assert found(verdict) == []
    assert set(verdict["states"].values()) == {"ok"}
    assert verdict["headline"] == {"state": "ok", "text": "Everything flows: 12.0 ticks a second, the newest just now."}


async def test_a_partition_that_nobody_holds_is_found_after_a_moment_and_named_with_what_to_do(modules: Visit) -> None:
    told = healthy()
    told["partitions"][1]["holders"]["persister"] = None
    told["members"]["persister"] = []
    assert found(await judged(modules, told, told)) == [], "between two holders nobody is"
    verdict = await judged(modules, told, *[told] * 12)
    assert found(verdict) == [("persister", "nobody", [1])]
    assert verdict["states"]["persister"] == "nobody"
    assert verdict["headline"]["text"] == (
        "Persister: no process runs, nobody holds partition 1 for 12 s: start one, `python -m services.persister`."
    )
    told["members"]["persister"] = healthy()["members"]["persister"]
    verdict = await judged(modules, told, *[told] * 3)
    assert "its log says what refuses the lease" in verdict["headline"]["text"]


async def test_a_holder_that_stands_still_is_the_cause_and_what_follows_is_left_out(modules: Visit) -> None:
    told = healthy()
    told["members"]["analyzer"][0]["still_seconds"] = 12.0
    for each in told["partitions"]:
        each["holders"]["analyzer"]["still_seconds"] = 12.0
        each["ticks"]["groups"][0] = group("analyzer", lag=50, waiting=12.0)
    verdict = await judged(modules, told, *[told] * 12)
    assert found(verdict) == [("analyzer", "still", [0, 1])]
    assert (verdict["headline"]["state"], verdict["states"]["analyzer"]) == ("stuck", "stuck")
    assert "host:7:analyzer holds partitions 0, 1 and stands still for 12 s" in verdict["headline"]["text"]
    assert "`python -m services.analyzer`" in verdict["headline"]["text"]


async def test_a_group_that_does_not_move_is_stuck_and_one_that_moves_is_behind(modules: Visit) -> None:
    def at(second: int, *, moves: bool) -> Told:
        told = healthy()
        last_id = f"{second if moves else 1}-0"
        told["partitions"][0]["ticks"]["groups"][0] = group("analyzer", lag=400, waiting=60.0, last_id=last_id)
        return told

    standing = [at(second, moves=False) for second in range(8)]
    verdict = await judged(modules, standing[0], *standing)
    assert (found(verdict), verdict["states"]["analyzer"]) == ([("analyzer", "unmoved", [0])], "stuck")
    moving = [at(second, moves=True) for second in range(8)]
    verdict = await judged(modules, at(8, moves=True), *moving)
    assert (found(verdict), verdict["states"]["analyzer"]) == ([("analyzer", "behind", [0])], "behind")
    assert "400 entries behind on partition 0, the oldest waits for 1 min" in verdict["headline"]["text"]
    assert found(await judged(modules, standing[0], *standing, step_ms=20_000)) == [("analyzer", "behind", [0])], "nobody looked meanwhile"


async def test_a_full_stream_names_who_holds_it_and_explains_who_waits_for_room(modules: Visit) -> None:
    told = healthy()
    told["partitions"][0]["enriched"] |= {"fill": 1.01, "held_by": hold("persister", 1010, required=True)}
    told["partitions"][0]["ticks"]["groups"][0] = group("analyzer", lag=400, waiting=60.0)
    verdict = await judged(modules, told, *[told] * 8)
    assert found(verdict) == [("enriched", "full", [0])]
    assert verdict["states"]["analyzer"] == "stuck"
    assert verdict["headline"]["text"].startswith("enriched of partition 0 is full: writers wait, a live source drops ticks.")
    assert "`persister` holds it" in verdict["headline"]["text"]


async def test_a_group_of_ones_own_that_holds_half_a_stream_is_named_before_it_is_full(modules: Visit) -> None:
    told = healthy()
    told["partitions"][1]["ticks"] |= {"fill": 0.7, "held_by": hold("mine", 600, required=False)}
    verdict = await judged(modules, told)
    assert (found(verdict), verdict["states"]["ticks"]) == ([("ticks", "filling", [1])], "behind")
    assert "`mine` holds 60 % of what it may have" in verdict["headline"]["text"]
    told["partitions"][1]["ticks"] |= {"fill": 0.9, "held_by": hold("persister", 3, required=True)}
    assert found(await judged(modules, told)) == [], "what is only kept for late readers gives way"


def hold(name: str, entries: int, *, required: bool) -> Told:
    return {"group": name, "entries": entries, "waiting_seconds": 30.0, "is_required": required}


async def test_ticks_that_do_not_come_are_a_fault_only_while_the_source_should_send_some(modules: Visit) -> None:
    told = healthy()
    for each in told["partitions"]:
        each["ticks"]["age_seconds"] = 40.0
    verdict = await judged(modules, told)
    assert (found(verdict), verdict["states"]["fetcher"]) == ([("fetcher", "late", [])], "stuck")
    for changed in ({"source": "finnhub"}, {"pause_seconds": 20.0}):
        patient = deepcopy(told)
        for each in patient["partitions"]:
            each["ticks"] |= changed
        assert found(await judged(modules, patient)) == []
    told["partitions"][0]["ticks"]["age_seconds"] = 0.5
    assert found(await judged(modules, told)) == [], "one partition may have no ticker"


async def test_a_closed_market_and_a_replay_that_has_ended_are_quiet(modules: Visit) -> None:
    told = healthy()
    for each in told["partitions"]:
        each["ticks"] |= {"age_seconds": 40_000.0, "source": "finnhub"}
    told["market"] |= {"status": "closed", "reason": "weekend", "next_open": "2026-02-16T14:30:00.000+00:00"}
    verdict = await judged(modules, told)
    assert (found(verdict), verdict["states"]["fetcher"]) == ([], "quiet")
    assert verdict["headline"]["text"].startswith("The market is closed until ")
    told["market"] |= {"status": "open", "reason": "replay", "next_open": None}
    told["members"]["fetcher"] = []
    for each in told["partitions"]:
        each["holders"]["fetcher"] = None
    verdict = await judged(modules, told, *[told] * 5)
    assert (found(verdict), verdict["states"]["fetcher"]) == ([], "quiet")
    assert verdict["headline"]["text"] == "The replay has ended, and everything was read."


async def test_postgresql_that_is_away_is_the_cause_of_a_persister_that_does_not_move(modules: Visit) -> None:
    told = healthy() | {"down": ["postgresql"], "stored": None, "events": None}
    told["partitions"][0]["enriched"]["groups"][0] = group("persister", lag=50, waiting=30.0)
    verdict = await judged(modules, told, *[told] * 8)
    assert found(verdict) == [("postgresql", "away", [])]
    assert (verdict["states"]["postgresql"], verdict["states"]["persister"], verdict["states"]["gateway"]) == ("away", "stuck", "ok")
    assert verdict["headline"]["text"].startswith("PostgreSQL does not answer for 8 s: rows are not stored")


async def test_without_redis_nothing_is_said_of_those_who_stand_on_it(modules: Visit) -> None:
    told = healthy() | {"down": ["redis"], "partitions": [], "unknown": [0, 1], "members": {}, "gateways": [], "market": None}
    verdict = await judged(modules, told, *[told] * 4)
    assert found(verdict) == [("ticks", "away", [])]
    assert verdict["states"] == {
        "fetcher": "unknown", "ticks": "away", "analyzer": "unknown", "enriched": "away", "persister": "unknown", "postgresql": "ok",
        "gateway": "unknown", "clients": "unknown",
    }  # fmt: skip


async def test_a_deployment_without_a_persister_misses_none(modules: Visit) -> None:
    told = healthy()
    told["members"]["persister"] = []
    for each in told["partitions"]:
        each["holders"]["persister"] = None
        each["ticks"]["groups"] = [group("analyzer")]
        each["enriched"]["groups"] = []
    verdict = await judged(modules, told, *[told] * 4)
    assert (found(verdict), verdict["states"]["persister"], verdict["states"]["postgresql"]) == ([], "quiet", "quiet")


@pytest.mark.parametrize(
    ("gateways", "kind", "state", "words"),
    [
        ([], "nobody", "nobody", "none runs"),
        ([gateway(silent_seconds=20.0)], "nobody", "nobody", "host:9 fell silent"),
        ([gateway(), gateway("gone", silent_seconds=20.0)], "silent", "gone", "gone says nothing for 20 s"),
        ([gateway(is_stale=True)], "stale", "stuck", "cannot read Redis"),
        ([gateway(lags=[0, None])], "loading", "behind", "still loading"),
        ([gateway(lags=[0, 4000])], "behind", "behind", "4\u202f000 entries behind"),
    ],
    ids=["none", "the only one fell silent", "one of two fell silent", "stale", "loading", "behind"],
)
async def test_gateways(modules: Visit, gateways: list[Told], kind: str, state: str, words: str) -> None:
    told = healthy() | {"gateways": gateways}
    verdict = await judged(modules, told, *[told] * 4)
    assert found(verdict) == [("gateway", kind, [])]
    assert verdict["states"]["gateway"] == state
    assert words in verdict["headline"]["text"]


async def test_causes_come_before_what_follows_from_them_and_partitions_are_told_together(modules: Visit) -> None:
    told = healthy() | {"gateways": [gateway(lags=[0, 4000])], "down": ["postgresql"], "stored": None}
    for each in told["partitions"]:
        each["holders"]["analyzer"] = None
    verdict = await judged(modules, told, *[told] * 4)
    assert found(verdict) == [("postgresql", "away", []), ("analyzer", "nobody", [0, 1]), ("gateway", "behind", [])]


async def test_a_curve_is_not_drawn_through_what_nobody_saw(modules: Visit) -> None:
    curve = await modules.run(CURVE, [[0, 1_000], [5, 2_000], [None, 3_000], [10, 61_000], [5, 121_000]])
    assert curve == {"path": "M0.0 10.0L1.0 5.0M60.0 0.0M120.0 5.0", "most": 10}


async def test_rows_stored_a_second_are_counted_over_ten(modules: Visit) -> None:
    def answer(second: int, seq: int | None) -> Told:
        stored = None if seq is None else [{"seq": seq, "newest_ts": None}]
        return {"ts": f"2026-02-14T21:38:{second:02d}.000+00:00", "stored": stored}

    assert await modules.run(STORED_RATE, [answer(0, 0), answer(5, 10), answer(12, 80), answer(13, None), answer(14, 90)]) == [
        None, 2, 10, None, None,
    ]  # fmt: skip


async def test_figures_add_up_the_partitions(modules: Visit) -> None:
    told = healthy()
    told["partitions"][1]["ticks"] |= {"per_second": 1.5, "fill": 0.5, "age_seconds": 4.0}
    told["partitions"][1]["ticks"]["groups"] = [group("analyzer", lag=7, waiting=3.0), group("persister", lag=2, waiting=1.0)]
    shown = await modules.run(FIGURES, told)
    assert shown["ticks"] == {"rate": 7.5, "length": 200, "fill": 0.5, "ageSeconds": 0.3, "shed": 0}
    assert (shown["analyzer"]["lag"], shown["analyzer"]["waitingSeconds"], shown["analyzer"]["processes"]) == (7, 3.0, 1)
    assert (shown["persister"]["lag"], shown["gateway"]["lag"], shown["clients"]["connections"]) == (2, 2, 3)
    assert shown["postgresql"]["ageSeconds"] == 1
