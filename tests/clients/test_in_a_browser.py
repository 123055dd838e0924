"""What only happens to a client in a browser: a page that is frozen or hidden, a device that sleeps or changes its network.

Where a wait or a silence would take time, the page's clock is the test's: no timer runs but when the test says so.
"""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.clients.browser_client import BrowserSubscriber, Chromium
from tests.clients.scripted import Visit, alert, scripted, stock
from tests.clients.subscriber import until
from tests.integration.gateway.conftest import running_gateway
from tests.integration.gateway.market import Market

RISE = ("10", "9", "11")
"""The third price of a new ticker is an alert."""
SIGNS = {
    "the page is looked at": "document.dispatchEvent(new Event('visibilitychange'))",
    "it was frozen": "document.dispatchEvent(new Event('resume'))",
    "it comes out of the cache": "dispatchEvent(new Event('pageshow'))",
    "there is a network": "dispatchEvent(new Event('online'))",
    "there is none": "dispatchEvent(new Event('offline'))",
}
COME_ONLINE = SIGNS["there is a network"]
PHASE = "user.feed.status.phase"
TURN = """(state) => {
  Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
  return user.feed.status.phase;
}"""


async def advance(subscriber: BrowserSubscriber, seconds: float) -> None:
    """Have the page's clock run so long."""
    await subscriber.chromium.do(subscriber.page.clock.run_for(int(seconds * 1000)))


async def phase_after(subscriber: BrowserSubscriber, event: str) -> str:
    """The phase that an event brings about."""
    return str(await subscriber.run(f"() => {{ {event}; return {PHASE}; }}"))


async def turns(subscriber: BrowserSubscriber, phase: str) -> None:
    """Wait for a phase."""
    async with asyncio.timeout(20):
        while await subscriber.run(PHASE) != phase:
            await asyncio.sleep(0.01)


async def say_nothing(visit: Visit) -> None:
    """The first message, and then nothing more, as at the end of a cable that was cut."""
    await visit.first(cursor=f"c{visit.number}")
    await visit.stay()


async def test_gateway_that_says_nothing_is_asked_and_then_given_up(chromium: Chromium) -> None:
    asked = asyncio.Event()

    async def attend(visit: Visit) -> None:
        await visit.first(cursor=f"c{visit.number}")
        assert await visit.receive() == {"action": "ping"}
        asked.set()
        await visit.stay()

    async with scripted(attend) as gateway, chromium.subscribe(gateway.url, stops_the_clock=True) as subscriber:
        await until(subscriber, lambda seen: seen.updates, "the first message")
        await advance(subscriber, 21)
        await asyncio.wait_for(asked.wait(), 20)
        assert await subscriber.run(PHASE) == "live"
        await advance(subscriber, 17)
        await until(subscriber, lambda seen: seen.connections == 2, "another connection")
        assert gateway.visits[1].since == "c1"


@pytest.mark.parametrize("sign", SIGNS)
async def test_after_a_sign_of_sleep_or_another_network_silence_is_not_waited_for_long(chromium: Chromium, sign: str) -> None:
    async with scripted(say_nothing) as gateway, chromium.subscribe(gateway.url, stops_the_clock=True) as subscriber:
        await until(subscriber, lambda seen: seen.updates, "the first message")
        assert await phase_after(subscriber, SIGNS[sign]) == "live"
        await advance(subscriber, 7)
        await until(subscriber, lambda seen: seen.connections == 2, "another connection")
        assert gateway.visits[1].since == "c1"


async def test_connection_that_answers_outlives_every_doubt(chromium: Chromium) -> None:
    async def attend(visit: Visit) -> None:
        await visit.first()
        assert await visit.receive() == {"action": "ping"}
        await visit.send(type="pong", cursor="of the answer")
        await visit.update(stocks=[stock("AAPL", 1)])
        await visit.stay()

    async with scripted(attend) as gateway, chromium.subscribe(gateway.url, stops_the_clock=True) as subscriber:
        await until(subscriber, lambda seen: seen.updates, "the first message")
        await phase_after(subscriber, COME_ONLINE)
        await until(subscriber, lambda seen: seen.stocks, "what follows the answer")
        await advance(subscriber, 15)
        assert await subscriber.run(PHASE) == "live"
        assert len(gateway.visits) == 1


async def test_wait_ends_when_the_network_is_back_or_the_page_is_looked_at(chromium: Chromium) -> None:
    async def attend(visit: Visit) -> None:
        await visit.first()
        if visit.number <= 2:
            await visit.close(1011, "fault")
        await visit.stay()

    async with scripted(attend) as gateway, chromium.subscribe(gateway.url, stops_the_clock=True) as subscriber:
        await turns(subscriber, "waiting")
        assert await phase_after(subscriber, COME_ONLINE) == "connecting"
        await until(subscriber, lambda seen: seen.connections == 2, "the second connection")
        await turns(subscriber, "waiting")
        assert await subscriber.run(TURN, "hidden") == "waiting"
        assert await subscriber.run(TURN, "visible") == "connecting"
        await until(subscriber, lambda seen: seen.connections == 3, "the third connection")


async def test_wait_that_the_gateway_asked_for_is_kept_unless_it_is_over(chromium: Chromium) -> None:
    async def attend(visit: Visit) -> None:
        await visit.first()
        if visit.number == 1:
            await visit.close(1012, "restart; reconnect in 30.0 s")
        await visit.stay()

    async with scripted(attend) as gateway, chromium.subscribe(gateway.url, stops_the_clock=True) as subscriber:
        await turns(subscriber, "waiting")
        assert await phase_after(subscriber, COME_ONLINE) == "waiting"
        # The timers of a page that sleeps are late.
        await subscriber.chromium.do(subscriber.page.clock.set_system_time(40_000))
        assert await phase_after(subscriber, COME_ONLINE) == "connecting"
        await until(subscriber, lambda seen: seen.connections == 2, "another connection")


async def live_cycle(subscriber: BrowserSubscriber, state: str) -> None:
    """Have the browser freeze the page, or wake it up."""

    async def tell() -> None:
        session = await subscriber.page.context.new_cdp_session(subscriber.page)
        await session.send("Page.setWebLifecycleState", {"state": state})

    await subscriber.chromium.do(tell())


async def test_page_that_was_frozen_while_its_gateway_went_away_misses_nothing(
    chromium: Chromium, market: Market, port: int, redis_url: str
) -> None:
    async with AsyncExitStack() as going_away:
        first = await going_away.enter_async_context(running_gateway(redis_url))
        async with chromium.subscribe([f"ws://127.0.0.1:{first}", f"ws://127.0.0.1:{port}"]) as subscriber:
            await until(subscriber, lambda seen: seen.updates, "the snapshot")
            await live_cycle(subscriber, "frozen")
            await market.trade("AAPL", *RISE)
            await going_away.aclose()
            await market.trade("TSLA", *RISE)
            await live_cycle(subscriber, "active")
            await until(subscriber, lambda seen: len(seen.alerts) >= 2, "both alerts")
    assert sorted(alert.ticker for alert in subscriber.seen.alerts) == ["AAPL", "TSLA"]
    assert (subscriber.seen.connections, subscriber.seen.gaps) == (2, [])


async def test_tickers_that_come_and_go_during_the_handshake_are_asked_for(chromium: Chromium) -> None:
    commands: list[Any] = []
    change = """async (url) => {
      const { subscribe } = await import("/static/feed.js");
      window.WebSocket = class extends WebSocket {
        constructor(...all) {
          super(...all);
          queueMicrotask(() => {
            other.add(["KO", "V"]);
            other.remove(["AAPL"]);
          });
        }
      };
      window.other = subscribe(url, { tickers: ["AAPL", "JNJ"] });
    }"""

    async def attend(visit: Visit) -> None:
        await visit.first()
        if visit.number == 2:
            commands.extend([await visit.receive(), await visit.receive()])
            await visit.update(stocks=[stock("KO", 1)])
        await visit.stay()

    async with scripted(attend) as gateway, chromium.subscribe(gateway.url) as subscriber:
        await until(subscriber, lambda seen: seen.updates, "a page")
        await subscriber.run(change, gateway.url)
        async with asyncio.timeout(20):
            while len(commands) < 2:
                await asyncio.sleep(0.01)
    assert gateway.visits[1].tickers == {"AAPL", "JNJ"}
    assert commands == [{"action": "unsubscribe", "tickers": ["AAPL"]}, {"action": "subscribe", "tickers": ["KO", "V"]}]


async def test_updates_that_come_while_one_is_worked_on_become_one(chromium: Chromium) -> None:
    work = """async (url) => {
      const { subscribe } = await import("/static/feed.js");
      const feed = subscribe(url);
      const found = [];
      for await (const update of feed) {
        found.push(update);
        if (found.length === 2) return found;
        while (feed.cursor !== "last") await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }"""

    async def attend(visit: Visit) -> None:
        await visit.first()
        for seq in (1, 2, 3):
            await visit.update(stocks=[stock("AAPL", seq)], alerts=[alert(f"a{seq}")], skipped=seq)
        await visit.update(cursor="last")
        await visit.stay()

    async with scripted(attend) as gateway, chromium.subscribe(gateway.url) as subscriber:
        _, worked_on = await subscriber.run(work, gateway.url)
    assert [entry["seq"] for entry in worked_on["stocks"]] == [3]
    assert [entry["id"] for entry in worked_on["alerts"]] == ["a1", "a2", "a3"]
    assert (worked_on["cursor"], worked_on["skipped"]) == ("last", 1 + 2 + 3 + 2)


async def test_what_a_callers_function_does_wrong_is_told_to_the_console_and_ends_nothing(chromium: Chromium) -> None:
    fail = """async (url) => {
      const { subscribe } = await import("/static/feed.js");
      const cursors = [];
      const onUpdate = ({ cursor }) => {
        cursors.push(cursor);
        throw new Error("of the page's own");
      };
      const feed = subscribe(url, { onUpdate, onStatus: onUpdate });
      while (feed.cursor !== "c2") await new Promise((resolve) => setTimeout(resolve, 10));
      return cursors.filter(Boolean);
    }"""

    async def attend(visit: Visit) -> None:
        await visit.first(cursor="c1")
        await visit.update(cursor="c2")
        await visit.stay()

    async with scripted(attend) as gateway, chromium.subscribe(gateway.url) as subscriber:
        assert await subscriber.run(fail, gateway.url) == ["c1", "c2"]
        assert set(subscriber.errors) == {"of the page's own"}
        subscriber.errors.clear()


async def test_leaving_the_loop_closes_the_feed(chromium: Chromium) -> None:
    leave = """async (url) => {
      const { subscribe } = await import("/static/feed.js");
      for await (const update of subscribe(url)) return update.cursor;
    }"""
    async with scripted(say_nothing) as gateway, chromium.subscribe(gateway.url) as subscriber:
        await until(subscriber, lambda seen: seen.updates, "a page")
        assert await subscriber.run(leave, gateway.url) == "c2"
        await asyncio.wait_for(gateway.visits[1].stay(), 20)


async def test_token_that_does_not_come_is_asked_for_again(chromium: Chromium) -> None:
    ask = """(url) => import("/static/feed.js").then(({ subscribe }) => {
      user.asked = 0;
      user.feed = subscribe(url, { token: () => (user.asked++ ? "a-token" : new Promise(() => {})), onUpdate() {} });
    })"""
    async with scripted(say_nothing) as gateway, chromium.subscribe(gateway.url, stops_the_clock=True) as subscriber:
        await until(subscriber, lambda seen: seen.updates, "a page")
        await subscriber.run("user.feed.close()")
        await subscriber.run(ask, gateway.url)
        await advance(subscriber, 15)
        await turns(subscriber, "waiting")
        assert await subscriber.run("user.feed.status.reason") == "no token could be had: none came within 15 s"
        await advance(subscriber, 1)
        await turns(subscriber, "live")


async def test_connection_that_the_browser_closed_without_a_word_is_replaced_at_once(chromium: Chromium) -> None:
    open_seen = """(url) => import("/static/feed.js").then(({ subscribe }) => {
      window.WebSocket = class extends WebSocket {
        constructor(...all) {
          super(...all);
          user.socket = this;
        }
      };
      user.feed = subscribe(url, { onUpdate() {} });
    })"""
    close_unseen = "() => { user.socket.onclose = null; user.socket.close(); }"
    async with scripted(say_nothing) as gateway, chromium.subscribe(gateway.url, stops_the_clock=True) as subscriber:
        await until(subscriber, lambda seen: seen.updates, "a page")
        await subscriber.run("user.feed.close()")
        await subscriber.run(open_seen, gateway.url)
        await turns(subscriber, "live")
        await subscriber.run(close_unseen)
        await phase_after(subscriber, SIGNS["it comes out of the cache"])
        await advance(subscriber, 2)
        async with asyncio.timeout(20):
            while len(gateway.visits) < 3:
                await asyncio.sleep(0.01)
    assert gateway.visits[2].since == "c2"


@pytest.mark.parametrize("phase", ["live", "waiting"])
async def test_feed_that_was_closed_stays_away(chromium: Chromium, phase: str) -> None:
    async def attend(visit: Visit) -> None:
        await visit.first()
        if phase == "waiting":
            await visit.close(1011, "fault")
        await visit.stay()

    async with scripted(attend) as gateway, chromium.subscribe(gateway.url, stops_the_clock=True) as subscriber:
        await until(subscriber, lambda seen: seen.updates, "the first message")
        await turns(subscriber, phase)
        await subscriber.run("user.feed.close()")
        await asyncio.wait_for(gateway.visits[0].stay(), 20)
        await phase_after(subscriber, COME_ONLINE)
        await advance(subscriber, 120)
        assert len(gateway.visits) == 1
