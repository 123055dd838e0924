"""The newest value of every ticker, and who wants it: a flush costs what changed and who hears of it, not who is connected.

What clients see is always the state of one flush: values, cursor and snapshots change together, so that a cursor says
exactly what its receiver was sent. Events of the window that is still open are kept apart.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from services.gateway import protocol
from services.gateway.frames import Frame, Frames, frame
from services.gateway.outbox import Outbox, Pending, Update
from services.gateway.protocol import ALL, Parts, Position, Subscription
from shared import metrics
from shared.events import Enriched, Market

STALE_SECONDS = 2.0
"""Without a word from Redis. Clients are to know within three seconds."""


STATUS = "status"
MARKET_STATUS = "market_status"
"""Kinds of messages of which only the newest counts: who joins gets it after the snapshot."""


SnapshotKey = tuple[Subscription, Subscription, bool | None, str | None]
"""What a snapshot depends on besides the state of the last flush."""


class Stock(NamedTuple):
    """A ticker as clients see it."""

    partition: int
    text: str


class Alert(NamedTuple):
    """An alert to be sent, encoded."""

    partition: int
    ticker: str
    text: str


class Hub:
    """Takes events from the feeds and hands each outbox what it subscribed to.

    `now_ms` is the wall clock; `on_change` is called when there is something to flush or a partition was loaded.
    """

    def __init__(self, partitions: int, now_ms: Callable[[], int], on_change: Callable[[], None]) -> None:
        self._now_ms = now_ms
        self._on_change = on_change
        self._stocks: dict[str, Stock] = {}
        self._positions: list[Position | None] = [None] * partitions
        self._cursor = ""
        self._changed: dict[str, tuple[int, Enriched]] = {}
        self._alerts: list[Alert] = []
        self._reached: dict[int, Position] = {}
        self._groups: defaultdict[Subscription, set[Outbox]] = defaultdict(set)
        self._wanted_by: defaultdict[str, set[Subscription]] = defaultdict(set)
        self._heard_at: dict[int, float] = {}
        self._heard_ms: dict[int, int] = {}
        self._notices: dict[str, Frame] = {}
        self._snapshots: dict[SnapshotKey, Frames] = {}

    @property
    def is_loaded(self) -> bool:
        """Whether every partition is known: before that nobody can be given a snapshot."""
        return None not in self._positions

    @property
    def subscriptions(self) -> int:
        """How many different sets of tickers are held."""
        return len(self._groups)

    @property
    def cursor(self) -> str:
        """The cursor of a client that was sent everything flushed so far."""
        return self._cursor

    def load(self, partition: int, position: Position, events: Iterable[Enriched], lost: str | None = None) -> None:
        """Take over a partition's state whole; with a reason in `lost`, tell every client to forget what it knew."""
        self._forget(partition)
        self._stocks |= {event.ticker: Stock(partition, protocol.encode_stock(event)) for event in events}
        self._positions[partition] = position
        self._encode_cursor()
        if lost:
            self._tell_loss(lost)
        self._on_change()

    def _forget(self, partition: int) -> None:
        # What was read of a lost history but not flushed goes with it.
        self._stocks = {ticker: stock for ticker, stock in self._stocks.items() if stock.partition != partition}
        self._changed = {ticker: change for ticker, change in self._changed.items() if change[0] != partition}
        self._alerts = [alert for alert in self._alerts if alert.partition != partition]
        self._reached.pop(partition, None)

    def _tell_loss(self, reason: str) -> None:
        for wanted, outboxes in self._groups.items():
            frames = self._encode_snapshot(wanted, is_recovered=False, reason=reason)
            for outbox in outboxes:
                outbox.replace(frames, reason)

    def apply(self, partition: int, position: Position, events: Sequence[Enriched], label: Callable[[Enriched], str]) -> None:
        """Take events in their order, up to `position`; `label` names the incarnation one belongs to."""
        for event in events:
            self._changed[event.ticker] = partition, event
            if event.alert:
                self._alerts.append(Alert(partition, event.ticker, protocol.encode_alert(event, label(event), partition)))
        self._reached[partition] = position
        self._on_change()

    def flush(self) -> int:
        """Send what changed since the last flush to all who want it; return how many alerts that were."""
        if not self._reached:
            return 0
        changed = {ticker: Stock(p, protocol.encode_stock(event)) for ticker, (p, event) in self._changed.items()}
        alerts, reached = self._alerts, self._reached
        self._changed, self._alerts, self._reached = {}, [], {}
        self._stocks |= changed
        for partition, position in reached.items():
            self._positions[partition] = position
        self._encode_cursor()
        for wanted, update in self._updates(changed, alerts):
            for outbox in self._groups[wanted]:
                outbox.offer(update)
        return len(alerts)

    def _updates(self, changed: dict[str, Stock], alerts: list[Alert]) -> Iterator[tuple[Subscription, Update]]:
        """What each subscription that is touched gets, encoded once for all who hold it."""
        stocks_of: defaultdict[Subscription, dict[str, str]] = defaultdict(dict)
        alerts_of: defaultdict[Subscription, list[str]] = defaultdict(list)
        for ticker, stock in changed.items():
            for wanted in self._subscriptions_to(ticker):
                stocks_of[wanted][ticker] = stock.text
        for alert in alerts:
            for wanted in self._subscriptions_to(alert.ticker):
                alerts_of[wanted].append(alert.text)
        for wanted, stocks in stocks_of.items():
            texts, alert_texts = list(stocks.values()), alerts_of[wanted]
            parts = protocol.encode_update(self._now_ms(), self._cursor, texts, alert_texts)
            yield wanted, Update(frame(parts), stocks, alert_texts)

    def _subscriptions_to(self, ticker: str) -> Iterator[Subscription]:
        if ALL in self._groups:
            yield ALL
        yield from self._wanted_by.get(ticker, ())

    def encode_pending(self, wanted: Subscription, pending: Pending) -> Frames:
        """The message of its own for a client that was busy; everything flushed for it is in what it was sent and in this."""
        stocks = self._texts(wanted) if pending.lost else list(pending.stocks.values())
        metrics.GATEWAY_SKIPS.inc(pending.skipped)
        parts: Parts = ()
        if stocks or pending.alerts or pending.lost:
            parts = protocol.encode_update(
                self._now_ms(), self._cursor, stocks, pending.alerts,
                is_snapshot=pending.lost is not None, is_recovered=False if pending.lost else None,
                reason=pending.lost, skipped=pending.skipped,
            )  # fmt: skip
        return (*frame(parts), *pending.notices.values())

    def encode_idle(self) -> Frames:
        """The empty update that shows a quiet connection to be alive, with a new cursor."""
        return frame(protocol.encode_update(self._now_ms(), self._cursor, []))

    def join(self, outbox: Outbox, wanted: Subscription, *, is_resuming: bool) -> None:
        """Queue the first message and send the outbox everything after it."""
        # What happened since the cursor is not kept yet, so the answer to every `since` is the honest no.
        outbox.put(*self._encode_snapshot(wanted, is_recovered=False if is_resuming else None))
        outbox.put(*self._notices.values())
        self._enter(outbox, wanted)

    def change(self, outbox: Outbox, wanted: Subscription) -> None:
        """Give the outbox another subscription: queue the answer, and the tickers that are new to it as a snapshot."""
        held = outbox.subscription
        outbox.put(Frame(protocol.encode_subscribed(wanted)))
        if not wanted <= held:
            outbox.put(*self._encode_snapshot(wanted, except_for=held))
        self.leave(outbox)
        self._enter(outbox, wanted)

    def leave(self, outbox: Outbox) -> None:
        """Send the outbox nothing more."""
        wanted = outbox.subscription
        self._groups[wanted].discard(outbox)
        if not self._groups[wanted]:
            del self._groups[wanted]
            self._unindex(wanted)

    def _enter(self, outbox: Outbox, wanted: Subscription) -> None:
        outbox.subscription = wanted
        self._groups[wanted].add(outbox)
        if wanted != ALL:
            for ticker in wanted:
                self._wanted_by[ticker].add(wanted)

    def _unindex(self, wanted: Subscription) -> None:
        for ticker in wanted - ALL:
            self._wanted_by[ticker].discard(wanted)
            if not self._wanted_by[ticker]:
                del self._wanted_by[ticker]

    def _encode_snapshot(
        self, wanted: Subscription, *, except_for: Subscription = frozenset(), is_recovered: bool | None = None, reason: str | None = None
    ) -> Frames:
        """The snapshot of the last flush, encoded once for all who come until the next."""
        key = wanted, except_for, is_recovered, reason
        if key not in self._snapshots:
            texts = self._texts(wanted, except_for)
            self._snapshots[key] = frame(
                protocol.encode_update(self._now_ms(), self._cursor, texts, is_snapshot=True, is_recovered=is_recovered, reason=reason)
            )
        return self._snapshots[key]

    def _texts(self, wanted: Subscription, except_for: Subscription = frozenset()) -> list[str]:
        if wanted == ALL:
            return [stock.text for ticker, stock in self._stocks.items() if ticker not in except_for]
        return [self._stocks[ticker].text for ticker in sorted(wanted - except_for) if ticker in self._stocks]

    def _encode_cursor(self) -> None:
        self._snapshots.clear()
        self._cursor = protocol.encode_cursor([position or Position("", 0) for position in self._positions])

    def hear(self, partition: int, now: float) -> None:
        """Note that Redis answered for a partition, at `now` seconds of the monotonic clock."""
        self._heard_at[partition] = now
        self._heard_ms[partition] = self._now_ms()

    def watch(self, now: float) -> None:
        """Tell every client when Redis has been silent for too long, and when it is back."""
        self._snapshots.clear()  # they are for a crowd that comes at once, not to grow old
        silent = [p for p, heard_at in self._heard_at.items() if now - heard_at >= STALE_SECONDS]
        if bool(silent) == self.is_stale:
            return
        since_ms = min(self._heard_ms[p] for p in silent) if silent else self._now_ms()
        self._tell(STATUS, Frame(protocol.encode_status(bool(silent), since_ms)))
        if not silent:
            del self._notices[STATUS]  # who joins now takes it for granted

    @property
    def is_stale(self) -> bool:
        """Whether clients were told that Redis is away."""
        return STATUS in self._notices

    def tell_market(self, market: Market) -> None:
        """Tell every client whether the exchange trades, now and whoever joins later."""
        self._tell(MARKET_STATUS, Frame(protocol.encode_market(market)))

    def _tell(self, kind: str, notice: Frame) -> None:
        self._notices[kind] = notice
        for outboxes in self._groups.values():
            for outbox in outboxes:
                outbox.tell(kind, notice)
