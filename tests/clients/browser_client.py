"""feed.js as a subscriber, in a real browser: `for await (const update of subscribe(…))` on a page of this host.

The browser has a thread and a loop of its own, which goes on while a test stands still, and outlives the loops of single tests.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from playwright.async_api import Browser, Page, async_playwright

from tests.browser.conftest import CHROMIUM, SWITCHES
from tests.browser.visit import STATIC
from tests.clients.subscriber import PATIENCE_SECONDS, Alert, Seen, Stock, Token, Update

T = TypeVar("T")

SUBSCRIBE = """async ({ urls, tickers, since, token }) => {
  const { subscribe, Refused } = await import("/static/feed.js");
  window.user = { mayGoOn: null, goOn: () => {} };
  const feed = subscribe(urls, {
    tickers: tickers ?? undefined,
    since: since ?? undefined,
    token: token === "ask" ? () => ask() : token ?? undefined,
    onGap: ({ reason }) => tell("gap", reason),
    onStatus: (status) => tell("status", status),
    onMarket: ({ status }) => tell("market", status),
  });
  const follow = async () => {
    try {
      for await (const update of feed) {
        tell("update", update);
        await user.mayGoOn;
      }
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      tell("refused", { code: error.code, text: `${error} ${error.stack}` });
    }
  };
  Object.assign(user, { feed, following: follow() });
}"""
PAUSE = "() => void (user.mayGoOn = new Promise((resolve) => (user.goOn = resolve)))"
GO_ON = "() => user.goOn()"
STAND_STILL = """() => {
  const request = new XMLHttpRequest();
  request.open("GET", "/hold", false);
  request.send();
}"""
CLOSE = "async () => { user.goOn(); user.mayGoOn = null; user.feed.close(); await user.following; }"


def update_of(found: dict[str, Any]) -> Update:
    """What feed.js gave, as the suite compares it."""
    stocks = tuple(Stock(stock["ticker"], stock["price"], stock["seq"]) for stock in found["stocks"])
    alerts = tuple(Alert(*(alert[name] for name in ("id", "ticker", "direction", "price", "seq"))) for alert in found["alerts"])
    return Update(stocks, alerts, found["cursor"], found["isSnapshot"], found["isReplaced"], found["skipped"])


class BrowserSubscriber:
    """A page that subscribes."""

    def __init__(self, chromium: "Chromium", page: Page, token: Token) -> None:
        self.seen = Seen()
        self.page = page
        self.errors: list[str] = []
        self._chromium = chromium
        self._token = token
        self._before: dict[str, Any] = {"phase": "connecting", "staleSince": None}

    @property
    def cursor(self) -> str:
        return str(self._chromium.run(self.page.evaluate("user.feed.cursor")))

    async def add(self, *tickers: str) -> None:
        await self.run("(tickers) => user.feed.add(tickers)", tickers)

    async def remove(self, *tickers: str) -> None:
        await self.run("(tickers) => user.feed.remove(tickers)", tickers)

    def pause(self) -> None:
        self._chromium.run(self.page.evaluate(PAUSE))

    def go_on(self) -> None:
        self._chromium.run(self.page.evaluate(GO_ON))

    async def run(self, expression: str, argument: object = None) -> Any:
        """What an expression of JavaScript gives in the page."""
        return await self._chromium.do(self.page.evaluate(expression, argument))

    async def begin(self, urls: str | Sequence[str], tickers: Sequence[str] | None, since: str | None) -> None:
        """Have the page subscribe. Runs in the browser's loop, as everything below."""
        self.page.on("console", lambda message: self.seen.texts.append(message.text))
        self.page.on("websocket", lambda socket: self.seen.texts.append(socket.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        await self.page.expose_function("tell", self._hear)
        await self.page.expose_function("ask", lambda: self._token() if callable(self._token) else None)
        await self.page.goto(self._chromium.url)
        token = "ask" if callable(self._token) else self._token
        asked = {"urls": urls if isinstance(urls, str) else list(urls), "tickers": tickers, "since": since, "token": token}
        await self.page.evaluate(SUBSCRIBE, asked)

    def _hear(self, what: str, told: Any) -> None:
        match what:
            case "update":
                self.seen.updates.append(update_of(told))
            case "gap":
                self.seen.gaps.append(told)
            case "market":
                self.seen.markets.append(told)
            case "status":
                self._hear_status(told)
            case "refused":
                self.seen.refusals.append(told["code"])
                self.seen.texts.append(told["text"])

    def _hear_status(self, status: dict[str, Any]) -> None:
        is_live, was_live = (each["phase"] == "live" for each in (status, self._before))
        is_stale, was_stale = (bool(each["staleSince"]) for each in (status, self._before))
        self.seen.states += [is_live] if is_live != was_live else []
        self.seen.stale += [is_stale] if is_stale != was_stale else []
        self.seen.texts.append(json.dumps(status))
        self._before = status


class Chromium:
    """A running browser, and the server of its one page at `url`."""

    def __init__(self) -> None:
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._browser: Browser
        self._is_started = threading.Event()
        self._stop = asyncio.Event()
        self._is_held = threading.Event()
        self._is_released = asyncio.Event()

    @contextmanager
    def running(self) -> Iterator["Chromium"]:
        """Run it in a thread."""
        thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), name="chromium")
        thread.start()
        assert self._is_started.wait(PATIENCE_SECONDS), "Chromium does not start"
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join()
            self._loop.close()

    async def _serve(self) -> None:
        async with async_playwright() as playwright, await asyncio.start_server(self._answer, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            self._browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(SWITCHES))
            self._is_started.set()
            await self._stop.wait()
            await self._browser.close()

    @asynccontextmanager
    async def standing_still(self, page: Page) -> AsyncIterator[None]:
        """Block the main thread of a page meanwhile: it waits for an answer that does not come before."""
        self._is_held.clear()
        self._is_released.clear()
        standing = asyncio.ensure_future(self.do(page.evaluate(STAND_STILL)))
        assert await asyncio.to_thread(self._is_held.wait, PATIENCE_SECONDS)
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._is_released.set)
            await standing

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A request with feed.js, or with a page of nothing. From a real port: a page that was made up may not connect to this host."""
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        if path == b"/hold":
            self._is_held.set()
            await self._is_released.wait()
        is_script = path == b"/static/feed.js"
        body = (STATIC / "feed.js").read_bytes() if is_script else b"<!doctype html><link rel=icon href=data:,>"
        kind = b"text/javascript" if is_script else b"text/html"
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (kind, len(body), body))
        await writer.drain()
        writer.close()

    async def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Have something done in the browser's loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Have it done while this loop stands still."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS)

    @asynccontextmanager
    async def subscribe(
        self,
        urls: str | Sequence[str],
        tickers: Sequence[str] | None = None,
        *,
        since: str | None = None,
        token: Token = None,
        stops_the_clock: bool = False,
    ) -> AsyncIterator[BrowserSubscriber]:
        """Run feed.js in a page of its own; at the end it is closed, and nothing it did was an error.

        With `stops_the_clock` no timer of the page runs unless `page.clock` is told to go on.
        """
        page = await self.do(self._browser.new_page())
        if stops_the_clock:
            await self.do(page.clock.install(time=0))
            await self.do(page.clock.pause_at(1000))
        subscriber = BrowserSubscriber(self, page, token)
        try:
            await self.do(subscriber.begin(urls, tickers, since))
            yield subscriber
            await subscriber.run(CLOSE)
        finally:
            await self.do(page.close())
        assert not subscriber.errors, subscriber.errors
