"""What is missing of a ticker's history: where it lies, how much, and nothing where nothing is missing."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from services.api.database import queries
from shared.partitions import partition_of
from tests.integration.api.conftest import PARTITIONS, Api
from tests.integration.api.rows import INCARNATION, at, enriched, tick

LATER = "1795346662099999-aaaaaaaa"
PARTITION = partition_of("AAPL", PARTITIONS)
NOTICED = datetime(2026, 2, 14, 15, tzinfo=UTC)
PATH = "/api/stocks/AAPL/gaps"

MANY_TICKS = """
INSERT INTO ticks (incarnation, partition, seq, entry_id, ticker, price, ts, source, received)
SELECT $1, 2, n, n || '-0', 'T' || n % 200, 10, $2::timestamptz + n * interval '1 second', 'simulated', $2
FROM generate_series(1, 40000) AS n
"""
MANY_ENRICHED = """
INSERT INTO enriched (incarnation, partition, seq, entry_id, tick_id, ticker, price, ts, source, received)
SELECT incarnation, partition, seq, entry_id, entry_id, ticker, price, ts, source, received FROM ticks
"""
MANY_EVENTS = """
INSERT INTO stream_events (kind, at, stream, partition, incarnation, first_seq, last_seq)
SELECT $1, $4::timestamptz + n * interval '1 second', 'ticks', n % 4, $3, n, n FROM generate_series(1, $2) AS n
"""


async def note(
    api: Api,
    kind: str,
    first: int | None,
    last: int | None,
    *,
    stream: str = "ticks",
    partition: int = PARTITION,
    noticed: datetime = NOTICED,
    **detail: object,
) -> None:
    await api.database.execute(
        "INSERT INTO stream_events VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        noticed, kind, stream, partition, INCARNATION, first, last, msgspec.json.encode(detail).decode(),
    )  # fmt: skip


async def store(api: Api, seqs: list[int], ticker: str = "AAPL", incarnation: str = INCARNATION, **moments: Any) -> None:
    await api.store("ticks", [tick(seq, ticker=ticker, incarnation=incarnation, ts=moments.get(f"at_{seq}")) for seq in seqs])
    await api.store("enriched", [enriched(seq, "10", ticker=ticker, incarnation=incarnation, ts=moments.get(f"at_{seq}")) for seq in seqs])


async def test_a_gap_lies_between_the_last_tick_before_and_the_first_tick_after(api: Api) -> None:
    await store(api, [1, 3, 10, 12])
    await store(api, [4, 9], ticker="MSFT")
    await note(api, "gap", 5, 8, before="9-0")
    assert (await api.get(PATH)).text == (
        '{"items":[{"kind":"gap","noticed":"2026-02-14T15:00:00.000+00:00","ticks":4,'
        '"after":"2026-02-14T14:30:03.000+00:00","before":"2026-02-14T14:30:10.000+00:00",'
        f'"incarnation":"{INCARNATION}","first_seq":5,"last_seq":8}}]}}'
    )


@pytest.mark.parametrize(("stored", "after", "before"), [([1, 2], "14:30:02", None), ([9], None, "14:30:09"), ([], None, None)])
async def test_a_gap_at_an_end_of_the_history_has_one_end(api: Api, stored: list[int], after: str | None, before: str | None) -> None:
    await store(api, stored)
    await note(api, "gap", 5, 8, after="4-0")
    (found,) = (await api.json(PATH))["items"]
    assert [found[name] and found[name][11:19] for name in ("after", "before")] == [after, before]


async def test_a_gap_that_a_restart_follows_ends_in_the_next_incarnation(api: Api) -> None:
    await store(api, [1, 2])
    await store(api, [9], incarnation=LATER)
    await note(api, "gap", 3, 4, before="9-0")
    (found,) = (await api.json(PATH))["items"]
    assert found["before"][11:19] == "14:30:09"


async def test_what_redis_came_back_without_is_kept_and_the_loss_lies_behind_it(api: Api) -> None:
    await store(api, [1, 2, 3, 4])
    await store(api, [3, 4], incarnation=LATER, at_3=at(60), at_4=at(61))
    await note(api, "rewind", 3, 4, position="4-0")
    (found,) = (await api.json(PATH))["items"]
    assert (found["ticks"], found["after"][11:19], found["before"][11:19]) == (2, "14:30:04", "14:31:00")


async def test_after_a_reset_counting_begins_at_1_and_nobody_knows_how_much_is_missing(api: Api) -> None:
    await store(api, [700, 701])
    await store(api, [1, 2], incarnation=LATER, at_1=at(900), at_2=at(901))
    await note(api, "reset", None, 701, position="701-0")
    (found,) = (await api.json(PATH))["items"]
    assert (found["ticks"], found["after"][11:19], found["before"][11:19]) == (None, "14:41:41", "14:45:00")


@pytest.mark.parametrize(
    "event",
    [
        {"kind": "overrun"},
        {"kind": "rejected"},
        {"kind": "period"},
        {"kind": "gap", "stream": "enriched"},
        {"kind": "rewind", "stream": "events"},
        {"kind": "gap", "partition": PARTITION + 1},
    ],
)
async def test_what_takes_no_tick_of_the_partition_is_no_gap(api: Api, event: dict[str, Any]) -> None:
    await store(api, [1, 9])
    await note(api, first=2, last=8, **event)
    assert await api.json(PATH) == {"items": []}


async def test_gaps_come_newest_first_of_the_span_in_which_they_were_noticed(api: Api) -> None:
    for minute in range(4):
        await note(api, "gap", 10 * minute + 1, 10 * minute + 2, noticed=NOTICED + timedelta(minutes=minute))
    found = await api.json(PATH, start="2026-02-14T15:01:00Z", end="2026-02-14T15:03:00Z")
    assert [each["first_seq"] for each in found["items"]] == [21, 11]
    assert [each["first_seq"] for each in (await api.json(PATH, limit=1))["items"]] == [31]


async def test_an_event_of_a_stranger_breaks_nothing(api: Api) -> None:
    await store(api, [1])
    await note(api, "gap", None, None, before="99999999999999-0")
    await note(api, "rewind", 5, 2, position=["no", "id"])
    assert len((await api.json(PATH))["items"]) == 2


async def test_gaps_are_found_by_indexes_among_many_rows(api: Api) -> None:
    await api.database.execute(MANY_TICKS, INCARNATION, at(0))
    await api.database.execute(MANY_ENRICHED)
    await api.database.execute(MANY_EVENTS, "rejected", 20_000, INCARNATION, at(0))
    await api.database.execute(MANY_EVENTS, "gap", 400, INCARNATION, at(0))
    await api.database.execute("ANALYZE ticks; ANALYZE enriched; ANALYZE stream_events")
    nodes = await plan_of(api.database, queries()["gaps"], "T7", 2, at(0), at(10**6), 50)
    assert [node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan" and node["Actual Rows"]] == []
    assert sum(rows_read(node) for node in nodes if "Relation Name" in node) < 200


async def plan_of(database: asyncpg.Connection, statement: str, *arguments: object) -> list[dict[str, Any]]:
    """Every node of the plan."""
    (found,) = msgspec.json.decode(await database.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *arguments))
    nodes, waiting = [], [found["Plan"]]
    while waiting:
        nodes.append(waiting.pop())
        waiting += nodes[-1].get("Plans", [])
    return nodes


def rows_read(node: dict[str, Any]) -> float:
    """Over all loops, those that a condition left out among them."""
    return float(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)))
