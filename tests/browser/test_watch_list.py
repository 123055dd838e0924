"""The watch list of 1 000 tickers as a reader uses it: a few rows exist, and all are found, sorted, pinned and walked through."""

import json
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Route

from tests.browser.accessibility import violations
from tests.browser.visit import Deployment, Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")

COUNT = 1000
TICKERS = [f"T{n:03d}" for n in range(COUNT)]
MOST_ROWS = 50
"""On a page 800 px high: those in view, and a few beside them."""

ORDER = "[...document.querySelectorAll('#prices tr')].map((row) => row.dataset.ticker)"
FOCUSED = "document.activeElement.closest('tr')?.dataset.ticker ?? document.activeElement.id"
CHOSEN = "[...document.querySelectorAll('#prices tr[aria-selected=true]')].map((row) => row.dataset.ticker).join()"
ARE_DRAWN = "[...document.querySelectorAll('#prices tr .spark .line')].every((line) => line.getTotalLength() > 0)"
CHANGES = """() => Object.fromEntries([...document.querySelectorAll('#prices tr')].map((row) =>
  [row.dataset.ticker, [row.querySelector('.price').textContent, row.querySelector('.percent').textContent]]))"""
ARE_KNOWN = "[...document.querySelectorAll('#prices .percent')].every((cell) => cell.textContent !== '–')"
PLACES = """() => [...document.querySelectorAll('#prices tr')].map((row) =>
  [Number(row.dataset.ticker.slice(1)), Number(row.getAttribute('aria-rowindex'))])"""
WATCH_WORK = """() => {
  const seen = (window.seen = { draws: 0, rows: 0, texts: new Map() });
  new MutationObserver((records) => {
    seen.draws++;
    for (const { type, target, addedNodes } of records) {
      if (target.id === 'prices') seen.rows += addedNodes.length;
      else if (type === 'childList') seen.texts.set(target, (seen.texts.get(target) ?? 0) + 1);
    }
  }).observe(document.querySelector('#prices'), { childList: true, subtree: true });
}"""
WORK = "() => ({ ...seen, cells: seen.texts.size, writes: [...seen.texts.values()].reduce((sum, count) => sum + count, 0) })"
FORBID_STORAGE = "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('forbidden', 'SecurityError'); } })"


@pytest.fixture(scope="module")
def deployment_variables() -> dict[str, str]:
    return {"TICKERS": ",".join(TICKERS), "SIMULATED_RATE": "500"}


@pytest_asyncio.fixture(loop_scope="session")
async def standing(deployment: Deployment) -> None:
    """Prices stand still, two of each ticker at least, between which is a line, and all of them are stored."""

    async def are_known() -> bool:
        moved = "SELECT count(*) = $1 FROM (SELECT FROM ticks GROUP BY ticker HAVING min(ts) < max(ts)) AS moved"
        return bool(await deployment.database.fetchval(moved, COUNT))

    await deployment.pipeline.until(are_known, "two prices of each ticker")
    deployment.services["fetcher"].pause()

    async def are_stored() -> bool:
        newest = "SELECT count(*) = (SELECT coalesce(sum(seq), 0) FROM cursors WHERE stream = 'ticks') FROM ticks"
        return bool(await deployment.database.fetchval(newest))

    await deployment.pipeline.until(are_stored, "all ticks to be stored")


@pytest_asyncio.fixture(loop_scope="session")
async def opened(deployment: Deployment, visit: Visit, standing: None) -> Visit:
    """The page with all tickers on it."""
    await open_all(deployment, visit)
    return visit


async def open_all(deployment: Deployment, visit: Visit, fragment: str = "") -> None:
    await visit.open(deployment, fragment)
    await visit.holds(f"tickstream.prices().length === {COUNT}")


async def test_only_rows_in_view_exist_and_each_knows_its_place(opened: Visit) -> None:
    await opened.holds("document.querySelector('#count').textContent === '1\u202f000'")
    assert await opened.page.get_attribute("#prices-panel table", "aria-rowcount") == "1001"
    order = await opened.run(ORDER)
    assert order == TICKERS[: len(order)]
    assert 15 < len(order) < MOST_ROWS
    scroller = opened.page.locator("#prices-panel .scroll")
    await scroller.evaluate("(each) => each.scrollTo(0, each.scrollHeight / 2)")
    await opened.page.wait_for_selector("tr[data-ticker=T505]")
    places = await opened.run(PLACES)
    assert len(places) < MOST_ROWS
    assert all(row_index == number + 2 for number, row_index in places)
    assert places[0] == [0, 2], "the row with the tab stop exists wherever the list is scrolled to"
    assert await opened.run("document.querySelector('tr[data-ticker=T505] .price').textContent") != ""


async def test_a_flush_of_all_tickers_writes_what_is_in_view_and_makes_no_row(deployment: Deployment, opened: Visit) -> None:
    rows = len(await opened.run(ORDER))
    seqs = await opened.run("tickstream.prices().map(({ seq }) => seq)")
    await opened.run(WATCH_WORK)
    deployment.services["fetcher"].go_on()
    await opened.holds("(seqs) => tickstream.prices().every(({ seq }, place) => seq > seqs[place]) && seen.draws >= 8", seqs)
    deployment.services["fetcher"].pause()
    work = await opened.run(WORK)
    assert work["rows"] == 0
    assert work["cells"] <= 7 * rows
    assert work["writes"] <= 7 * rows * work["draws"]


async def test_a_ticker_is_found_and_chosen_and_the_address_keeps_the_search(deployment: Deployment, opened: Visit) -> None:
    page = opened.page
    await page.keyboard.press("/")
    assert await opened.run(FOCUSED) == "find"
    await page.keyboard.type("t77")
    await opened.holds(f"({ORDER}).length === 10")
    assert await opened.text("#count") == "10 of 1\u202f000"
    await page.keyboard.type("7")
    await page.keyboard.press("Enter")
    assert (await opened.run(CHOSEN), await opened.text("#chart-title")) == ("T777", "T777")
    assert parse_qs(urlsplit(page.url).fragment) == {"ticker": ["T777"], "find": ["t777"]}
    await page.keyboard.type("x")
    assert await opened.text("#no-prices") == "No ticker matches “t777x”."
    assert await opened.run(ORDER) == []
    assert await violations(opened) == []
    await page.reload()
    await page.wait_for_selector("#no-prices:not([hidden])")
    assert await page.input_value("#find") == "t777x"
    await page.focus("#find")
    await page.keyboard.press("Escape")
    await page.wait_for_selector("tr[data-ticker=T777]")
    assert await page.input_value("#find") == ""
    assert urlsplit(page.url).fragment == "T777"


async def test_a_change_is_that_since_the_days_open_and_sorts_the_list(deployment: Deployment, visit: Visit, standing: None) -> None:
    await open_all(deployment, visit)
    await visit.holds(ARE_KNOWN)
    await visit.holds(ARE_DRAWN)
    await visit.page.click("th.change button")
    assert await visit.page.get_attribute("th.change", "aria-sort") == "descending"
    assert parse_qs(urlsplit(visit.page.url).fragment)["sort"] == ["-change"]
    expected = await stored_changes(deployment, visit)
    await visit.page.reload()
    # The opens of rows that are not in view are asked for, too, or the greatest would not stand first.
    await visit.holds(f"(order) => ({ORDER}).slice(0, 10).join() === order", ",".join(by_change(expected)[:10]))
    shown = await visit.run(CHANGES)
    assert all(percent == expected[ticker][1] for ticker, (_, percent) in shown.items())


async def stored_changes(deployment: Deployment, visit: Visit) -> dict[str, tuple[Decimal, str]]:
    """Of each ticker the change since the first price of the day, as a number and as it is written."""
    first = "SELECT DISTINCT ON (ticker) ticker, price FROM ticks WHERE ts >= date_trunc('day', now()) ORDER BY ticker, ts, seq"
    opens = {row["ticker"]: row["price"] for row in await deployment.database.fetch(first)}
    prices = {stock["ticker"]: Decimal(stock["price"]) for stock in await visit.run("tickstream.prices()")}
    changes = {ticker: prices[ticker] - opens[ticker] for ticker in opens}
    return {ticker: (change / opens[ticker], percent(change, opens[ticker])) for ticker, change in changes.items()}


def percent(change: Decimal, open_: Decimal) -> str:
    size = (abs(change) * 100 / open_).quantize(Decimal("0.01"), ROUND_HALF_UP)
    return f"{'+' if change > 0 else '−' if change < 0 else ''}{size}%"


def by_change(changes: dict[str, tuple[Decimal, str]]) -> list[str]:
    return sorted(changes, key=lambda ticker: (-changes[ticker][0], ticker))


@pytest.mark.long
async def test_a_pinned_ticker_stands_first_also_after_a_reload_and_in_other_tabs(deployment: Deployment, opened: Visit) -> None:
    other = await opened.context.new_page()
    await other.goto(f"{deployment.url}/")
    await other.wait_for_selector("#prices tr")
    await opened.page.click("tr[data-ticker=T007] .pin button")
    assert (await opened.run(ORDER))[:3] == ["T007", "T000", "T001"]
    assert await opened.page.get_attribute("tr[data-ticker=T007] .pin button", "aria-pressed") == "true"
    assert await opened.run(CHOSEN) == "T000", "a pin chooses nothing"
    await other.wait_for_selector("#prices tr:first-child[data-ticker=T007]")
    await other.click("tr[data-ticker=T007] .pin button")
    await opened.page.wait_for_selector("#prices tr:first-child[data-ticker=T000]")
    await other.click("tr[data-ticker=T003] .pin button")
    await opened.page.reload()
    await opened.page.wait_for_selector("#prices tr:first-child[data-ticker=T003]")


async def test_where_nothing_may_be_stored_a_pin_holds_as_long_as_the_page(deployment: Deployment, visit: Visit, standing: None) -> None:
    await visit.context.add_init_script(FORBID_STORAGE)
    await open_all(deployment, visit)
    await visit.page.click("tr[data-ticker=T002] .pin button")
    assert (await visit.run(ORDER))[:2] == ["T002", "T000"]


async def test_the_keyboard_walks_through_all_rows_and_the_focus_is_never_lost(opened: Visit) -> None:
    page = opened.page
    await page.focus("tr[data-ticker=T000] .ticker button")
    for key, ticker in (("ArrowDown", "T001"), ("End", "T999"), ("ArrowUp", "T998"), ("Home", "T000"), ("ArrowUp", "T000")):
        await page.keyboard.press(key)
        assert (key, await opened.run(FOCUSED)) == (key, ticker)
    await page.keyboard.press("PageDown")
    far = await opened.run(FOCUSED)
    assert far > "T008"
    await page.keyboard.press("ArrowRight")
    assert await opened.run("document.activeElement.className") == "spark"
    await page.keyboard.press("Enter")
    assert await opened.run(CHOSEN) == far
    await page.locator("#prices-panel .scroll").evaluate("(each) => each.scrollTo(0, each.scrollHeight)")
    await page.wait_for_selector("tr[data-ticker=T999]")
    assert await opened.run(FOCUSED) == far
    assert await opened.run("document.querySelectorAll('#prices [tabindex=\"0\"]').length") == 1
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("Enter")
    assert (await opened.run(ORDER))[0] == far
    assert await opened.run(FOCUSED) == far


async def test_while_rest_is_away_rows_have_prices_and_neither_line_nor_change(
    deployment: Deployment, visit: Visit, standing: None
) -> None:
    visit.allow("Failed to load resource")

    async def refuse(route: Route) -> None:  # the real service would take the whole page away
        await route.fulfill(
            status=503, content_type="application/problem+json", body=json.dumps({"detail": "PostgreSQL cannot be asked now"})
        )

    await visit.context.route("**/api/days?*", refuse)
    async with visit.page.expect_response("**/api/days?*"):
        await open_all(deployment, visit)
    changes: dict[str, Any] = await visit.run(CHANGES)
    assert {shown for _, shown in changes.values()} == {"–"}
    assert not await visit.run(ARE_DRAWN)
    assert await visit.page.is_hidden("#banner")


async def test_on_a_phone_ticker_price_change_and_age_have_room(deployment: Deployment, visit: Visit, standing: None) -> None:
    await visit.page.set_viewport_size({"width": 360, "height": 740})
    await open_all(deployment, visit)
    columns = "[...document.querySelectorAll('#prices tr:first-child > *')].filter((cell) => cell.checkVisibility())"
    assert await visit.run(f"{columns}.map((cell) => cell.classList[0])") == ["pin", "ticker", "price", "change", "age"]
    texts = "[...document.querySelectorAll('#prices :is(.ticker button, .price span, .percent, .age)')]"
    assert await visit.run(f"{texts}.every((text) => text.scrollWidth <= text.parentElement.clientWidth)")
    assert await visit.run("document.documentElement.scrollWidth") == 360
