"""Questions are answered from indexes, and days that cannot hold the answer are not looked at: asserted on plans, not on time."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from benchmarks.storage import making
from services.admin.migrate import migrate_postgres
from services.api.database import queries as asked
from services.persister.store import queries as stored
from shared.postgres.calendar_days import bounds, name_of
from shared.postgres.housekeeping import keep_house
from tests.conftest import own_database

NOW = datetime(2031, 3, 10, 12, tzinfo=UTC)
TODAY = NOW.date()
ONE_DAY = timedelta(days=1)
DAYS = 8
ROWS_A_DAY = 2000


@pytest.fixture(scope="module")
def filled_url(postgres_url: str, migrated_database: str) -> Iterator[str]:
    """Of a database with eight days of both tables, the last one today; every fiftieth row is an alert. Nobody changes it."""
    with asyncio.Runner() as runner:
        database = own_database(postgres_url, migrated_database)
        url = runner.run(database.__aenter__())
        runner.run(fill(url))
        yield url
        runner.run(database.__aexit__(None, None, None))


async def fill(url: str) -> None:
    await migrate_postgres(url, 4)
    database = await asyncpg.connect(url)
    begin = bounds(TODAY)[0] - (DAYS - 1) * ONE_DAY
    for n in range(DAYS):
        await keep_house(database, begin + n * ONE_DAY, 0)
    tickers = [f"T{n}" for n in range(20)]
    await database.execute(making(), "1-a", tickers, [0] * 20, 0, DAYS * ROWS_A_DAY, begin, ONE_DAY / ROWS_A_DAY)
    await database.execute(
        "INSERT INTO enriched (incarnation, partition, seq, entry_id, tick_id, ticker, price, sma, alert, ts, source, received) "
        "SELECT incarnation, partition, seq, entry_id, entry_id, ticker, price, 7, CASE WHEN seq % 51 = 0 THEN 'bullish' END, "
        "ts, source, received FROM ticks"
    )
    await database.execute("ANALYZE ticks; ANALYZE enriched")
    await database.close()


@pytest.fixture
async def filled(filled_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the filled database."""
    database = await asyncpg.connect(filled_url)
    yield database
    await database.close()


async def plan_of(database: asyncpg.Connection, statement: str, *arguments: object) -> list[dict[str, Any]]:
    """Every node of the plan."""
    (found,) = msgspec.json.decode(await database.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *arguments))
    nodes, waiting = [], [found["Plan"]]
    while waiting:
        nodes.append(waiting.pop())
        waiting += nodes[-1].get("Plans", [])
    return nodes


def scanned(nodes: list[dict[str, Any]], table: str) -> set[str]:
    """The partitions with rows of the test that were looked at."""
    names = {node["Relation Name"] for node in nodes if "Relation Name" in node and node["Actual Loops"]}
    return names & {name_of(table, TODAY - n * ONE_DAY) for n in range(DAYS)}


def is_indexed(nodes: list[dict[str, Any]]) -> bool:
    """Whether no partition with rows was read from its beginning to its end."""
    return not [node for node in nodes if node["Node Type"] == "Seq Scan" and node["Actual Rows"] + node.get("Rows Removed by Filter", 0)]


async def test_bars_of_a_day_come_from_the_index_of_the_days_that_may_hold_it(filled: asyncpg.Connection) -> None:
    start = bounds(TODAY - ONE_DAY)[0]
    nodes = await plan_of(filled, asked()["bars"], "T3", start, start + ONE_DAY, timedelta(minutes=1))
    # The day before, too: a tick may be received up to 5 s before its ts.
    assert scanned(nodes, "ticks") == {name_of("ticks", TODAY - n * ONE_DAY) for n in (0, 1, 2)}
    assert is_indexed(nodes)


async def test_a_page_comes_in_order_from_the_indexes_and_no_day_is_sorted_as_a_whole(filled: asyncpg.Connection) -> None:
    start = bounds(TODAY - 3 * ONE_DAY)[0]
    place = start + 2 * ONE_DAY, "1-a", 0, 0
    nodes = await plan_of(filled, asked()["ticks"], "T3", start, *place, 50)
    assert scanned(nodes, "ticks") == {name_of("ticks", TODAY - n * ONE_DAY) for n in range(5)}
    assert is_indexed(nodes)
    assert "Sort" not in {node["Node Type"] for node in nodes}
    assert sum(node["Actual Rows"] for node in nodes if "Relation Name" in node) < 70


async def test_the_newest_tick_is_one_row_of_each_index(filled: asyncpg.Connection) -> None:
    start = bounds(TODAY - 2 * ONE_DAY)[0]
    nodes = await plan_of(filled, asked()["newest_tick"], "T3", start, NOW + ONE_DAY)
    assert scanned(nodes, "ticks") == {name_of("ticks", TODAY - n * ONE_DAY) for n in range(4)}
    assert is_indexed(nodes)
    assert all(node["Actual Rows"] <= 1 for node in nodes)


@pytest.mark.parametrize("condition", ["", "AND ticker = 'T3'"])
async def test_alerts_come_from_an_index_of_alerts_alone(filled: asyncpg.Connection, condition: str) -> None:
    statement = (
        "SELECT id FROM alerts WHERE ts >= $1 AND received >= $1::timestamptz - interval '5 seconds' "  # a condition of ours
        f"AND (ts, incarnation, partition, seq) < ($2, '1-a', 0, 0) {condition} "
        "ORDER BY ts DESC, incarnation DESC, partition DESC, seq DESC LIMIT 10"
    )
    start = bounds(TODAY - 2 * ONE_DAY)[0]
    nodes = await plan_of(filled, statement, start, NOW)
    assert scanned(nodes, "enriched") == {name_of("enriched", TODAY - n * ONE_DAY) for n in range(4)}
    prefix = "ticker_" if condition else ""
    indexes = {f"{name}_{prefix}ts_incarnation_partition_seq_idx" for name in scanned(nodes, "enriched")}
    assert indexes <= {node.get("Index Name") for node in nodes}


async def test_the_prices_before_an_alert_come_from_an_index(filled: asyncpg.Connection) -> None:
    statement = (
        "SELECT price FROM enriched WHERE ticker = 'T3' AND incarnation = '1-a' AND partition = 0 AND seq <= 9000 "
        "AND received <= $1 ORDER BY seq DESC LIMIT 5"
    )
    nodes = await plan_of(filled, statement, bounds(TODAY - 3 * ONE_DAY)[0] + ONE_DAY / 2)
    assert is_indexed(nodes)
    assert scanned(nodes, "enriched") == {name_of("enriched", TODAY - n * ONE_DAY) for n in range(3, DAYS)}
    assert sum(node["Actual Rows"] for node in nodes if "Relation Name" in node) <= 5 + DAYS


@pytest.mark.parametrize(("query", "table"), [("newest_tick", "ticks"), ("newest_enriched", "enriched")])
async def test_the_persister_finds_the_newest_row_of_an_incarnation_by_the_key(filled: asyncpg.Connection, query: str, table: str) -> None:
    nodes = await plan_of(filled, stored()[query], "1-a", 0, 10_000)
    assert scanned(nodes, table) == {name_of(table, TODAY - n * ONE_DAY) for n in range(DAYS)}
    assert is_indexed(nodes)
    assert all(node["Actual Rows"] <= 1 for node in nodes)
