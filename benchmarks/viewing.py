"""The page in a browser while 15 or 1 000 tickers change with each flush: what its main thread spends on one, in its own CPU time.

CPU time, not the clock's: services and browser share the cores. What it is compared with is about the least that a list of live prices
costs in this browser on this machine: the same style sheets and client of the feed, and a script that does nothing with a flush but
write three prices in each of 20 rows. Needs Chromium; without it there is no figure.
"""

import asyncio
import base64
import json
import os
import random
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Any, NamedTuple

import asyncpg
from playwright.async_api import CDPSession, Page, async_playwright
from redis.asyncio import Redis

from benchmarks.fanning import until_listening
from benchmarks.ground import CAP, PERIOD, TOKEN, Ground, set_up
from benchmarks.report import Row, row
from services.admin.embedded import find_free_port
from services.admin.migrate import migrate_postgres
from services.analyzer.state_machine import StateMachine
from shared.redis import log

CHROMIUM = Path("/usr/bin/chromium")
SERVICES = ("gateway", "persister", "api")
FLUSH_SECONDS = 0.25
WARM_FLUSHES, FLUSHES = 40, 60
ROUNDS = 3
"""A machine that is shared may be slow for a while: each view has a turn in each."""
LONG_MS = 50
CATEGORIES = ["devtools.timeline", "disabled-by-default-devtools.timeline", "toplevel"]
TASKS = ("RunTask", "ThreadControllerImpl::RunTask")
VIEWS = {15: {"": "as it opens"}, 1000: {"": "as it opens", "#sort=-change": "sorted by change"}}
"""By the number of tickers, rising: the page of a later one knows those of an earlier one."""
BARE = Path(__file__).with_name("bare_page.js")
"""In place of the page's script."""


class Task(NamedTuple):
    """A task of the main thread: when it began, and its CPU time; in µs."""

    at: int
    spent: int


class Watched(NamedTuple):
    """What the main thread spent from each flush to the next, and on its longest task; in ms of CPU time."""

    spent: list[float]
    longest: float


async def measure(ground: Ground) -> list[Row]:
    """Each view in turn, each time on a page that was just opened."""
    if not await asyncio.to_thread(CHROMIUM.exists):
        print(f"no figures of the page: {CHROMIUM} is missing (Debian: apt-get install chromium)", file=sys.stderr)
        return []
    await _empty(ground.database_url)
    rows = []
    async with ground.client() as redis:
        await set_up(redis)
        market = _Market(redis)
        async with _services(ground) as url:
            for tickers, views in VIEWS.items():
                market.tickers = tickers
                bare: list[Watched] = []
                watched: dict[str, list[Watched]] = {view: [] for view in views.values()}
                for _ in range(ROUNDS):
                    bare.append(judged(await _watched(market, url, is_bare=True)))
                    for fragment, view in views.items():
                        watched[view].append(judged(await _watched(market, f"{url}/{fragment}")))
                for view, rounds in watched.items():
                    rows += _rows(f"page, {tickers:,} tickers, {view}", rounds, bare)
    return rows


async def _watched(market: "_Market", url: str, *, is_bare: bool = False) -> list[dict[str, Any]]:
    """What the browser notes of a page while all prices move."""
    await market.move()
    async with _page(url, is_bare=is_bare) as page, asyncio.TaskGroup() as tasks:
        moving = tasks.create_task(market.move_on())
        await page.wait_for_selector("#prices tr", timeout=60_000)
        await asyncio.sleep(WARM_FLUSHES * FLUSH_SECONDS)
        events = await traced(page, FLUSHES * FLUSH_SECONDS)
        moving.cancel()
    return events


def _rows(what: str, rounds: list[Watched], bare: list[Watched]) -> list[Row]:
    per_flush = f"{what}: main thread per flush"
    spent = [ms for watched in rounds for ms in watched.spent]
    medians, bare_medians = ([median(watched.spent) for watched in side] for side in (rounds, bare))
    longest = max(watched.longest for watched in rounds)
    return [
        row(f"{per_flush}, median", "ms", medians, wanted=8, at_most=True, against="a bare list of prices", against_samples=bare_medians),
        Row(f"{per_flush}, mean", fmean(spent), "ms"),
        Row(f"{per_flush}, p99", quantiles(spent, n=100)[98], "ms"),
        Row(f"{what}: longest task", longest, "ms", LONG_MS, at_most=True),
    ]


def judged(events: list[dict[str, Any]]) -> Watched:
    """What a trace tells."""
    heard = sorted(event["ts"] for event in events if event["name"] == "WebSocketReceive")
    # A flush of many alerts comes in parts.
    flushes = [at for place, at in enumerate(heard) if place == 0 or at - heard[place - 1] > 1e6 * FLUSH_SECONDS / 3]
    tasks = [task for task in _tasks(events) if task.at >= flushes[0]]
    spent = [0.0] * len(flushes)
    for task in tasks:
        spent[bisect_right(flushes, task.at) - 1] += task.spent / 1000
    return Watched(spent[:-1], max(task.spent for task in tasks) / 1000)


def _tasks(events: list[dict[str, Any]]) -> Iterator[Task]:
    """The tasks of the thread that hears the gateway."""
    (thread,) = {(event["pid"], event["tid"]) for event in events if event["name"] == "WebSocketReceive"}
    own = [event for event in events if (event["pid"], event["tid"]) == thread and event["ph"] == "X"]
    name = next(name for name in TASKS if any(event["name"] == name for event in own))
    return (Task(event["ts"], event.get("tdur", event["dur"])) for event in own if event["name"] == name)


async def traced(page: Page, seconds: float) -> list[dict[str, Any]]:
    """What the browser notes of itself in so long."""
    session = await page.context.new_cdp_session(page)
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    session.on("Tracing.tracingComplete", lambda told: ended.set_result(told["stream"]))
    await session.send("Tracing.start", {"transferMode": "ReturnAsStream", "traceConfig": {"includedCategories": CATEGORIES}})
    await asyncio.sleep(seconds)
    await session.send("Tracing.end")
    events: list[dict[str, Any]] = json.loads(await _read(session, await ended))["traceEvents"]
    return events


async def _read(session: CDPSession, stream: str) -> bytes:
    parts = []
    while True:
        part = await session.send("IO.read", {"handle": stream, "size": 1 << 20})
        parts.append(base64.b64decode(part["data"]) if part.get("base64Encoded") else part["data"].encode())
        if part["eof"]:
            return b"".join(parts)


@asynccontextmanager
async def _page(url: str, *, is_bare: bool) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1440, "height": 900})
        if is_bare:
            await page.route("**/dashboard/main.js", lambda route: route.fulfill(path=BARE))
        await page.goto(url)
        yield page
        await browser.close()


class _Market:
    """One partition, moved by hand: with each move every one of so many tickers has another price."""

    tickers = max(VIEWS)

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._chance = random.Random(1)
        self._cents = [10_000 + 7 * n for n in range(max(VIEWS))]
        self._ticks = 0

    async def move_on(self) -> None:
        """Move as often as a gateway flushes, until cancelled."""
        while True:
            due = time.monotonic() + FLUSH_SECONDS
            await self.move()
            await asyncio.sleep(max(0, due - time.monotonic()))

    async def move(self) -> None:
        """Commit a new price of every ticker."""
        ts = str(time.time_ns() // 1_000_000)
        batch = log.freeze(self._ticks + 1, [(f"T{n:04d}", self._price(n), ts, "simulated", "", "", "") for n in range(self.tickers)])
        self._ticks += self.tickers
        await log.append(self._redis, 0, token=TOKEN, producer=TOKEN, batch=batch, cap=CAP)
        state = await log.load(self._redis, 0)
        found = await log.read(self._redis, "ticks", 0, state.cursor, count=self.tickers, block_ms=0)
        digest = StateMachine(state).digest(found.entries, found.seq)
        await log.commit(self._redis, 0, token=TOKEN, period=PERIOD, incarnation=state.incarnation, cap=CAP, digest=digest)

    def _price(self, n: int) -> str:
        self._cents[n] += self._chance.choice((-5, -3, -2, -1, 1, 2, 3, 5))
        return f"{self._cents[n] // 100}.{self._cents[n] % 100:02d}".rstrip("0").rstrip(".")


async def _empty(database_url: str) -> None:
    database = await asyncpg.connect(database_url)
    await database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    await database.close()
    await migrate_postgres(database_url, 1)


@asynccontextmanager
async def _services(ground: Ground) -> AsyncIterator[str]:
    """What a page needs, as processes of their own; its address."""
    ports = {"API_PORT": str(find_free_port()), "GATEWAY_PORT": str(find_free_port())}
    given = {"REDIS_URL": ground.redis_url, "DATABASE_URL": ground.database_url, "PARTITIONS": "1", "SMA_PERIOD": str(PERIOD)}
    given |= {"GATEWAY_FLUSH_SECONDS": "0", "LOG_LEVEL": "warning"}
    environment = os.environ | given | ports
    processes = [subprocess.Popen([sys.executable, "-m", f"services.{name}"], env=environment) for name in SERVICES]
    try:
        for port in ports.values():
            await until_listening(int(port))
        yield f"http://127.0.0.1:{ports['API_PORT']}"
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)
