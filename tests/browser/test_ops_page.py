"""The ops view on a whole deployment: what stands still is named as the place within seconds, and is forgotten when it goes on."""

import asyncio
import json
from typing import Any

import pytest
from playwright.async_api import Route
from websockets.asyncio.client import connect as connect_client

from services.admin.embedded import EmbeddedRedis
from shared import streams
from shared.redis.client import connect
from tests.browser.accessibility import violations
from tests.browser.visit import Deployment, Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")

STAGES = ("fetcher", "ticks", "analyzer", "enriched", "persister", "postgresql", "gateway", "clients")
API_AWAY = ("Failed to load resource",)
"""What the browser itself says of a server that is not there."""
STATE = "(stage) => document.querySelector(`[data-stage=${stage}]`).dataset.state"
FIGURE = "(stage) => document.querySelector(`[data-stage=${stage}] dd`).textContent"
HEADLINE = "document.querySelector('#headline').textContent"
HIDE = """(isHidden) => {
  Object.defineProperty(document, 'hidden', { configurable: true, get: () => isHidden });
  document.dispatchEvent(new Event('visibilitychange'));
}"""
BEYOND_THE_EDGE = """() => [...document.querySelectorAll('body *')]
  .filter((each) => each.getBoundingClientRect().right > innerWidth && !each.closest('.unseen, thead, svg'))
  .map((each) => each.outerHTML.slice(0, 80))"""


async def look(visit: Visit, deployment: Deployment) -> None:
    """Open the page and wait until all is well there."""
    await visit.page.goto(f"{deployment.url}/ops")
    await is_well(visit)


async def is_well(visit: Visit) -> None:
    # A gateway that another test killed is told of for a minute.
    await visit.holds("['ok', 'gone'].includes(document.querySelector('#headline').dataset.state)")


async def comes_to(visit: Visit, stage: str, *states: str) -> None:
    await visit.holds(f"([stage, states]) => states.includes(({STATE})(stage))", [stage, list(states)])


async def test_the_picture_lives_and_tells_what_each_stage_does(deployment: Deployment, visit: Visit) -> None:
    await look(visit, deployment)
    assert [await visit.run(STATE, stage) for stage in STAGES[:-2]] == ["ok"] * 6
    async with connect_client(f"ws://127.0.0.1:{deployment.pipeline.port}/ws/stocks/", proxy=None):
        await comes_to(visit, "clients", "ok")
        assert await visit.run(FIGURE, "clients") == "1"
    await visit.holds("document.querySelectorAll('#partitions tr').length === 2")
    before = await visit.run("tickstream.told().partitions.map(({ ticks }) => ticks.seq)")
    await visit.holds("(before) => tickstream.told().partitions.some(({ ticks }, p) => ticks.seq > before[p])", before)
    await visit.holds("document.querySelector('[data-stage=fetcher] dd').textContent !== '0.0/s'")
    await visit.holds("document.querySelector('[data-stage=analyzer]').getAnimations({ subtree: true }).length > 0")
    await visit.holds("document.querySelector('[data-stage=postgresql] .curve path').getAttribute('d').includes('L')")
    named = await visit.run("[...document.querySelectorAll('#processes tr')].map((row) => row.cells[0].textContent)")
    assert named == ["fetcher", "analyzer", "persister", "gateway"]
    pids = {service: str(deployment.services[service].process.pid) for service in named}
    shown = await visit.run("[...document.querySelectorAll('#processes tr')].map((row) => row.cells[1].textContent)")
    assert [pid in text for pid, text in zip(pids.values(), shown, strict=True)] == [True] * 4
    assert await visit.text("#freshness") == "live"


async def test_a_stopped_analyzer_is_named_as_the_place_and_forgotten_when_it_goes_on(deployment: Deployment, visit: Visit) -> None:
    await look(visit, deployment)
    analyzer = deployment.services["analyzer"]
    analyzer.pause()
    try:
        await comes_to(visit, "analyzer", "stuck")
        words = f":{analyzer.process.pid} holds partitions 0, 1 and stands still for"
        await visit.holds("(words) => document.querySelector('#headline').textContent.includes(words)", words)
        assert await visit.run("document.querySelector('#headline').dataset.state") == "stuck"
        assert await visit.text("#headline code") == "python -m services.analyzer"
        assert {stage: await visit.run(STATE, stage) for stage in ("fetcher", "persister", "gateway")} == {
            "fetcher": "ok", "persister": "ok", "gateway": "ok",
        }  # fmt: skip
        await visit.holds("Number(document.querySelector('[data-stage=analyzer] dd').textContent) > 20")
        await visit.holds("document.querySelector('#announcement').textContent.includes('stands still')")
        assert "analyzer: ticks" in await visit.text("#partitions")
        assert await violations(visit) == []
    finally:
        analyzer.go_on()
    await is_well(visit)
    await comes_to(visit, "analyzer", "ok")


@pytest.mark.long
async def test_a_killed_persister_and_a_killed_gateway_are_named_until_others_run(deployment: Deployment, visit: Visit) -> None:
    await look(visit, deployment)
    for service in ("persister", "gateway"):
        deployment.services[service].kill()
    await comes_to(visit, "persister", "stuck", "nobody")
    await comes_to(visit, "gateway", "nobody")
    texts = "[...document.querySelectorAll('#headline, #others li')].map((each) => each.textContent).join('|')"
    await visit.holds(f"/Gateway: none runs.*python -m services.gateway/.test({texts})")
    assert "Persister: " in await visit.run(texts)
    await comes_to(visit, "clients", "quiet")
    for service in ("persister", "gateway"):
        deployment.services[service] = deployment.pipeline.start(service)
    await comes_to(visit, "persister", "ok")
    await comes_to(visit, "gateway", "ok", "gone")
    await visit.holds("!document.querySelector('#headline').textContent.includes('Persister')")


async def test_a_dead_letter_is_shown_with_its_reason_and_what_lists_it(
    deployment: Deployment, visit: Visit, market_redis: EmbeddedRedis
) -> None:
    await visit.page.goto(f"{deployment.url}/ops")
    async with connect(market_redis.url, service="tests") as redis:
        await redis.xadd(streams.ticks(1), {"anything": "<b>at</b> `all`"})
    await visit.holds("document.querySelectorAll('#deadletters li').length === 1")
    assert "Partition 1: one dead letter" in await visit.text("#deadletters li")
    assert "field seq is missing" in await visit.text("#deadletters li")
    assert await visit.text("#deadletters-hint code") == "tickstream deadletters list"
    await visit.holds("document.querySelectorAll('#partitions tr')[1].cells[9].textContent.startsWith('1')")


@pytest.mark.long
async def test_redis_that_is_away_is_the_place_and_the_rest_is_unknown(
    deployment: Deployment, visit: Visit, market_redis: EmbeddedRedis
) -> None:
    await visit.page.goto(f"{deployment.url}/ops")
    await visit.page.wait_for_selector("#partitions tr")
    await asyncio.to_thread(market_redis.kill)
    await comes_to(visit, "ticks", "away")
    await visit.holds("document.querySelector('#headline').textContent.startsWith('away Redis does not answer')")
    assert [await visit.run(STATE, stage) for stage in ("fetcher", "analyzer", "gateway", "postgresql")] == ["unknown"] * 3 + ["ok"]
    assert await visit.run(FIGURE, "analyzer") == "–"
    assert await visit.page.is_visible("#no-partitions")
    await asyncio.to_thread(market_redis.start)
    await comes_to(visit, "analyzer", "ok")
    await visit.page.wait_for_selector("#partitions tr")


@pytest.mark.long
async def test_an_api_that_does_not_answer_is_told_with_the_age_of_what_is_shown(deployment: Deployment, visit: Visit) -> None:
    """The answer is refused in the browser: the service itself is needed by the other tests."""
    visit.allow(*API_AWAY)
    await visit.page.goto(f"{deployment.url}/ops")
    await visit.page.wait_for_selector("#partitions tr")

    async def refuse(route: Route) -> None:
        await route.abort()

    await visit.context.route("**/api/pipeline", refuse)
    await visit.page.wait_for_selector("#banner:not([hidden])")
    assert "the REST service cannot be reached" in await visit.text("#banner")
    await visit.page.wait_for_selector("body.old")
    await visit.holds("/What you see is of .*, [0-9]+ s ago/.test(document.querySelector('#banner').textContent)")
    assert await visit.text("#freshness") == "no answer"
    assert (await visit.text("#headline")).startswith("unknown What is shown is of ")
    assert await violations(visit) == []
    await visit.context.unroute("**/api/pipeline")
    await visit.page.wait_for_selector("#banner", state="hidden")
    assert await visit.text("#freshness") == "live"


@pytest.mark.long
async def test_a_page_that_nobody_sees_asks_nothing(deployment: Deployment, visit: Visit) -> None:
    asks: list[str] = []
    visit.page.on("request", lambda request: asks.append(request.url) if request.url.endswith("/api/pipeline") else None)
    await visit.page.goto(f"{deployment.url}/ops")
    await visit.page.wait_for_selector("#partitions tr")
    await visit.run(HIDE, True)
    await visit.page.wait_for_selector("body.old")
    before = len(asks)
    await visit.holds("document.querySelector('#freshness').textContent === 'old'")
    assert len(asks) == before
    await visit.run(HIDE, False)
    await visit.holds("document.querySelector('#freshness').textContent === 'live'")
    assert len(asks) > before


async def test_the_page_breaks_no_rule_in_light_and_dark_and_fits_a_phone(deployment: Deployment, visit: Visit) -> None:
    await visit.page.emulate_media(color_scheme="light", reduced_motion="reduce")
    await visit.page.goto(f"{deployment.url}/ops")
    await visit.page.wait_for_selector("#partitions tr")
    await visit.holds("document.querySelector('[data-stage=analyzer]').classList.contains('moving')")
    assert await visit.run("document.querySelector('#flow').getAnimations({ subtree: true }).length") == 0
    assert await violations(visit) == []
    await visit.page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    assert await violations(visit) == []
    await visit.page.set_viewport_size({"width": 360, "height": 740})
    assert await visit.run("document.documentElement.scrollWidth") == 360
    assert await visit.run(BEYOND_THE_EDGE) == []
    assert await violations(visit) == []
    await visit.page.emulate_media(color_scheme="light", reduced_motion="reduce")
    assert await violations(visit) == []


@pytest.mark.long
async def test_it_works_with_64_partitions_and_says_what_is_wrong_with_them(deployment: Deployment, visit: Visit) -> None:
    """The answer is made of a real one: a deployment of so many partitions is another."""
    await visit.page.goto(f"{deployment.url}/ops")
    await visit.page.wait_for_selector("#partitions tr")
    told: dict[str, Any] = await visit.run("tickstream.told()")
    one = told["partitions"][0]
    told["partitions"] = [{**one, "partition": p, "holders": {**one["holders"], "analyzer": None}} for p in range(64)]

    async def answer(route: Route) -> None:
        await route.fulfill(body=json.dumps(told), content_type="application/json")

    await visit.context.route("**/api/pipeline", answer)
    await visit.holds("document.querySelectorAll('#partitions tr').length === 64")
    await comes_to(visit, "analyzer", "nobody")
    assert "partitions 0, 1, 2" in await visit.text("#headline")
