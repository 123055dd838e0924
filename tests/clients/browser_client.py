"""feed.js as a subscriber, in a real browser: `for await (const update of subscribe(…))` on a page of this host.

The browser has a thread and a loop of its own, which goes on while a test stands still, and outlives the loops of single tests.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests.browser.conftest import CHROMIUM, SWITCHES
from tests.browser.visit import STATIC
from tests.clients.subscriber import PATIENCE_SECONDS, Alert, Seen, Stock, Token, Update

T = TypeVar("T")

SUBSCRIBE = """async ({ urls, tickers, since, token, isAsked }) => {
  const { subscribe, Refused } = await import("/static/feed.js");
  const standStill = () => {
    const request = new XMLHttpRequest();
    request.open("GET", "/hold", false);
    request.send();
  };
  const feed = subscribe(urls, {
    tickers: tickers ?? undefined,
    since: since ?? undefined,
    token: isAsked ? () => askToken() : token ?? undefined,
    onGap: ({ reason }) => tell("gap", reason),
    onStatus: (status) => tell("status", status),
    onMarket: ({ status }) => tell("market", status),
  });
  const follow = async () => {
    try {
      for await (const update of feed) {
        tell("update", update);
        if (user.isToPause) standStill();
        user.isToPause = false;
      }
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      tell("refused", { code: error.code, text: `${error} ${error.stack}` });
    }
  };
  window.user = { feed, isToPause: false, following: follow() };
}"""
CLOSE = """async () => {
  user.feed.close();
  await user.following;
  return user.feed.cursor;
}"""


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
        self.chromium = chromium
        self._token = token
        self._last_cursor: str | None = None
        self._before: dict[str, Any] = {"phase": "connecting", "staleSince": None}

    @property
    def cursor(self) -> str:
        return str(self.chromium.run(self.page.evaluate("user.feed.cursor")) if self._last_cursor is None else self._last_cursor)

    async def add(self, *tickers: str) -> None:
        await self.run("(tickers) => user.feed.add(tickers)", tickers)

    async def remove(self, *tickers: str) -> None:
        await self.run("(tickers) => user.feed.remove(tickers)", tickers)

    def pause(self) -> None:
        """Nothing but a blocked page reads nothing: a loop that waits lets the browser go on."""
        self.chromium.is_released.clear()
        self.chromium.run(self.page.evaluate("user.isToPause = true"))

    def go_on(self) -> None:
        self.chromium.is_released.set()

    async def run(self, expression: str, argument: object = None) -> Any:
        """What an expression of JavaScript gives in the page."""
        return await self.chromium.do(self.page.evaluate(expression, argument))

    async def begin(self, urls: str | Sequence[str], tickers: Sequence[str] | None, since: str | None) -> None:
        """Have the page subscribe. Runs in the browser's loop, as everything below."""
        self.page.on("console", lambda message: self.seen.texts.append(message.text))
        self.page.on("websocket", lambda socket: self.seen.texts.append(socket.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        await self.page.expose_function("tell", self._hear)
        if callable(self._token):
            await self.page.expose_function("askToken", self._token)
        await self.page.goto(self.chromium.url)
        token = None if callable(self._token) else self._token
        asked = {"urls": urls, "tickers": tickers, "since": since, "token": token, "isAsked": callable(self._token)}
        await self.page.evaluate(SUBSCRIBE, asked)

    async def close(self) -> None:
        """What a page that goes away need not do."""
        self._last_cursor = await self.page.evaluate(CLOSE)

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
        self.is_released = threading.Event()
        """Set: the request that blocks a page's main thread is answered."""
        self._is_started = threading.Event()
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop
        self._browser: Browser
        self._context: BrowserContext

    @contextmanager
    def running(self) -> Iterator["Chromium"]:
        """Run it in a thread."""
        thread = threading.Thread(target=asyncio.run, args=(self._serve(),), name="chromium")
        thread.start()
        assert self._is_started.wait(PATIENCE_SECONDS), "Chromium does not start"
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with async_playwright() as playwright, await asyncio.start_server(self._answer, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            self._browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(SWITCHES))
            self._context = await self._browser.new_context()
            self._is_started.set()
            await self._stop.wait()
            await self._browser.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A request with feed.js, or with a page of nothing. From a real port: a page that was made up may not connect to this host."""
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        if path == b"/hold":
            await asyncio.to_thread(self.is_released.wait, PATIENCE_SECONDS)
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
        # A clock is of a whole context. A context of its own costs two processes more.
        page = await self.do(self._browser.new_page() if stops_the_clock else self._context.new_page())
        if stops_the_clock:
            await self.do(page.clock.install(time=0))
            await self.do(page.clock.pause_at(1000))
        subscriber = BrowserSubscriber(self, page, token)
        try:
            await self.do(subscriber.begin(urls, tickers, since))
            yield subscriber
            await self.do(subscriber.close())
        finally:
            self.is_released.set()
            await self.do(page.close())
        assert not subscriber.errors, subscriber.errors
