"""The page on a whole deployment: what it shows is what the pipeline holds, and it says so when it cannot know."""

import asyncio
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from playwright.async_api import Route

from services.admin.embedded import EmbeddedRedis
from tests.browser.accessibility import violations
from tests.browser.visit import Deployment, Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")

POINTS = """
WITH numbered AS (
    SELECT t.ts, t.seq, t.price::text, e.sma::text FROM ticks AS t
    JOIN enriched AS e USING (incarnation, partition, seq) WHERE t.ticker = $1
)
SELECT DISTINCT ON (date_trunc('second', ts)) floor(extract(epoch FROM ts))::bigint AS time, price, sma
FROM numbered ORDER BY date_trunc('second', ts), ts DESC, seq DESC
"""
ALERTS = "SELECT id FROM alerts WHERE ts >= $1::text::timestamptz"
GATEWAY_AWAY = ("WebSocket connection to", "Failed to load resource")
"""What the browser itself says of a server that is not there."""

IS_JOINED = "tickstream.isJoined() && tickstream.chart()?.price.length > 0"
NEWEST_OF_TSLA_IS_AFTER = "(ms) => tickstream.prices().find((stock) => stock.ticker === 'TSLA').at > ms"
LIVE_SECONDS = """() => {
  const ticks = tickstream.ticks();
  const stored = ticks.findLastIndex((tick) => tick.isStored);
  return new Set(ticks.slice(stored + 1).map((tick) => Math.floor(tick.at / 1000))).size;
}"""
DRAWN = """() => ({
  price: tickstream.chart().price,
  sma: tickstream.chart().sma,
  markers: tickstream.chart().markers,
  stored: tickstream.ticks().findLast((tick) => tick.isStored).at,
})"""

BEYOND_THE_EDGE = """() => [...document.querySelectorAll('main *')]
  .filter((each) => each.getBoundingClientRect().right > innerWidth && !each.closest('#chart'))
  .map((each) => each.outerHTML.slice(0, 80))"""
CORNER_OF_CHART = """() => {
  const copy = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  copy.drawImage(document.querySelector('#chart canvas'), 0, 0);
  return String([...copy.getImageData(3, 3, 1, 1).data]);
}"""


async def test_prices_move_alerts_come_and_the_market_is_named(deployment: Deployment, visit: Visit) -> None:
    await visit.open(deployment)
    await visit.holds("[...document.querySelectorAll('#prices tr')].map((row) => row.dataset.ticker).join() === 'AAPL,BRK.B,TSLA'")
    before = await visit.text("#prices tr[data-ticker=TSLA] td.price")
    await visit.holds("(old) => document.querySelector('[data-ticker=TSLA] td.price').textContent !== old", before)
    await visit.page.wait_for_selector("#alerts li")
    newest = await visit.page.get_attribute("#alerts li", "data-id")
    await visit.holds("(old) => document.querySelector('#alerts li').dataset.id !== old", newest)
    assert await visit.text("#market") == "Market open simulated prices"
    assert await visit.text("#connection") == "live"
    assert await visit.page.is_hidden("#banner")
    await visit.holds("() => /^[A-Z.]+ (bullish|bearish) at /.test(document.querySelector('#announcement').textContent)")


@pytest.mark.parametrize("fragment", ["", *(pytest.param(text, marks=pytest.mark.long) for text in ("#%", "#TSLA"))])
async def test_address_that_names_no_ticker_shows_the_first_one(deployment: Deployment, visit: Visit, fragment: str) -> None:
    await visit.open(deployment, fragment)
    await visit.holds(
        "(wanted) => document.querySelector('#chart-title').textContent === wanted", "TSLA" if fragment == "#TSLA" else "AAPL"
    )


async def drawn_as_stored(deployment: Deployment, visit: Visit) -> tuple[dict[str, Any], list[asyncpg.Record]]:
    """What is drawn of TSLA, and its rows up to there, once each second that has rows is drawn and no other.

    A pipeline that stalled for longer than a second conflates it away; then the next look at the history brings it.
    """
    drawn: dict[str, Any] = {}
    rows: list[asyncpg.Record] = []

    async def is_whole() -> bool:
        drawn.update(await visit.run(DRAWN))
        last = drawn["price"][-1]["time"]
        await deployment.pipeline.until(lambda: is_stored_beyond(deployment, last), "the ticks that the page shows to be stored")
        rows[:] = [row for row in await deployment.database.fetch(POINTS, "TSLA") if row["time"] <= last]
        return [point["time"] for point in drawn["price"]] == [row["time"] for row in rows]

    await deployment.pipeline.until(is_whole, "a chart of every second that has ticks")
    return drawn, rows


async def is_stored_beyond(deployment: Deployment, second: int) -> bool:
    return bool(await deployment.database.fetchval("SELECT max(ts) > to_timestamp($1) FROM ticks WHERE ticker = 'TSLA'", second + 1))


async def test_history_meets_live_ticks_without_gap_duplicate_or_disorder(deployment: Deployment, visit: Visit) -> None:
    await visit.open(deployment, "#TSLA")
    await visit.holds(IS_JOINED)
    await visit.holds(f"({LIVE_SECONDS})() >= 3")
    drawn, rows = await drawn_as_stored(deployment, visit)
    # Live entries are conflated: up to the newest row that was read each second shows its last tick, exactly.
    settled = [row for row in rows if row["time"] < drawn["stored"] // 1000]
    assert len(settled) > 0
    shown = {point["time"]: point["value"] for point in drawn["price"]}
    assert [shown[row["time"]] for row in settled] == [float(row["price"]) for row in settled]
    averages = {point["time"]: point["value"] for point in drawn["sma"] if "value" in point}
    assert all(row["time"] in averages for row in rows if row["sma"])
    assert all(abs(Decimal(averages[row["time"]]) - Decimal(row["sma"])) < Decimal("0.000002") for row in settled if row["sma"])


async def test_history_that_lags_is_read_again_until_it_meets_the_live_ticks(deployment: Deployment, visit: Visit) -> None:
    deployment.services["persister"].pause()
    try:
        newest = await deployment.database.fetchval("SELECT max(ts) FROM ticks WHERE ticker = 'TSLA'")
        await visit.open(deployment)
        await visit.holds(NEWEST_OF_TSLA_IS_AFTER, newest.timestamp() * 1000 + 2000)
        await visit.page.click("tr[data-ticker=TSLA]")
        await visit.holds("tickstream.ticks().some((tick) => tick.isStored)")
        assert not await visit.run("tickstream.isJoined()")
    finally:
        deployment.services["persister"].go_on()
    await visit.holds(IS_JOINED)
    await drawn_as_stored(deployment, visit)


async def test_each_stored_alert_of_the_ticker_is_marked_on_the_chart(deployment: Deployment, visit: Visit) -> None:
    await visit.open(deployment, "#AAPL")
    await visit.holds(IS_JOINED)
    await visit.holds("tickstream.chart().markers.length > 2")
    alerts = await deployment.database.fetch("SELECT id FROM alerts WHERE ticker = 'AAPL'")
    stored = [row["id"] for row in alerts]
    await visit.holds("(ids) => ids.every((id) => tickstream.chart().markers.some((marker) => marker.id === id))", stored)


async def test_a_ticker_is_chosen_by_click_and_by_keyboard(deployment: Deployment, visit: Visit) -> None:
    await visit.open(deployment)
    assert await visit.text("#chart-title") == "AAPL"
    await visit.page.click("tr[data-ticker=TSLA] td.sma")
    assert await visit.text("#chart-title") == "TSLA"
    await visit.page.focus("tr[data-ticker=TSLA] .ticker button")
    await visit.page.keyboard.press("ArrowUp")
    assert await visit.run("document.activeElement.textContent") == "BRK.B"
    await visit.page.keyboard.press("Enter")
    assert await visit.text("#chart-title") == "BRK.B"
    assert await visit.run("location.hash") == "#BRK.B"
    selected = [await each.get_attribute("data-ticker") for each in await visit.page.query_selector_all("[aria-selected=true]")]
    assert selected == ["BRK.B"]
    await visit.holds(IS_JOINED)
    shown = await visit.run("tickstream.chart().price.at(-1).value")
    assert abs(shown - 497.55) < 100, "the chart shows another ticker's prices"


async def test_a_gateway_that_is_killed_is_told_and_no_alert_is_missing_when_it_is_back(deployment: Deployment, visit: Visit) -> None:
    visit.allow(*GATEWAY_AWAY)
    await visit.open(deployment)
    await visit.holds("tickstream.alerts().length > 3")
    deployment.services["gateway"].kill()
    await visit.page.wait_for_selector("#banner:not([hidden])")
    await visit.holds("document.querySelector('#banner').textContent.startsWith('Disconnected: ')")
    await visit.holds("['disconnected', 'connecting'].includes(document.querySelector('#connection').textContent)")
    await visit.holds("/no gateway answers at ws:/.test(document.querySelector('#banner').textContent)")
    stood = await visit.run("tickstream.prices().find((stock) => stock.ticker === 'AAPL').seq")
    before = int(await deployment.database.fetchval("SELECT count(*) FROM alerts"))

    async def have_more_come() -> bool:
        return bool(await deployment.database.fetchval("SELECT count(*) > $1 FROM alerts", before + 2))

    await deployment.pipeline.until(have_more_come, "alerts while the page is disconnected")
    deployment.services["gateway"] = deployment.pipeline.start("gateway")
    await visit.page.wait_for_selector("#banner", state="hidden")
    await visit.holds("(seq) => tickstream.prices().find((stock) => stock.ticker === 'AAPL').seq > seq", stood)
    oldest = await visit.run("tickstream.alerts().at(-1).ts")
    stored = [row["id"] for row in await deployment.database.fetch(ALERTS, oldest)]
    await visit.holds("(ids) => ids.every((id) => tickstream.alerts().some((alert) => alert.id === id))", stored)
    assert len(stored) > 3
    ids = await visit.run("tickstream.alerts().map(({ id }) => id)")
    assert len(ids) == len(set(ids))
    await visit.holds(IS_JOINED)


async def test_redis_that_is_away_is_told_with_the_time(deployment: Deployment, visit: Visit, market_redis: EmbeddedRedis) -> None:
    visit.allow(*GATEWAY_AWAY)
    await visit.open(deployment)
    await asyncio.to_thread(market_redis.kill)
    await visit.holds("/^Redis is away since .*: prices stand still/.test(document.querySelector('#banner').textContent)")
    assert await visit.text("#connection") == "stale"
    await asyncio.to_thread(market_redis.start)
    await visit.page.wait_for_selector("#banner", state="hidden")
    before = await visit.text("#prices tr[data-ticker=AAPL] td.price")
    await visit.holds("(old) => document.querySelector('[data-ticker=AAPL] td.price').textContent !== old", before)


async def test_without_the_chart_library_everything_else_works(deployment: Deployment, visit: Visit) -> None:
    visit.allow("Failed to load resource")

    async def refuse(route: Route) -> None:
        await route.fulfill(status=404, body="")

    await visit.context.route("**/vendor/**", refuse)
    await visit.open(deployment)
    assert "The chart library is not installed" in await visit.text("#chart")
    await visit.page.wait_for_selector("#alerts li")
    assert await visit.text("#connection") == "live"


async def test_a_narrow_page_has_nothing_to_scroll_sideways(deployment: Deployment, visit: Visit) -> None:
    await visit.page.set_viewport_size({"width": 360, "height": 740})
    await visit.open(deployment)
    await visit.page.wait_for_selector("#alerts li")
    await visit.holds(IS_JOINED)
    assert await visit.run("document.documentElement.scrollWidth") == 360
    assert await visit.run(BEYOND_THE_EDGE) == []


async def test_light_and_dark_follow_the_system_while_the_page_is_open_and_neither_breaks_a_rule(
    deployment: Deployment, visit: Visit
) -> None:
    await visit.page.emulate_media(color_scheme="light", reduced_motion="reduce")
    await visit.open(deployment)
    await visit.holds(IS_JOINED)
    await visit.page.wait_for_selector("#alerts li")
    assert await violations(visit) == []
    light = await visit.page.locator(".chart").screenshot()
    await visit.page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    dark = await visit.page.locator(".chart").screenshot()
    assert light != dark
    background = "getComputedStyle(document.body).backgroundColor"
    assert await visit.run(background) == "rgb(12, 16, 22)"
    await visit.holds(f"({CORNER_OF_CHART})() === '20,26,34,255'")
    assert await violations(visit) == []


async def test_who_wants_no_motion_sees_no_flash(deployment: Deployment, visit: Visit) -> None:
    await visit.page.emulate_media(reduced_motion="reduce")
    await visit.open(deployment)
    before = await visit.text("#prices tr[data-ticker=AAPL] td.price")
    moved = """(old) => {
      const cell = document.querySelector('[data-ticker=AAPL] td.price');
      return cell.textContent !== old && cell.querySelector('.move').dataset.direction !== '';
    }"""
    await visit.holds(moved, before)
    assert await visit.run("document.querySelector('#prices').getAnimations({ subtree: true }).length") == 0
    await visit.page.emulate_media(reduced_motion="no-preference")
    await visit.holds("document.querySelector('#prices').getAnimations({ subtree: true }).length > 0")


async def test_the_policy_lets_no_script_run_but_the_pages_own(deployment: Deployment, visit: Visit) -> None:
    visit.allow("policy: ", "Content Security Policy")
    await visit.open(deployment)
    attempt = """() => new Promise((resolve) => {
      addEventListener('securitypolicyviolation', (event) => resolve(event.violatedDirective), { once: true });
      document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.broken = true' }));
    })"""
    assert str(await visit.run(attempt)).startswith("script-src")
    assert await visit.run("window.broken") is None
