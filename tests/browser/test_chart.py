"""The chart on a whole deployment: bars as the database makes them, crossovers with their evidence, gaps as gaps."""

from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

from shared.partitions import partition_of
from tests.browser.accessibility import violations
from tests.browser.conftest import PARTITIONS
from tests.browser.visit import Deployment, Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")

EARLIER = "1000000000000000-0000000e"
MINUTES_BEFORE = """
INSERT INTO ticks (incarnation, partition, seq, entry_id, ticker, price, ts, source, volume, received)
SELECT $1, $2, n, n || '-0', 'TSLA', 400 + n % 17 + n % 7 * 0.25, $3::timestamptz - n * interval '9 seconds', 'simulated', n % 50, $3
FROM generate_series(20, 1400) AS n WHERE n % 90 > 20
"""
BARS = """
SELECT extract(epoch FROM date_bin('1 minute', ts, 'epoch'))::bigint AS time,
       (array_agg(price ORDER BY ts, incarnation, seq))[1]::float8 AS open, max(price)::float8 AS high, min(price)::float8 AS low,
       (array_agg(price ORDER BY ts DESC, incarnation DESC, seq DESC))[1]::float8 AS close, sum(volume)::float8 AS volume
FROM ticks WHERE ticker = 'TSLA' GROUP BY 1 ORDER BY 1
"""
POINTS = "tickstream.points().map(({ time, open, high, low, close, volume }) => [time, open, high, low, close, volume ?? null])"
IS_JOINED = "tickstream.isJoined() && tickstream.chart()?.price.length > 0"
CARD = """() => {
  const card = document.querySelector('#chart-card');
  const text = (name) => card.querySelector(`.${name}`).textContent;
  return {
    id: card.dataset.id, direction: text('direction'), price: text('now-price'), previous: text('then-price'),
    said: text('words'), proof: text('proof'), prices: card.querySelector('polyline')?.points.length ?? 0,
  };
}"""
EVIDENCE = """(id) => fetch('/api/alerts?ticker=AAPL&limit=1000').then((answer) => answer.json())
  .then(({ items }) => items.find((alert) => alert.id === id))"""
CARD_IS_WITHIN_THE_CHART = """() => {
  const [card, area] = ['#chart-card', '.area'].map((name) => document.querySelector(name).getBoundingClientRect());
  return card.left >= area.left && card.right <= area.right && card.top >= area.top && card.bottom <= area.bottom;
}"""
CHOICES_IN_HASTE = """async () => {
  for (const [ticker, interval] of [["TSLA", "1h"], ["BRK.B", "ticks"], ["AAPL", "1d"], ["BRK.B", "5m"]]) {
    document.querySelector(`tr[data-ticker="${ticker}"]`).click();
    document.querySelector(`#intervals input[value="${interval}"]`).click();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}"""
BROKEN = "tickstream.chart().price.filter(({ color }) => color === 'transparent').map(({ time }) => time)"


TWENTY_PRICES = """async () => {
  const [drawn, known, began] = [[], [], performance.now()];
  const note = (list, point) => list.at(-1) !== JSON.stringify(point) && list.push(JSON.stringify(point));
  for (; known.length < 20; await new Promise(requestAnimationFrame)) {
    note(drawn, tickstream.chart().price.at(-1));
    note(known, tickstream.points().at(-1));
  }
  return [drawn.length, (performance.now() - began) / 1000];
}"""


async def first_stored(deployment: Deployment, ticker: str) -> datetime:
    """The time of its first tick, once there is one."""
    found: list[datetime] = []

    async def is_stored() -> bool:
        found[:] = [row["min"] for row in await deployment.database.fetch("SELECT min(ts) FROM ticks WHERE ticker = $1", ticker)]
        return found != [None]

    await deployment.pipeline.until(is_stored, f"a tick of {ticker} to be stored")
    return found[0]


async def test_bars_meet_live_prices_and_are_what_the_ticks_of_the_database_make(deployment: Deployment, visit: Visit) -> None:
    await deployment.database.execute(MINUTES_BEFORE, EARLIER, partition_of("TSLA", PARTITIONS), await first_stored(deployment, "TSLA"))
    await visit.open(deployment, "#ticker=TSLA&interval=1m")
    await visit.holds(IS_JOINED)
    before = await visit.run("tickstream.points().at(-1)")
    await visit.holds("({ time, close }) => tickstream.points().at(-1).time > time || tickstream.points().at(-1).close !== close", before)
    deployment.services["fetcher"].pause()
    try:
        shown: list[Any] = []
        stored: list[Any] = []

        async def is_settled() -> bool:
            shown[:] = await visit.run(POINTS)
            stored[:] = [list(row.values()) for row in await deployment.database.fetch(BARS)]
            return shown == stored

        await deployment.pipeline.until(is_settled, "each bar as the database has it")
    finally:
        deployment.services["fetcher"].go_on()
    drawn = await visit.run("tickstream.chart().price.map(({ time, open, high, low, close }) => [time, open, high, low, close])")
    assert [each[:5] for each in stored][:-1] == drawn[: len(stored) - 1]
    assert len(stored) > 100
    averages = await visit.run("tickstream.chart().sma.map(({ value }) => value).filter(Boolean)")
    assert averages[0] == pytest.approx(sum(each[4] for each in stored[:5]) / 5)
    assert "SMA 5 of closes" in await visit.text("#legend")


async def test_a_crossover_shows_its_evidence_by_keyboard_within_a_narrow_chart(deployment: Deployment, visit: Visit) -> None:
    await visit.page.set_viewport_size({"width": 360, "height": 740})
    await visit.page.emulate_media(reduced_motion="reduce")
    await visit.open(deployment, "#AAPL")
    await visit.holds(IS_JOINED)
    await visit.holds("tickstream.chart().markers.length > 2")
    await visit.page.focus("#chart")
    await visit.page.keyboard.press("Shift+ArrowLeft")
    assert "crossed b" in await visit.text("#chart-said")
    await visit.page.keyboard.press("Enter")
    await visit.holds("document.activeElement.id === 'chart-card'")
    await visit.holds("document.querySelector('#chart-card polyline') !== null")
    card = await visit.run(CARD)
    evidence = await visit.run(EVIDENCE, card["id"])
    assert card["prices"] == len(evidence["window"]) == 5
    assert (float(card["price"]), float(card["previous"])) == (evidence["price"], evidence["previous_price"])
    assert evidence["direction"] in card["direction"]
    assert card["said"].startswith("The price was " + {"bullish": "below", "bearish": "above"}[evidence["direction"]])
    assert await visit.run(CARD_IS_WITHIN_THE_CHART)
    assert await visit.run("document.documentElement.scrollWidth") == 360
    assert await violations(visit) == []
    await visit.page.keyboard.press("Escape")
    assert await visit.page.is_hidden("#chart-card")
    assert await visit.run("document.activeElement.id") == "chart"


async def test_prices_that_come_faster_are_drawn_once_a_second(deployment: Deployment, visit: Visit) -> None:
    """Ticks are at least 0.85 s apart; what REST tells of a page that was just opened is drawn at once."""
    await visit.open(deployment, "#ticker=AAPL&interval=1d")
    await visit.holds(IS_JOINED)
    drawn, seconds = await visit.run(TWENTY_PRICES)
    assert seconds / 2 <= drawn <= seconds / 0.85 + 5


async def test_the_interval_is_kept_in_the_address_and_the_last_choice_is_shown(deployment: Deployment, visit: Visit) -> None:
    await visit.open(deployment, "#ticker=AAPL&interval=7m")
    assert await visit.page.is_checked("#intervals input[value=ticks]")
    await visit.page.focus("#intervals input[value=ticks]")
    await visit.page.keyboard.press("ArrowRight")
    assert await visit.run("location.hash") == "#ticker=AAPL&interval=1m"
    await visit.page.reload()
    await visit.page.wait_for_selector("#prices tr")
    assert await visit.page.is_checked("#intervals input[value='1m']")
    await visit.run(CHOICES_IN_HASTE)
    await visit.holds(IS_JOINED)
    assert await visit.text("#chart-title") == "BRK.B"
    assert await visit.run("location.hash") == "#ticker=BRK.B&interval=5m"
    bars = await deployment.database.fetchval("SELECT count(DISTINCT date_bin('5 minutes', ts, 'epoch')) FROM ticks WHERE ticker = 'BRK.B'")
    await visit.holds(f"[{bars}, {bars + 1}].includes(tickstream.chart().price.length)")
    low = await deployment.database.fetchval("SELECT min(price)::float8 FROM ticks WHERE ticker = 'BRK.B'")
    assert abs(await visit.run("tickstream.chart().price[0].low") - low) < 20, "another ticker's bars"


async def test_a_noted_gap_breaks_the_line_and_is_named(deployment: Deployment, visit: Visit) -> None:
    row = await lose_ticks(deployment, "AAPL")
    await visit.open(deployment, "#AAPL")
    await visit.holds(IS_JOINED)
    await visit.holds("tickstream.chart().gaps.length === 1")
    (gap,) = await visit.run("tickstream.chart().gaps")
    assert gap["text"] == "up to 40 ticks lost (gap)"
    times = await visit.run("tickstream.chart().price.map(({ time }) => time)")
    assert [times[gap["from"]], times[gap["to"]]] == [int(row[end].timestamp()) for end in ("after", "before")]
    assert await visit.run(BROKEN) == [times[gap["from"]]]
    assert (await visit.text("#chart-gaps")).startswith("up to 40 ticks lost (gap), after ")
    await visit.run("document.querySelector(\"#intervals input[value='1m']\").click()")
    await visit.holds("tickstream.chart().gaps.length === 1 && tickstream.chart().gaps[0].to < tickstream.chart().price.length")


async def lose_ticks(deployment: Deployment, ticker: str) -> asyncpg.Record:
    """Delete forty stored ticks of a partition, note them as a gap, and return between which ticks of the ticker they lay."""
    database, partition = deployment.database, partition_of(ticker, PARTITIONS)

    async def have_more_come() -> bool:
        return bool(
            await database.fetchval("SELECT count(*) > 120 FROM ticks WHERE partition = $1 AND incarnation > $2", partition, EARLIER)
        )

    await deployment.pipeline.until(have_more_come, "more than a hundred ticks to be stored")
    ((incarnation, first),) = await database.fetch(
        "SELECT incarnation, seq - 80 FROM ticks WHERE partition = $1 AND incarnation > $2 ORDER BY seq DESC LIMIT 1", partition, EARLIER
    )
    for table in ("ticks", "enriched"):
        await database.execute(f"DELETE FROM {table} WHERE partition = $1 AND seq BETWEEN $2 AND $3", partition, first, first + 39)
    await database.execute(
        "INSERT INTO stream_events (kind, stream, partition, incarnation, first_seq, last_seq, detail) "
        "VALUES ('gap', 'ticks', $1, $2, $3, $4, '{}')",
        partition, incarnation, first, first + 39,
    )  # fmt: skip
    found = await database.fetchrow(
        "SELECT max(ts) FILTER (WHERE seq < $2) AS after, min(ts) FILTER (WHERE seq > $2) AS before "
        "FROM ticks WHERE ticker = $1 AND incarnation = $3",
        ticker, first, incarnation,
    )  # fmt: skip
    assert found is not None
    assert found["before"] - found["after"] > timedelta(0)
    return found
