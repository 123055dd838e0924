"""A page in a browser, with everything it asked for and complained of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from playwright.async_api import BrowserContext, Page

from tests.browser.quiet import QuietMarket
from tests.e2e.pipeline import PATIENCE_SECONDS, Pipeline, Service

LOOK_MS = 25
"""Between two looks of a page at itself."""
WAIT = """async ([argument, patience, pause]) => {
  const deadline = performance.now() + patience;
  for (;;) {
    const value = (%s);
    if (typeof value === "function" ? await value(argument) : await value) return true;
    if (performance.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}"""
STATIC = Path(__file__).parents[2] / "services" / "api" / "static"
NOTE_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""


@dataclass(frozen=True)
class Deployment:
    """Running services, and the database they fill."""

    pipeline: Pipeline
    services: dict[str, Service]
    database: asyncpg.Connection
    url: str
    """Of the page."""


@dataclass(frozen=True)
class Quiet:
    """Running services without a fetcher, and the market in its place."""

    deployment: Deployment
    market: QuietMarket


class Visit:
    """One context with one page. `check` fails for what nobody allowed."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.page: Page
        self.complaints: list[str] = []
        self.asked: list[str] = []
        """URL of every request and every socket."""
        self._allowed: tuple[str, ...] = ()

    async def begin(self) -> None:
        """Open an empty page and listen to it."""
        await self.context.add_init_script(NOTE_VIOLATIONS)
        self.page = await self.context.new_page()
        self.page.set_default_timeout(PATIENCE_SECONDS * 1000)
        self.page.on("console", lambda message: self._complain(message.type, message.text))
        self.page.on("pageerror", lambda error: self._complain("error", str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("websocket", lambda socket: self.asked.append(socket.url))

    def _complain(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def allow(self, *texts: str) -> None:
        """Complaints that contain one of these are expected."""
        self._allowed += texts

    def check(self) -> None:
        """Fail for a complaint that was not allowed, and for a request to another host."""
        unexpected = [text for text in self.complaints if not any(allowed in text for allowed in self._allowed)]
        assert not unexpected, unexpected
        strangers = [url for url in self.asked if urlsplit(url).hostname not in ("127.0.0.1", "page.test")]
        assert not strangers, strangers

    async def open(self, deployment: Deployment, fragment: str = "") -> None:
        """Open the page and wait for its first price."""
        await self.page.goto(f"{deployment.url}/{fragment}")
        await self.page.wait_for_selector("#prices tr")

    async def run(self, expression: str, argument: object = None) -> Any:
        """What an expression of JavaScript gives."""
        return await self.page.evaluate(expression, argument)

    async def holds(self, expression: str, argument: object = None) -> None:
        """Wait until an expression is true."""
        # Not wait_for_function: that evaluates text, which the page's policy refuses.
        # The page itself looks again and again: a look from here takes milliseconds of three processes.
        wait = WAIT % expression
        assert await self.run(wait, [argument, PATIENCE_SECONDS * 1000, LOOK_MS]), f"not within {PATIENCE_SECONDS:g} s: {expression}"

    async def text(self, selector: str) -> str:
        """The text of an element."""
        return (await self.page.text_content(selector)) or ""
