"""The newest value of every ticker, and who wants it: a flush costs what changed and who hears of it, not who is connected.

What clients see is always the state of one flush: values, cursor and snapshots change together, so that a cursor says
exactly what its receiver was sent. Events of the window that is still open are kept apart.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from services.gateway import protocol
from services.gateway.alert_index import AlertIndex
from services.gateway.frames import Frame, Frames, frame
from services.gateway.measures import RESUMES
from services.gateway.outbox import Outbox, Pending, Update
from services.gateway.protocol import ALL, Cursor, Parts, Position, Subscription
from services.gateway.remembered import Remembered
from services.gateway.resuming import Known, Outcome, judge
from shared import metrics
from shared.events import Enriched, Market
from shared.incarnations import Head

STALE_SECONDS = 2.0
"""Without a word from Redis. Clients are to know within three seconds."""

STATUS = "status"
MARKET_STATUS = "market_status"
"""Kinds of messages of which only the newest counts: who joins gets it after the snapshot."""


class Stock(NamedTuple):
    """A ticker as clients see it."""

    partition: int
    text: str


class Alert(NamedTuple):
    """An alert to be sent, encoded."""

    partition: int
    seq: int
    ticker: str
    text: str


class History(NamedTuple):
    """What a partition has behind it: its head, and the alerts its stream still holds."""

    head: Head
    alerts: AlertIndex


class Answer(NamedTuple):
    """To a cursor and a subscription."""

    outcome: Outcome
    frames: Frames


class Hub:
    """Takes events from the feeds and hands each outbox what it subscribed to.

    `now_ms` is the wall clock; `on_change` is called when there is something to flush or a partition was loaded.
    """

    def __init__(self, partitions: int, now_ms: Callable[[], int], on_change: Callable[[], None]) -> None:
        self._now_ms = now_ms
        self._on_change = on_change
        self._stocks: dict[str, Stock] = {}
        self._positions: list[Position | None] = [None] * partitions
        self._histories: dict[int, History] = {}
        self._snapshots: Remembered[tuple[Subscription, Subscription, bool | None, str | None], Frames] = Remembered()
        self._answers: Remembered[tuple[Cursor | None, Subscription], Answer] = Remembered()
        self._cursor = ""
        self._changed: dict[str, tuple[int, Enriched]] = {}
        self._alerts: list[Alert] = []
        self._reached: dict[int, Position] = {}
        # In the order in which they came, which is that in which they lie in memory: it is gone through with every flush.
        self._groups: defaultdict[Subscription, dict[Outbox, None]] = defaultdict(dict)
        self._wanted_by: defaultdict[str, set[Subscription]] = defaultdict(set)
        self._heard_at: dict[int, float] = {}
        self._heard_ms: dict[int, int] = {}
        self._notices: dict[str, Frame] = {}

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

    @property
    def indexed_alerts(self) -> int:
        """How many alerts clients that come back can be given."""
        return sum(len(history.alerts) for history in tuple(self._histories.values()))

    def load(self, partition: int, position: Position, events: Iterable[Enriched], history: History, lost: str | None = None) -> None:
        """Take over a partition's state whole; with a reason in `lost`, tell every client to forget what it knew."""
        self._forget(partition)
        self._histories[partition] = history
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

    def go_on(self, partition: int, head: Head) -> None:
        """Take note of a new incarnation that begins where the one before was left: nothing was lost."""
        self._histories[partition] = self._histories[partition]._replace(head=head)
        self._forget_encoded()

    def forget_up_to(self, partition: int, seq: int) -> None:
        """Let go of the alerts that the stream does not hold any more; what was not flushed yet stays."""
        if position := self._positions[partition]:
            self._histories[partition].alerts.forget_up_to(min(seq, position.seq))

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
                text = protocol.encode_alert(event, label(event), partition)
                self._alerts.append(Alert(partition, int(event.seq), event.ticker, text))
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
        for alert in alerts:
            self._histories[alert.partition].alerts.add(alert.seq, alert.ticker, alert.text)
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

    def join(self, outbox: Outbox, wanted: Subscription, since: str | None = None) -> None:
        """Queue the first message, with the alerts since a cursor if that is asked for, and send the outbox everything after it."""
        outbox.put(*(self._encode_snapshot(wanted) if since is None else self._resume(wanted, since)))
        outbox.put(*self._notices.values())
        self._enter(outbox, wanted)

    def is_behind(self, since: str) -> bool:
        """Whether a cursor says that its client was sent more than was flushed here."""
        return judge(protocol.decode_cursor(since), self._known()) is Outcome.FUTURE

    def _known(self) -> list[Known]:
        return [
            Known(self._histories[p].head, position, self._histories[p].alerts.floor)
            for p, position in enumerate(self._positions)
            if position is not None
        ]

    def _resume(self, wanted: Subscription, since: str) -> Frames:
        """The first message of a client that comes back; those that come together with equal questions share it."""
        cursor = protocol.decode_cursor(since)
        answer = self._answers.get((cursor, wanted), lambda: self._answer(cursor, wanted))
        RESUMES[answer.outcome].inc()
        return answer.frames

    def _answer(self, cursor: Cursor | None, wanted: Subscription) -> Answer:
        outcome = judge(cursor, self._known())
        if cursor is None or outcome is not Outcome.RECOVERED:
            return Answer(outcome, self._encode_snapshot(wanted, is_recovered=False))
        alerts = [text for p, position in enumerate(cursor) for text in self._histories[p].alerts.since(position.seq, wanted)]
        parts = protocol.encode_update(self._now_ms(), self._cursor, self._texts(wanted), alerts, is_snapshot=True, is_recovered=True)
        return Answer(outcome, frame(parts))

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
        self._groups[wanted].pop(outbox, None)
        if not self._groups[wanted]:
            del self._groups[wanted]
            self._unindex(wanted)

    def _enter(self, outbox: Outbox, wanted: Subscription) -> None:
        outbox.subscription = wanted
        self._groups[wanted][outbox] = None
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
        """The snapshot of the last flush; those who come together share it."""

        def encode() -> Frames:
            texts = self._texts(wanted, except_for)
            return frame(
                protocol.encode_update(self._now_ms(), self._cursor, texts, is_snapshot=True, is_recovered=is_recovered, reason=reason)
            )

        return self._snapshots.get((wanted, except_for, is_recovered, reason), encode)

    def _texts(self, wanted: Subscription, except_for: Subscription = frozenset()) -> list[str]:
        if wanted == ALL:
            return [stock.text for ticker, stock in self._stocks.items() if ticker not in except_for]
        return [self._stocks[ticker].text for ticker in sorted(wanted - except_for) if ticker in self._stocks]

    def _encode_cursor(self) -> None:
        self._forget_encoded()
        self._cursor = protocol.encode_cursor([position or Position("", 0) for position in self._positions])

    def _forget_encoded(self) -> None:
        self._snapshots.forget()
        self._answers.forget()

    def hear(self, partition: int, now: float) -> None:
        """Note that Redis answered for a partition, at `now` seconds of the monotonic clock."""
        self._heard_at[partition] = now
        self._heard_ms[partition] = self._now_ms()

    def watch(self, now: float) -> None:
        """Tell every client when Redis has been silent for too long, and when it is back."""
        self._forget_encoded()  # they say when they were made, and who comes later comes at another time
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
