"""What the page says in each state of a market and of a deployment: true words, no rule of accessibility broken, nothing that shifts."""

import asyncio
from datetime import UTC, datetime

import pytest

from services.admin.embedded import EmbeddedRedis
from tests.browser.accessibility import violations
from tests.browser.visit import Quiet, Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOTE_SHIFTS = """
window.shifts = [];
const placed = ({ x, y, width }) => `${x}, ${y}, ${width} wide`;
const nameOf = (node) => node?.outerHTML?.slice(0, 90) ?? "removed";
const told = ({ node, previousRect, currentRect }) => `${nameOf(node)} from ${placed(previousRect)} to ${placed(currentRect)}`;
const isOurs = ({ node }) => !node?.closest?.(".prices table");
new PerformanceObserver((list) => {
  for (const { sources } of list.getEntries()) shifts.push(...sources.filter(isOurs).map(told));
}).observe({ type: "layout-shift", buffered: true });
"""
"""What moves although nobody asked for it; within the table and the chart nothing is judged, only where they stand."""
ORDER = "[...document.querySelectorAll('#prices tr')].map((row) => row.dataset.ticker).join(' ')"
CELL = "([ticker, name]) => document.querySelector(`[data-ticker=${ticker}] .${name}`)?.textContent"
SERVERS_AWAY = ("WebSocket connection to", "Failed to load resource")
"""What the browser itself says of a server that is not there."""


async def shows(visit: Visit, phase: str, words: str = "") -> None:
    """Wait for a state of the connection, and for these words about it."""
    await visit.page.wait_for_selector(f'#connection[data-phase="{phase}"]')
    await visit.holds("(words) => document.querySelector('#banner').textContent.includes(words)", words)
    assert await visit.page.is_hidden("#banner") == (words == "")


async def breaks_no_rule(visit: Visit, state: str) -> None:
    """Judge the page as it is now, in both colour schemes."""
    for scheme in ("light", "dark"):
        await visit.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
        assert await violations(visit) == [], f"{state}, {scheme}"


async def says_of_the_market(visit: Visit, title: str, detail: str) -> None:
    """Wait for the words of the header; `detail` is a pattern."""
    await visit.holds(
        "([title, detail]) => document.querySelector('#market strong').textContent === title "
        "&& new RegExp(`^${detail}$`).test(document.querySelector('#market span').textContent)",
        [title, detail],
    )


async def test_a_market_from_before_its_first_price_to_a_source_that_falls_silent(quiet: Quiet, visit: Visit) -> None:
    market = quiet.market
    await visit.page.add_init_script(NOTE_SHIFTS)
    await visit.page.goto(quiet.deployment.url)
    await shows(visit, "live")
    assert await visit.page.is_visible("#no-prices")
    assert await visit.text("#no-alerts") == "No crossover yet."
    assert await visit.page.title() == "tickstream"
    await breaks_no_rule(visit, "empty")

    await market.announce("closed", "weekend", opens_in=2 * 86_400 + 3 * 3600 + 12 * 60 + 30)
    await market.trade("AAPL", "255.5", "255.6")
    await says_of_the_market(visit, "NYSE closed", "weekend, opens in 2 d 03:1[12]")
    opening = datetime.fromtimestamp((datetime.now(UTC).timestamp() + 2 * 86_400 + 3 * 3600 + 12 * 60 + 30), UTC)
    await visit.page.hover("#market")
    assert await visit.page.is_visible("#market-hint")
    assert "(America/New York)" in await visit.text("#market-hint")
    assert str(opening.day) in await visit.text("#market-hint")
    await visit.page.wait_for_selector("#prices [data-ticker=AAPL]")
    await shows(visit, "live")
    await visit.holds("/^.{0,2}255.60 AAPL · tickstream$/.test(document.title)")
    await breaks_no_rule(visit, "closed and warming up")

    await market.announce("open", "regular session", opens_in=90_000, closes_in=1800)
    await says_of_the_market(visit, "NYSE open", r"closes in 29 min \d\d s")
    before = await visit.text("#market span")
    await visit.holds("(before) => document.querySelector('#market span').textContent !== before", before)
    for price in ("255.7", "255.8", "255.9", "256"):
        seen = await visit.run("tickstream.prices()[0].seq")
        await market.trade("AAPL", price)
        await visit.holds("(seen) => tickstream.prices()[0].seq > seen", seen)
    assert await visit.run("tickstream.prices()[0].sma") == "255.8"
    await visit.page.wait_for_selector("#connection[data-phase=silent]")
    await shows(visit, "silent", "the market is open, but the source is silent.")
    await breaks_no_rule(visit, "silent")
    await market.trade("AAPL", "256.1")
    await shows(visit, "live")
    assert await visit.run("shifts") == []


async def test_a_link_to_a_ticker_that_has_no_price_yet_waits_for_it(quiet: Quiet, visit: Visit) -> None:
    await quiet.market.trade("MSFT", "10")
    await visit.open(quiet.deployment, "#ticker=ORCL&interval=1m")
    await visit.holds("document.querySelector('#chart-note').textContent === 'No price of ORCL yet'")
    assert await visit.text("#chart-title") == "ORCL"
    assert await visit.run("location.hash") == "#ticker=ORCL&interval=1m"
    await quiet.market.trade("ORCL", "125.5")
    await visit.holds("document.querySelector('#legend').textContent.includes('125.50')")
    assert await visit.text("#chart-note") == ""
    await visit.run("location.hash = '#%3Cb%3E'")
    await visit.holds("tickstream.prices().some(({ ticker }) => location.hash === `#${ticker}`)")  # that can never be one


async def test_a_price_that_changes_the_order_moves_its_row_with_the_focus_but_not_under_a_pointer(quiet: Quiet, visit: Visit) -> None:
    deployment, market, page = quiet.deployment, quiet.market, visit.page
    for ticker in ("ORDA", "ORDB", "ORDC"):
        await market.trade(ticker, "100")

    async def are_stored() -> bool:
        return bool(await deployment.database.fetchval("SELECT count(*) >= 3 FROM ticks WHERE ticker LIKE 'ORD_'"))

    await deployment.pipeline.until(are_stored, "the day's opens to be stored")
    await visit.open(deployment, "#sort=-change&find=ORD")
    await visit.holds(f"{ORDER} === 'ORDA ORDB ORDC'")
    await page.click("[data-ticker=ORDC] .ticker button")
    await page.mouse.move(0, 0)
    await market.trade("ORDC", "110")
    await visit.holds(f"{ORDER} === 'ORDC ORDA ORDB'")
    assert await visit.run(CELL, ["ORDC", "percent"]) == "+10.00%"
    assert await visit.run("document.activeElement.closest('tr').dataset.ticker") == "ORDC"

    await page.hover("[data-ticker=ORDA] .price")
    await market.trade("ORDB", "120")
    await visit.holds(f"(cell) => ({CELL})(cell) === '+20.00%'", ["ORDB", "percent"])
    await visit.holds(f"(cell) => ['4 s', '5 s'].includes(({CELL})(cell))", ["ORDB", "age"])  # it may have moved for a second
    assert await visit.run(ORDER) == "ORDC ORDA ORDB"
    await page.mouse.move(0, 0)
    await visit.holds(f"{ORDER} === 'ORDB ORDC ORDA'")


@pytest.mark.long
async def test_each_server_that_goes_away_is_named_and_the_rest_goes_on(quiet: Quiet, visit: Visit, market_redis: EmbeddedRedis) -> None:
    visit.allow(*SERVERS_AWAY)
    deployment, market = quiet.deployment, quiet.market
    await market.announce("open", "regular session", opens_in=90_000, closes_in=1800)
    await market.trade("TSLA", "400", "401")
    await visit.page.add_init_script(NOTE_SHIFTS)
    await visit.open(deployment)
    await shows(visit, "live")

    deployment.services["api"].kill()
    await shows(visit, "partial", "Prices and alerts are live, but the REST service cannot be reached")
    await market.trade("TSLA", "402.5")
    await visit.holds("tickstream.prices().some(({ price }) => price === '402.5')")
    await breaks_no_rule(visit, "REST away")

    deployment.services["gateway"].kill()
    await shows(visit, "waiting", "The REST service cannot be reached, too.")
    deployment.services["api"] = deployment.pipeline.start("api")
    await visit.holds("/^Disconnected: no gateway answers at [^ ]+\\.$/.test(document.querySelector('#banner span').textContent)")
    await breaks_no_rule(visit, "disconnected")
    deployment.services["gateway"] = deployment.pipeline.start("gateway")
    await shows(visit, "live")

    await asyncio.to_thread(market_redis.kill)
    await shows(visit, "stale", "Redis is away since ")
    await breaks_no_rule(visit, "stale")
    await asyncio.to_thread(market_redis.start)
    await shows(visit, "live")
    assert await visit.run("shifts") == []
