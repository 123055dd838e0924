"""The header: the market and the connection in true words, a display that can stand still, keys, and a token where one is wanted."""

import json
from typing import Any

import pytest

from services.admin.embedded import find_free_port
from tests.browser.accessibility import violations
from tests.browser.visit import Deployment, Visit
from tests.keys import SECRET, sign

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALL = """async ([module, name, ...arguments]) => (await import(`/static/dashboard/header/${module}.js`))[name](...arguments)"""
SILENCE = """async (steps) => {
  const { Silence } = await import("/static/dashboard/header/silence.js");
  const silence = new Silence();
  return steps.map(([what, ...arguments]) => silence[what](...arguments) ?? null);
}"""
PAUSE = """async (updates) => {
  const { Pause } = await import("/static/dashboard/header/pause.js");
  const pause = new Pause();
  pause.begin(1000);
  const behind = updates.map((update) => (pause.keep(update, 2000), pause.behind));
  const [kept, again] = [pause.end(), (pause.begin(3000), pause.end())];
  return { behind, kept, again };
}"""
VIEW = """async (fragments) => {
  const { format, parse } = await import("/static/dashboard/view.js");
  return fragments.map((fragment) => [parse(fragment), format(parse(fragment))]);
}"""
SHOWN = "[...document.querySelectorAll('main td, main th, #alerts li')].map(({ textContent }) => textContent).join('|')"
PAUSED_BEFORE_A_FRAME = f"""() => new Promise((resolve) => {{
  const request = window.requestAnimationFrame;
  const shown = () => {SHOWN};
  window.requestAnimationFrame = (callback) => {{
    if (callback.name === 'draw') {{ // of the page, not of the chart
      window.requestAnimationFrame = request;
      document.querySelector('#pause').click();
      const before = shown();
      request(() => request(() => resolve([before, shown()])));
    }}
    return request(callback);
  }};
}})"""
NEWEST = "Math.max(...tickstream.prices().map(({ seq }) => seq))"

NOW = 1_795_000_000_000


def market(status: str = "closed", reason: str = "weekend", **more: str) -> dict[str, str]:
    times = {"next_open": "2026-11-23T14:30:00.000+00:00", "next_close": "2026-11-23T21:00:00.000+00:00"}
    return {"exchange": "XNYS", "status": status, "reason": reason, **times, **more}


def stock(ticker: str, price: str, seq: int) -> dict[str, object]:
    return {"ticker": ticker, "price": price, "sma": None, "alert": None, "ts": "2026-01-02T15:00:00.000+00:00", "seq": seq}


def update(*stocks: dict[str, object], snapshot: bool = False, alerts: int = 0) -> dict[str, Any]:
    told = [{"id": f"i.0.{number}", "ticker": "V", "direction": "bullish"} for number in range(alerts)]
    return {"stocks": stocks, "alerts": told, "timestamp": "", "cursor": "c", "isSnapshot": snapshot, "isReplaced": False, "skipped": 0}


LEFT = [
    (0, "0 s"),
    (4000, "4 s"),
    (724_000, "12 min 04 s"),
    (11_520_000, "3 h 12 min"),
    (184_320_000, "2 d 03:12"),
    (3_599_500, "1 h 00 min"),
]


async def test_time_that_is_left_is_told_to_the_second_below_an_hour(modules: Visit) -> None:
    assert [await modules.run(CALL, ["market", "countdown", ms]) for ms, _ in LEFT] == [words for _, words in LEFT]


async def test_market_is_told_with_what_comes_next_and_when_by_both_clocks(modules: Visit) -> None:
    at = 1_795_444_200_000 - 184_320_000  # two days, three hours and twelve minutes before the open
    closed = await modules.run(CALL, ["market", "words", market(), at])
    assert (closed["title"], closed["detail"]) == ("NYSE closed", "weekend, opens in 2 d 03:12")
    assert "09:30 (America/New York)" in closed["hint"]
    opened = await modules.run(CALL, ["market", "words", market("open", "regular session"), 1_795_444_200_000 + 60_000])
    assert (opened["title"], opened["detail"]) == ("NYSE open", "closes in 6 h 29 min")
    unknown = await modules.run(CALL, ["market", "words", market(exchange="XWAR", next_open=""), at])
    assert (unknown["title"], unknown["detail"], unknown["hint"]) == ("XWAR closed", "weekend", "")


LIVE = {"phase": "live", "reason": "", "staleSince": None, "complaint": ""}
AWAY = {"phase": "waiting", "reason": "no gateway answers", "retryAt": NOW + 2500, "staleSince": None}
SAID = [
    (LIVE, {}, "live", "", ""),
    ({**LIVE, "complaint": "bad_ticker"}, {}, "live", "The gateway refused a request: bad_ticker", ""),
    (AWAY, {}, "waiting", "Disconnected: no gateway answers.", "Next try in 3 s."),
    (AWAY, {"rest": "the REST service cannot be reached"}, "waiting", "no gateway answers. The REST service cannot be reached, too.", ""),
    (
        LIVE,
        {"rest": "the REST service does not answer"},
        "partial",
        "Prices and alerts are live, but the REST service does not answer:",
        "",
    ),
    (LIVE, {"silentSince": NOW - 60_000}, "silent", ": the market is open, but the source is silent.", ""),
    (LIVE, {"silentSince": NOW - 60_000, "source": "replay"}, "silent", ": the replay is over, or stands still.", ""),
    ({**LIVE, "phase": "ended", "code": 4401, "reason": "no"}, {}, "ended", "The gateway wants a token: no.", ""),
    ({**LIVE, "phase": "ended", "reason": "no"}, {}, "ended", "Disconnected for good: no.", ""),
]


async def test_connection_is_told_with_its_true_reason_and_the_worst_comes_first(modules: Visit) -> None:
    for status, facts, phase, long, soon in SAID:
        said = await modules.run(CALL, ["connection", "words", status, NOW, facts])
        assert said["phase"] == phase
        assert long in said["long"]
        assert bool(long) == bool(said["long"])
        assert soon in said["soon"]
    stale = await modules.run(
        CALL, ["connection", "words", {**LIVE, "staleSince": "2026-11-23T14:30:00.000+00:00"}, NOW, {"silentSince": 1}]
    )
    assert stale["phase"] == "stale"


async def test_source_is_silent_after_three_times_the_longest_wait_and_only_while_the_market_is_open(modules: Visit) -> None:
    minutes = [["hear", update(stock("V", "1", seq)), 0, seq * 60_000] for seq in range(1, 6)]
    steps = [
        *minutes,
        ["since", market("open"), 0, 479_000],
        ["since", market("open"), 0, 481_000],
        ["since", market("closed"), 0, 481_000],
    ]
    later = [
        ["since", market("open"), 400_000, 481_000],
        ["hear", update(stock("V", "1", 6)), 0, 482_000],
        ["since", market("open"), 0, 483_000],
    ]
    assert (await modules.run(SILENCE, [*steps, *later]))[5:] == [None, 300_000, None, None, None, None]


async def test_a_source_of_unknown_rhythm_has_three_minutes_and_a_replay_as_long_as_it_takes(modules: Visit) -> None:
    seen = ["hear", update(stock("V", "1", 1), snapshot=True), 1000, 900_000]
    asked = [["since", market("open"), 0, 180_000], ["since", market("open"), 0, 182_000], ["since", market("open", "replay"), 0, 900_000]]
    assert await modules.run(SILENCE, [seen, *asked]) == [None, None, 1000, None]


async def test_what_comes_while_paused_is_kept_as_one_update_with_every_alert(modules: Visit) -> None:
    seen = await modules.run(
        PAUSE, [update(stock("V", "1", 1), stock("KO", "5", 2)), update(stock("V", "2", 3), alerts=2), update(alerts=1)]
    )
    assert seen["behind"] == [2, 5, 6]
    kept = seen["kept"]["update"]
    assert [(each["ticker"], each["price"]) for each in kept["stocks"]] == [("V", "2"), ("KO", "5")]
    assert (len(kept["alerts"]), kept["isSnapshot"], kept["skipped"], seen["kept"]["at"]) == (3, True, 1, 2000)
    assert seen["again"] is None, "a pause in which nothing came gives nothing"


async def test_every_part_of_the_view_survives_the_address_and_nonsense_falls_back(modules: Visit) -> None:
    parts = await modules.run(
        VIEW, ["", "#TSLA", "#ticker=BRK.B&alerts=bearish%2Cchosen", "#%", "#alerts=%00&nonsense=1", "#alerts=sideways"]
    )
    assert [view["ticker"] for view, _ in parts] == ["", "TSLA", "BRK.B", "", "", ""]
    assert [view["alerts"] for view, _ in parts] == ["all", "all", "bearish,chosen", "all", "all", "all"]
    assert [fragment for _, fragment in parts] == ["", "#TSLA", "#ticker=BRK.B&alerts=bearish%2Cchosen", "", "", ""]


async def test_display_stands_still_while_the_feed_goes_on_and_keys_are_helped_with(deployment: Deployment, visit: Visit) -> None:
    page = visit.page
    await visit.open(deployment, "#ticker=TSLA&alerts=bullish")
    await page.wait_for_selector("#alerts li")
    await visit.holds("tickstream.chart() !== null")  # the library has a table of its own
    await page.keyboard.press("p")
    await page.wait_for_selector("#pause[aria-pressed=true]")
    await visit.run("new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))")
    before, stood, title = await visit.run(SHOWN), await visit.run(NEWEST), await page.title()
    await visit.holds("tickstream.behind() > 20")
    assert await visit.run(SHOWN) == before
    assert await visit.run(NEWEST) == stood
    assert await page.title() == title
    assert " TSLA · tickstream" in title
    await visit.holds("/^Paused at [\\d:]+, \\d+ changes behind$/.test(document.querySelector('#paused').textContent)")
    assert await violations(visit) == []
    await page.keyboard.press("Space")
    await visit.holds(f"(stood) => {NEWEST} > stood", stood)
    assert await page.is_hidden("#paused")
    await visit.holds(f"(before) => {SHOWN} !== before", before)

    await page.keyboard.press("?")
    await page.wait_for_selector("#keys[open]")
    assert await violations(visit) == []
    await page.uncheck("#keys-on")
    await page.keyboard.press("Escape")
    await page.keyboard.press("p")
    assert await page.get_attribute("#pause", "aria-pressed") == "false"
    await page.keyboard.press("Tab")
    await visit.run("document.querySelector('#skip').focus()")
    await page.keyboard.press("Enter")
    assert await visit.run("document.activeElement.id") == "main"
    assert await visit.run("location.hash") == "#ticker=TSLA&alerts=bullish"
    await visit.run("location.hash = '#ticker=AAPL&alerts=nonsense'")
    await visit.holds("document.querySelector('#alerts-filter :checked').value === 'all'")
    await visit.holds("document.querySelector('#chart-title').textContent.includes('AAPL')")


async def test_a_frame_that_was_asked_for_before_the_pause_draws_nothing_in_it(deployment: Deployment, visit: Visit) -> None:
    await visit.open(deployment)
    await visit.holds("tickstream.prices().length === 3")
    await visit.page.reload()  # the address names a ticker now: what is chosen anew is drawn for a while all the same
    await visit.page.wait_for_selector("#prices tr")
    await visit.holds("tickstream.chart() !== null")
    before, after = await visit.run(PAUSED_BEFORE_A_FRAME)
    assert after == before


async def test_a_gateway_that_wants_a_token_is_given_one_by_hand(deployment: Deployment, visit: Visit) -> None:
    page, pipeline = visit.page, deployment.pipeline
    ports = {"GATEWAY_PORT": str(find_free_port()), "API_PORT": str(find_free_port())}
    gateway = pipeline.start("gateway", GATEWAY_AUTH="jwt", GATEWAY_JWT_KEY=SECRET, **ports)
    api = pipeline.start("api", **ports)
    for service in (gateway, api):
        await pipeline.until(service.has_said("listening"), f"{service.name} to listen")
    url = f"http://127.0.0.1:{ports['API_PORT']}/#TSLA"
    good, bad = sign({"sub": "reader"}), sign({"sub": "nobody"}, SECRET + "!")
    await page.goto(url)
    await page.wait_for_selector("#token[open]")
    assert await visit.text("#connection") == "token wanted"
    await page.fill("#token-text", bad)
    await page.keyboard.press("Enter")
    await page.wait_for_selector("#token-why:has-text('The gateway refused the token: unauthorized')")
    await page.click("#token [value=later]")
    await page.click("#token-open")
    await page.fill("#token-text", good)
    await page.click("#token .main")
    await page.wait_for_selector("#connection[data-phase=live]")
    await page.wait_for_selector("#prices [data-ticker=TSLA]")
    assert await page.is_hidden("#token")
    assert await visit.run("location.href") == url
    assert good not in json.dumps([visit.asked, await visit.run("[document.documentElement.outerHTML, {...localStorage}]")])
    await page.reload()
    await page.wait_for_selector("#connection[data-phase=live]")
    await page.close()
    for service in (gateway, api):
        service.kill()
