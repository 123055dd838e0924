"""What one client has yet to be sent: bounded by the number of tickers and alerts, never by how long it is slow.

A client whose bytes have all gone to the system is written to at once, with the message that its whole group shares. One that is
busy has a slot per ticker in which the newest price replaces the older, and a queue of alerts; both become a message of its
own once it drains.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from services.gateway.frames import Frame, Frames
from services.gateway.protocol import Subscription


class Update(NamedTuple):
    """A flush as one subscription sees it: the message, and the entries it was made of."""

    frames: Frames
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
    notices: dict[str, Frame] = field(default_factory=dict)
    """Type of message (`status`, `market_status`) to the newest of its kind."""


@dataclass(frozen=True)
class Limits:
    """How patient the gateway is with a client."""

    alerts: int = 10_000
    stall_seconds: float = 10.0
    """Without any byte leaving while there is something to send."""
    idle_seconds: float = 60.0
    """Without any message, until an empty update shows that the connection lives."""
    ask_seconds: float = 20.0
    """Without anything heard, until the peer is asked."""
    mute_seconds: float = 40.0
    """Without anything heard, until the peer is taken for dead."""
    visit_seconds: float = 1.0
    """Between two looks at a client that keeps up: how late the three before may be noticed."""
    catch_up_seconds: float = 2.0
    """Until a cursor that was not reached here is none of ours."""


class Outbox(ABC):
    """The messages for one client, in order. `encode` makes messages of what is pending; where they go, a subclass says.

    During `write`, or at any other time, `on_paused` says that the transport holds bytes back. Times are seconds of one
    monotonic clock.
    """

    __slots__ = (
        "_buffered", "_drained_at", "_encode", "_limits", "_pending", "_quiet_since", "_ready", "_was_sent",
        "is_busy", "is_full", "subscription",
    )  # fmt: skip

    def __init__(self, encode: Callable[[Subscription, Pending], Frames], limits: Limits, now: float) -> None:
        self.subscription: Subscription = frozenset()
        self.is_busy = False
        """Whether bytes wait for the network; if not, nothing waits here either."""
        self.is_full = False
        """Whether the client was given up because of its alerts: it is to be closed and is sent nothing more."""
        self._encode = encode
        self._limits = limits
        self._ready: deque[Frame] | None = None
        self._pending: Pending | None = None
        self._was_sent = False
        self._quiet_since = now
        self._drained_at = now
        self._buffered = 0

    @abstractmethod
    def write(self, frame: Frame) -> None:
        """Hand a message to the transport."""

    @property
    def waiting(self) -> int:
        """Messages that are queued, and entries that are to become one."""
        ready, pending = self._ready, self._pending
        return len(ready or ()) + (len(pending.stocks) + len(pending.alerts) if pending else 0)

    def put(self, *frames: Frame) -> None:
        """Send messages behind everything that was offered so far."""
        self._seal()
        self._send(frames)

    def offer(self, update: Update) -> None:
        """Pass on a flush: as the shared message to a client that keeps up, else into its slots."""
        if self.is_busy:
            self._keep(update)
        else:
            self._send(update.frames)

    def _keep(self, update: Update) -> None:
        if self.is_full:
            return
        pending = self._to_come()
        if pending.lost is None:  # else the snapshot to come shows the newest of all
            pending.skipped += len(pending.stocks.keys() & update.stocks.keys())
            pending.stocks.update(update.stocks)
        pending.alerts += update.alerts
        if len(pending.alerts) > self._limits.alerts:
            self._give_up()

    def replace(self, frames: Frames, reason: str) -> None:
        """Pass on a loss: `frames` is the snapshot now, a busy client gets a later one when it drains."""
        if not self.is_busy:
            self._send(frames)
            return
        pending = self._to_come()
        pending.stocks.clear()
        pending.lost = "reset" if pending.lost == "reset" else reason

    def tell(self, kind: str, notice: Frame) -> None:
        """Pass on a message of a kind of which only the newest counts; a busy client gets no older one."""
        if self.is_busy:
            self._to_come().notices[kind] = notice
        else:
            self._send((notice,))

    def on_paused(self, now: float) -> None:
        """Write nothing from now on: the transport has bytes that the system did not take."""
        self.is_busy = True
        self._drained_at = now
        self._buffered = 0

    def on_drained(self) -> None:
        """Go on: the system took everything. What waits is written, as far as it goes without a pause."""
        if self.is_full:
            return
        self.is_busy = False
        while self._ready and not self.is_busy:
            self._send((self._ready.popleft(),))
        if not self.is_busy:
            self._seal()

    def is_slow(self, now: float, buffered: int) -> bool:
        """Look at a busy client's progress: whether it is to be closed. `buffered` is the bytes that the transport holds."""
        if buffered < self._buffered:
            self._drained_at = now
        self._buffered = buffered
        return self.is_full or now - self._drained_at >= self._limits.stall_seconds

    def is_quiet(self, now: float) -> bool:
        """Whether no message was sent for so long that the client has to hear one."""
        if self._was_sent or self.is_busy:
            self._was_sent, self._quiet_since = False, now
        return now - self._quiet_since >= self._limits.idle_seconds

    def _send(self, frames: Sequence[Frame]) -> None:
        self._was_sent = True
        for frame in frames:
            if self.is_busy:
                self._queue(frame)
            else:
                self.write(frame)

    def _queue(self, frame: Frame) -> None:
        if self._ready is None:
            self._ready = deque()
        self._ready.append(frame)

    def _to_come(self) -> Pending:
        if self._pending is None:
            self._pending = Pending()
        return self._pending

    def _seal(self) -> None:
        """Encode what is pending now: its cursor then says exactly what stands before whatever is sent next."""
        if self._pending:
            pending, self._pending = self._pending, None
            self._send(self._encode(self.subscription, pending))

    def _give_up(self) -> None:
        self.is_full = True
        self._pending = self._ready = None
