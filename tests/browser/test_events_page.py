"""/docs/events in a browser: all of the AsyncAPI document, from this host alone, under the page's own policy, with every server away."""

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from services.admin.embedded import find_free_port
from tests.browser.visit import STATIC, Visit
from tests.integration.api.conftest import running

pytestmark = pytest.mark.asyncio(loop_scope="session")

DOCUMENT = json.loads((STATIC / "contract" / "asyncapi.json").read_text(encoding="utf-8"))
MESSAGES = DOCUMENT["components"]["messages"]

BEYOND_THE_EDGE = """() => [...document.querySelectorAll('body *')]
  .filter((each) => each.getBoundingClientRect().right > innerWidth && !each.closest('pre'))
  .map((each) => each.outerHTML.slice(0, 80))"""
FIELDS = "(name) => [...document.querySelectorAll(`#${name} tbody td:first-child code`)].map((each) => each.textContent)"
DARK_ON_LIGHT = """() => {
  const brightness = (color) => color.match(/\\d+/g).slice(0, 3).reduce((sum, each) => sum + Number(each), 0);
  const style = getComputedStyle(document.body);
  return brightness(style.color) < brightness(style.backgroundColor);
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def api() -> AsyncIterator[str]:
    """The URL of an API that reaches no server."""
    away = find_free_port()
    async with running(f"redis://127.0.0.1:{away}", f"postgresql://nobody@127.0.0.1:{away}/none") as port:
        yield f"http://127.0.0.1:{port}"


async def read(visit: Visit, url: str) -> None:
    """Open the page, and wait until it is drawn."""
    await visit.page.goto(url)
    await visit.page.wait_for_selector("#channel-gateway")


async def test_every_channel_message_and_field_is_shown(api: str, visit: Visit) -> None:
    await read(visit, f"{api}/docs/events")
    for name, channel in DOCUMENT["channels"].items():
        assert channel["address"] in await visit.text(f"#channel-{name} h2")
    for name, message in MESSAGES.items():
        assert name in await visit.text(f"#{name} h3")
        schema = DOCUMENT["components"]["schemas"][message["payload"]["$ref"].rpartition("/")[2]]
        names = list(schema.get("properties", ()))
        assert (await visit.run(FIELDS, name))[: len(names)] == names
        assert await visit.page.locator(f"#{name} pre").count() == len(message["examples"])


async def test_close_codes_and_the_query_are_shown(api: str, visit: Visit) -> None:
    await read(visit, f"{api}/docs/events")
    text = await visit.text("#channel-gateway")
    for row in DOCUMENT["channels"]["gateway"]["x-close-codes"]:
        assert f"{row['code']}{row['meaning']}{row['reconnect']}" in text
    assert "since" in text


async def test_an_address_leads_to_its_message_and_links_lead_on(api: str, visit: Visit) -> None:
    await read(visit, f"{api}/docs/events#subscribe")
    await visit.holds("() => Math.abs(document.getElementById('subscribe').getBoundingClientRect().top) < innerHeight")
    await visit.page.click("#subscribe a[href='#subscribed']")
    await visit.holds("() => location.hash === '#subscribed'")
    schema = await visit.page.get_attribute("#subscribed a[href^='/schemas/']", "href")
    assert await visit.run("(path) => fetch(path).then((answer) => answer.status)", schema) == 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_follows_the_readers_colours_and_fits_a_telephone(api: str, visit: Visit, scheme: str) -> None:
    await visit.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await visit.page.set_viewport_size({"width": 390, "height": 844})
    await read(visit, f"{api}/docs/events")
    assert await visit.run(DARK_ON_LIGHT) is (scheme == "light")
    assert await visit.run(BEYOND_THE_EDGE) == []


@pytest.mark.long
async def test_dashboard_and_rest_documentation_lead_there(api: str, visit: Visit) -> None:
    visit.allow("Failed to load resource", "WebSocket connection to")  # the dashboard has nothing to show here
    for path in ("/", "/docs"):
        await visit.page.goto(f"{api}{path}")
        await visit.page.click("a[href='/docs/events']")
        await visit.page.wait_for_selector("#channel-gateway")
