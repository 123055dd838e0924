"""A client under test, whatever it is written in: what it is told to do, and what it has seen.

One driver per client fulfils `Subscribe`; the tests know nothing else of the clients. Prices are the characters of the messages.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

PATIENCE_SECONDS = 30.0

Token = str | Callable[[], str] | None
"""A token, or what is asked for one."""


@dataclass(frozen=True)
class Stock:
    """An entry of `stocks`."""

    ticker: str
    price: str
    seq: int


@dataclass(frozen=True)
class Alert:
    """An entry of `alerts`."""

    id: str
    ticker: str
    direction: str
    price: str
    seq: int


@dataclass(frozen=True)
class Update:
    """What a client gives its user at once."""

    stocks: tuple[Stock, ...]
    alerts: tuple[Alert, ...]
    cursor: str
    is_snapshot: bool
    is_replaced: bool
    skipped: int


@dataclass
class Seen:
    """Everything that a client has told its user, in its order."""

    updates: list[Update] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    """The reason of each."""
    states: list[bool] = field(default_factory=list)
    """Each change of being connected; True comes with the first message of a connection."""
    stale: list[bool] = field(default_factory=list)
    """Each change of Redis being away."""
    markets: list[str] = field(default_factory=list)
    """The `status` of each message about the market."""
    refusals: list[int | None] = field(default_factory=list)
    """The code for which the client gave up: at most one. Nothing comes after it."""
    texts: list[str] = field(default_factory=list)
    """Logs and representations: what may never hold a token."""

    @property
    def alerts(self) -> list[Alert]:
        """Every alert that was given."""
        return [alert for update in self.updates for alert in update.alerts]

    @property
    def stocks(self) -> dict[str, Stock]:
        """What the updates add up to, as their user would: forget everything at `is_replaced`."""
        found: dict[str, Stock] = {}
        for update in self.updates:
            if update.is_replaced:
                found = {}
            found |= {stock.ticker: stock for stock in update.stocks}
        return found

    @property
    def summary(self) -> str:
        """What a failing test shows."""
        counted = f"{len(self.updates)} updates, {len(self.alerts)} alerts, tickers {sorted(self.stocks)[:20]}"
        return f"{counted}, gaps {self.gaps}, states {self.states}, refusals {self.refusals}"

    @property
    def connections(self) -> int:
        """How often the client was connected."""
        return self.states.count(True)


class Subscriber(Protocol):
    """A running client."""

    seen: Seen

    @property
    def cursor(self) -> str:
        """What the client would resume from; empty if nothing came yet."""
        ...

    async def add(self, *tickers: str) -> None:
        """Subscribe more."""
        ...

    async def remove(self, *tickers: str) -> None:
        """Unsubscribe."""
        ...

    def pause(self) -> None:
        """Have the user's loop stand still after the next update."""
        ...

    def go_on(self) -> None:
        """End the pause."""
        ...


class Subscribe(Protocol):
    """Starts a client; leaving closes it, and nothing of it is left behind."""

    def __call__(
        self, urls: str | Sequence[str], tickers: Sequence[str] | None = None, *, since: str | None = None, token: Token = None
    ) -> AbstractAsyncContextManager[Subscriber]: ...


async def until(subscriber: Subscriber, condition: Callable[[Seen], object], what: str) -> None:
    """Wait until what was seen fulfils a condition; fail if it does not, or if the client gave up meanwhile."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition(subscriber.seen):
                assert not subscriber.seen.refusals, f"refused with {subscriber.seen.refusals} instead of: {what}"
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {PATIENCE_SECONDS:g} s: {what}; seen: {subscriber.seen.summary}") from None


async def refused(subscriber: Subscriber, code: int | None) -> None:
    """Wait until the client gave up; fail if it was for another reason."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not subscriber.seen.refusals:
            await asyncio.sleep(0.01)
    assert subscriber.seen.refusals == [code]
