"""What one client has yet to be sent: bounded by the number of tickers and alerts, never by how long it is slow.

A client with nothing to send gets the message that its whole group shares. One that is still busy has a slot per ticker
in which the newest price replaces the older, and a queue of alerts; both become a message of its own once it drains.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from services.gateway.protocol import Parts, Subscription


class Update(NamedTuple):
    """A flush as one subscription sees it: the encoded message, and the entries it was made of."""

    parts: Parts
    stocks: Mapping[str, str]
    alerts: Sequence[str]


@dataclass
class Pending:
    """What a busy client has missed so far."""

    stocks: dict[str, str] = field(default_factory=dict)
    """Ticker to its newest entry."""
    alerts: list[str] = field(default_factory=list)
    skipped: int = 0
    """Entries that a newer one replaced before they were sent."""
    lost: str | None = None
    """Why everything known must be replaced, if the partition's history was lost meanwhile."""
    notices: dict[str, bytes] = field(default_factory=dict)
    """Type of message (`status`, `market_status`) to the newest of its kind."""

    def __bool__(self) -> bool:
        return bool(self.stocks or self.alerts or self.lost or self.notices)


@dataclass(frozen=True)
class Limits:
    """How patient the gateway is with a client."""

    alerts: int = 10_000
    stall_seconds: float = 10.0
    """Without any byte leaving while there is something to send."""
    idle_seconds: float = 60.0
    """Without any message, until an empty update shows that the connection lives."""
    catch_up_seconds: float = 2.0
    """Until a cursor that was not reached here is none of ours."""


class Verdict(Enum):
    """What a look at the client's progress says."""

    FINE = auto()
    IDLE = auto()
    SLOW = auto()


class Outbox:
    """The messages for one client, in order. `encode` makes a message of what is pending, `wake` tells the sender.

    Times are seconds of one monotonic clock.
    """

    def __init__(self, encode: Callable[[Subscription, Pending], Parts], wake: Callable[[], None], limits: Limits, now: float) -> None:
        self.subscription: Subscription = frozenset()
        self._encode = encode
        self._wake = wake
        self._limits = limits
        self._ready: deque[bytes] = deque()
        self._pending = Pending()
        self._is_sending = False
        self._is_full = False
        self._sent_at = now
        self._drained_at = now
        self._buffered = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is queued, pending or being sent."""
        return not (self._ready or self._is_sending or self._pending)

    @property
    def has_ready(self) -> bool:
        """Whether encoded messages wait for the sender."""
        return bool(self._ready)

    @property
    def waiting(self) -> int:
        """Messages that are queued, and entries that are to become one."""
        return len(self._ready) + len(self._pending.stocks) + len(self._pending.alerts)

    def put(self, *parts: bytes) -> None:
        """Queue messages behind everything that was offered so far."""
        self._seal()
        self._queue(parts)

    def offer(self, update: Update) -> None:
        """Pass on a flush: as the shared message to an idle client, else into its slots."""
        if self._is_full:
            return
        if self.is_idle:
            self._queue(update.parts)
            return
        pending = self._pending
        if pending.lost is None:  # else the snapshot to come shows the newest of all
            pending.skipped += len(pending.stocks.keys() & update.stocks.keys())
            pending.stocks.update(update.stocks)
        pending.alerts += update.alerts
        if len(pending.alerts) > self._limits.alerts:
            self._give_up()

    def replace(self, parts: Parts, reason: str) -> None:
        """Pass on a loss: `parts` is the snapshot for an idle client, a busy one gets a later snapshot when it drains."""
        if self.is_idle:
            self._queue(parts)
            return
        self._pending.stocks.clear()
        self._pending.lost = "reset" if self._pending.lost == "reset" else reason

    def tell(self, kind: str, notice: bytes) -> None:
        """Pass on a message of a kind of which only the newest counts; a busy client gets no older one."""
        if self.is_idle:
            self._queue((notice,))
        else:
            self._pending.notices[kind] = notice

    def take(self, now: float) -> bytes | None:
        """Return the next message to send, or None if there is none; the one taken before has been sent."""
        if not self._ready:
            self._seal()
        self._is_sending = bool(self._ready)
        if not self._ready:
            return None
        self._sent_at = now
        return self._ready.popleft()

    def judge(self, now: float, buffered: int) -> Verdict:
        """Look at the client's progress; `buffered` is the bytes that wait for the network."""
        # A message counts as sent while it still fits the transport's buffer, so only the bytes tell whether anything leaves.
        if buffered == 0 or buffered < self._buffered:
            self._drained_at = now
        self._buffered = buffered
        if self._is_full or now - self._drained_at >= self._limits.stall_seconds:
            return Verdict.SLOW
        if self.is_idle and now - self._sent_at >= self._limits.idle_seconds:
            return Verdict.IDLE
        return Verdict.FINE

    def _queue(self, parts: Sequence[bytes]) -> None:
        self._ready.extend(parts)
        self._wake()

    def _seal(self) -> None:
        """Encode what is pending now: its cursor then says exactly what stands before whatever is queued next."""
        if self._pending:
            pending, self._pending = self._pending, Pending()
            self._ready.extend(self._encode(self.subscription, pending))

    def _give_up(self) -> None:
        self._is_full = True
        self._pending = Pending()
        self._ready.clear()
