"""The Python clients as subscribers: `tickstream_client.subscribe`, and in a thread `tickstream_client.sync.subscribe`."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

import tickstream_client
import tickstream_client.sync
from tickstream_client import Refused

from tests.clients.subscriber import PATIENCE_SECONDS, Alert, Seen, Stock, Token, Update


def update_of(found: tickstream_client.Update) -> Update:
    """What a client gave, as the suite compares it."""
    stocks = tuple(Stock(stock.ticker, f"{stock.price:f}", stock.seq) for stock in found.stocks)
    alerts = tuple(Alert(alert.id, alert.ticker, alert.direction, f"{alert.price:f}", alert.seq) for alert in found.alerts)
    return Update(stocks, alerts, found.cursor, found.is_snapshot, found.is_replaced, found.skipped)


class Recorder:
    """Takes what a client tells beside its updates; called from the thread that iterates."""

    def __init__(self) -> None:
        self.seen = Seen()
        self._before = tickstream_client.Status()

    def on_gap(self, gap: tickstream_client.Gap) -> None:
        self.seen.gaps.append(gap.reason)

    def on_market(self, market: tickstream_client.Market) -> None:
        self.seen.markets.append(market.status)

    def on_status(self, status: tickstream_client.Status) -> None:
        if status.is_connected != self._before.is_connected:
            self.seen.states.append(status.is_connected)
        if bool(status.stale_since) != bool(self._before.stale_since):
            self.seen.stale.append(bool(status.stale_since))
        self._before = status
        self.seen.texts.append(repr(status))


class AsyncSubscriber:
    """`subscribe` in a task."""

    def __init__(self, urls: str | Sequence[str], tickers: Sequence[str] | None, since: str | None, token: Token) -> None:
        recorder = Recorder()
        self.seen = recorder.seen
        self._may_go_on = asyncio.Event()
        self._may_go_on.set()
        self.subscription = tickstream_client.subscribe(
            urls, tickers, since=since, token=token, proxy=None,
            on_gap=recorder.on_gap, on_status=recorder.on_status, on_market=recorder.on_market,
        )  # fmt: skip

    @property
    def cursor(self) -> str:
        return self.subscription.cursor

    async def add(self, *tickers: str) -> None:
        await self.subscription.add(tickers)

    async def remove(self, *tickers: str) -> None:
        await self.subscription.remove(tickers)

    def pause(self) -> None:
        self._may_go_on.clear()

    def go_on(self) -> None:
        self._may_go_on.set()

    async def run(self) -> None:
        """What a user would write."""
        try:
            async for update in self.subscription:
                self.seen.updates.append(update_of(update))
                await self._may_go_on.wait()
        except Refused as refused:
            self.seen.refusals.append(refused.code)
            self.seen.texts += [repr(refused), str(refused)]


@asynccontextmanager
async def subscribe_async(
    urls: str | Sequence[str], tickers: Sequence[str] | None = None, *, since: str | None = None, token: Token = None
) -> AsyncIterator[AsyncSubscriber]:
    """Run the asyncio client; at the end nothing of it is left."""
    with recorded_logs() as texts:
        subscriber = AsyncSubscriber(urls, tickers, since, token)
        subscriber.seen.texts = texts
        running = asyncio.create_task(subscriber.run())
        try:
            yield subscriber
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await subscriber.subscription.aclose()
            texts.append(repr(subscriber.subscription))
    left = [task for task in asyncio.all_tasks() if "tickstream_client" in str(task) or "keepalive" in str(task)]
    assert not left, f"tasks are left behind: {left}"


class SyncSubscriber:
    """`sync.subscribe` in a thread."""

    def __init__(self, urls: str | Sequence[str], tickers: Sequence[str] | None, since: str | None, token: Token) -> None:
        recorder = Recorder()
        self.seen = recorder.seen
        self._may_go_on = threading.Event()
        self._may_go_on.set()
        self.subscription = tickstream_client.sync.subscribe(
            urls, tickers, since=since, token=token, proxy=None,
            on_gap=recorder.on_gap, on_status=recorder.on_status, on_market=recorder.on_market,
        )  # fmt: skip

    @property
    def cursor(self) -> str:
        return self.subscription.cursor

    async def add(self, *tickers: str) -> None:
        await asyncio.to_thread(self.subscription.add, tickers)

    async def remove(self, *tickers: str) -> None:
        await asyncio.to_thread(self.subscription.remove, tickers)

    def pause(self) -> None:
        self._may_go_on.clear()

    def go_on(self) -> None:
        self._may_go_on.set()

    def run(self) -> None:
        """What a user would write."""
        try:
            for update in self.subscription:
                self.seen.updates.append(update_of(update))
                self._may_go_on.wait()
        except Refused as refused:
            self.seen.refusals.append(refused.code)
            self.seen.texts += [repr(refused), str(refused)]


@asynccontextmanager
async def subscribe_sync(
    urls: str | Sequence[str], tickers: Sequence[str] | None = None, *, since: str | None = None, token: Token = None
) -> AsyncIterator[SyncSubscriber]:
    """Run the blocking client; at the end nothing of it is left."""
    with recorded_logs() as texts:
        before = set(threading.enumerate())
        subscriber = SyncSubscriber(urls, tickers, since, token)
        subscriber.seen.texts = texts
        running = asyncio.create_task(asyncio.to_thread(subscriber.run))
        try:
            yield subscriber
        finally:
            subscriber.go_on()
            await asyncio.to_thread(subscriber.subscription.close)
            await running
            texts.append(repr(subscriber.subscription))
    for thread in {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")} - before:
        await asyncio.to_thread(thread.join, PATIENCE_SECONDS)
        assert not thread.is_alive(), f"{thread} is left behind"


@contextmanager
def recorded_logs() -> Iterator[list[str]]:
    """Everything that is logged meanwhile, at the most talkative level, but for the gateways of the tests."""
    texts: list[str] = []

    class Recording(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name != "websockets.server":
                texts.append(f"{record.name} {record.getMessage()}")

    recording, root = Recording(), logging.getLogger()
    level = root.level
    root.addHandler(recording)
    root.setLevel(logging.DEBUG)
    try:
        yield texts
    finally:
        root.setLevel(level)
        root.removeHandler(recording)
