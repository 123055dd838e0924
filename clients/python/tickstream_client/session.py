"""A subscription without I/O, over any number of connections: what to ask for, what to give the user, when to come back.

Promises: each alert once; per ticker no step back, and no alert missed, unless a `Gap` was told before; the cursor covers exactly
what was given. Whoever drives it says what happens, and when: seconds of one steady clock.
"""

import json
import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import cycle, islice
from random import random
from typing import Any

from tickstream_client.address import ALL, EVERY, Tickers, asking, bounded, checked, complete
from tickstream_client.backoff import Backoff
from tickstream_client.messages import Alert, Complaint, Gap, Market, Part, Pong, Staleness, Status, Stock, Update, joined, parse
from tickstream_client.parting import UNAUTHORIZED, Parting, Refused, printable
from tickstream_client.tokens import checked_token, seconds_to_refresh

QUIET_SECONDS = 20.0
"""Without a message, until the gateway is asked whether it is there."""
ANSWER_SECONDS = 20.0
"""For its answer, until the connection is given up."""
LONGEST_WAIT_SECONDS = 30.0
"""Between two tries, if the gateway names no time."""
LEAST_WAIT_SECONDS = 0.1
"""What has arrived while the user's loop was busy is taken before anybody judges that nothing did."""
MOST_JOINED = 1000
"""Updates given as one: whoever sends without end must not keep the user waiting."""
REMEMBERED_ALERTS = 10_000
"""As many as a gateway keeps for a slow client."""
TICKERS_PER_COMMAND = 100
"""Of 32 characters at most, in a message of 4 KiB at most."""

PING = '{"action":"ping"}'
log = logging.getLogger("tickstream_client")


def _ignore(_: Any) -> None:
    pass


class Listener:
    """Who is told, beside the updates. What these functions raise is raised in the user's loop."""

    def __init__(
        self,
        on_gap: Callable[[Gap], None] | None = None,
        on_status: Callable[[Status], None] | None = None,
        on_market: Callable[[Market], None] | None = None,
        on_message: Callable[[str], None] | None = None,
    ) -> None:
        self.on_gap = on_gap or _ignore
        self.on_status = on_status or _ignore
        self.on_market = on_market or _ignore
        self.on_message = on_message or _ignore


class Session:
    """The state of one subscription; a `token` that is a function can be asked again. Raise `ValueError` for what no gateway accepts."""

    def __init__(
        self,
        urls: str | Sequence[str],
        tickers: Iterable[str] | None = None,
        *,
        since: str | None = None,
        token: object = None,
        longest_wait_seconds: float = LONGEST_WAIT_SECONDS,
        listener: Listener | None = None,
        jitter: Callable[[], float] = random,
    ) -> None:
        addresses = [complete(url) for url in ([urls] if isinstance(urls, str) else urls)]
        if not addresses:
            raise ValueError("name a gateway's URL")
        self.cursor = self._reached = since or ""
        """Up to where the user was given everything; what was reached may still have to be taken."""
        self.market: Market | None = None
        self.status = Status()
        self._addresses = cycle(addresses)
        self._wanted: Tickers = ALL if tickers is None else bounded(checked(tickers))
        self._asked = self._wanted
        self._listener = listener or Listener()
        self._backoff = Backoff(most_seconds=longest_wait_seconds, jitter=jitter)
        self._not_before = -math.inf
        self._is_token_renewable = callable(token)
        self._token = checked_token(token) if isinstance(token, str) else ""
        self._refused_token = ""
        self._refresh_at = math.inf
        self._heard_at = 0.0
        self._asked_at: float | None = None
        self._is_first = True
        self._parts: list[Part] = []
        self._updates: deque[Update] = deque()
        self._joined = 0
        self._seqs: dict[str, int] = {}
        self._alert_ids: dict[str, None] = {}
        self._updated_at: datetime | None = None

    def rest_seconds(self, now: float) -> float:
        """How long to wait before the next try to connect."""
        return max(0.0, self._not_before - now)

    def next_url(self) -> str:
        """Where to connect now: the gateways take turns."""
        self._asked = self._wanted
        return asking(next(self._addresses), self._asked, self._reached)

    def on_token(self, token: object, now: float, now_epoch: float) -> str:
        """Take the token to be shown. Raise `ValueError` for what cannot be one, `ConnectionError` for one that was refused before."""
        found = checked_token(token)
        if found == self._refused_token:
            raise ConnectionError("no token but the one that was refused")
        self._token = found
        self._refresh_at = now + seconds_to_refresh(found, now_epoch) if self._is_token_renewable else math.inf
        return found

    def wants_token(self, now: float) -> bool:
        """Whether a newer token is due on the open connection."""
        return now >= self._refresh_at

    def on_no_token(self, now: float) -> None:
        """None could be had: the connection goes on with the one it has, and it is asked for again."""
        self._refresh_at = now + self._backoff.next_seconds()

    def on_open(self, now: float) -> Sequence[str]:
        """A connection was opened; return what to send: changes since its URL was made."""
        self._heard_at, self._asked_at = now, None
        self._is_first, self._parts = True, []
        added, removed = self._wanted - self._asked, self._asked - self._wanted
        return [*_commands("subscribe", added), *(_commands("unsubscribe", removed) if self._wanted != ALL else ())]

    def add(self, tickers: Iterable[str]) -> Sequence[str]:
        """Want more tickers, now and after every reconnect; return what to send. Raise `ValueError` as in the beginning."""
        more = checked(tickers) - self._wanted
        if self._wanted != ALL:
            self._wanted = ALL if more == ALL else bounded(self._wanted | more)
            return _commands("subscribe", more)
        return ()

    def remove(self, tickers: Iterable[str]) -> Sequence[str]:
        """Want fewer; return what to send. Raise `ValueError` if none would be left, or if the subscription is of all."""
        if self._wanted == ALL:
            raise ValueError("the subscription is of every ticker: single ones cannot be taken out of it")
        names = checked(tickers)
        fewer = self._wanted if names == ALL else names & self._wanted
        self._wanted = bounded(self._wanted - fewer)
        return _commands("unsubscribe", fewer)

    def patience_seconds(self, now: float) -> float:
        """How long to wait for a message before `on_silence`."""
        until = self._heard_at + QUIET_SECONDS if self._asked_at is None else self._asked_at + ANSWER_SECONDS
        return max(LEAST_WAIT_SECONDS, min(until, self._refresh_at) - now)

    def on_silence(self, now: float) -> bool:
        """Nothing came in that time: whether to ask by a ping. Raise `TimeoutError` if the connection is as good as dead."""
        if self._asked_at is not None and now >= self._asked_at + ANSWER_SECONDS:
            raise TimeoutError(f"no answer to a ping within {ANSWER_SECONDS:g} s")
        is_due = self._asked_at is None and now >= self._heard_at + QUIET_SECONDS
        if is_due:
            self._asked_at = now
        return is_due

    def on_pong(self) -> None:
        """The ping was answered, at some time: the gateway lived when it was asked."""
        if self._asked_at is not None:
            self._heard_at, self._asked_at = self._asked_at, None

    @property
    def has_update(self) -> bool:
        """Whether there is something for the user."""
        return bool(self._updates)

    @property
    def wants_more(self) -> bool:
        """Whether what has arrived already would become part of it: a loop that was busy is given the newest, not the oldest."""
        return len(self._updates) == 1 and self._joined < MOST_JOINED

    def take_update(self) -> Update:
        """Give it to the user."""
        update, self._joined = self._updates.popleft(), 0
        self.cursor = update.cursor
        return update

    def on_message(self, text: str | bytes, now: float) -> None:
        """Take a message. Raise `NotAMessage` for what no gateway sends."""
        message = parse(text)
        self._heard_at, self._asked_at = now, None
        self._tell(replace(self.status, is_connected=True, reason=""))
        self._listener.on_message(str(text))
        match message:
            case Part():
                self._on_part(message)
            case Pong(cursor) if not self._parts:
                self._reached = cursor
                self.cursor = self.cursor if self._updates else cursor
            case Market():
                self.market = message
                self._listener.on_market(message)
            case Staleness(since):
                self._tell(replace(self.status, stale_since=since))
            case Complaint():
                self._on_complaint(message)

    def on_parting(self, parting: Parting, now: float) -> None:
        """The connection ended, or could not be opened. Raise `Refused` if coming back is of no use."""
        log.info("no connection to the gateway: %s", parting.reason)
        self._tell(Status(reason=parting.reason))
        is_unauthorized = parting.code == UNAUTHORIZED
        if parting.is_final or (is_unauthorized and not self._is_token_renewable):
            raise Refused(parting.code, parting.reason)
        if is_unauthorized:
            self._refused_token = self._token
        self._not_before = now + (self._backoff.next_seconds() if parting.hint_seconds is None else parting.hint_seconds)

    def _tell(self, status: Status) -> None:
        if status != self.status:
            self.status = status
            self._listener.on_status(status)

    def _on_complaint(self, complaint: Complaint) -> None:
        log.warning("the gateway refuses: %s", printable(complaint.message))
        # Ten errors end a connection for good: where no token is needed, none is shown again.
        if complaint.code == "not_supported":
            self._refresh_at = math.inf
        self._tell(replace(self.status, complaint=printable(complaint.message)))

    def _on_part(self, part: Part) -> None:
        """Wait for all parts: the cursor comes with the last, and who is cut off before gets all of them again."""
        self._parts.append(part)
        if not part.has_more:
            parts, self._parts = self._parts, []
            self._hold(self._update_of(parts))

    def _update_of(self, parts: Sequence[Part]) -> Update:
        first, last = parts[0], parts[-1]
        is_replaced = first.is_recovered is False or (self._is_first and first.is_snapshot and first.is_recovered is None)
        self._is_first = self._is_first and not first.is_snapshot
        self._backoff.reset()
        if is_replaced:
            self._seqs.clear()
        if first.is_recovered is False:
            self._listener.on_gap(Gap(first.reason or "resume", self._reached, self._updated_at, last.timestamp))
        stocks = tuple(self._newer(stock for part in parts for stock in part.stocks))
        alerts = tuple(self._new(alert for part in parts for alert in part.alerts))
        self._reached, self._updated_at = last.cursor or self._reached, last.timestamp
        return Update(stocks, alerts, last.timestamp, self._reached, first.is_snapshot, is_replaced, last.skipped)

    def _hold(self, update: Update) -> None:
        if self._updates and not (self._updates[-1].is_snapshot or update.is_snapshot):
            update = joined(self._updates.pop(), update)
            self._joined += 1
        self._updates.append(update)

    def _newer(self, stocks: Iterable[Stock]) -> Iterator[Stock]:
        """Those that are no step back, of tickers that are still wanted. Snapshots may repeat what is known."""
        for stock in stocks:
            if self._is_wanted(stock.ticker) and stock.seq >= self._seqs.get(stock.ticker, 0):
                self._seqs[stock.ticker] = stock.seq
                yield stock

    def _new(self, alerts: Iterable[Alert]) -> Iterator[Alert]:
        for alert in alerts:
            if self._is_wanted(alert.ticker) and alert.id not in self._alert_ids:
                self._alert_ids[alert.id] = None
                yield alert
        for oldest in list(islice(self._alert_ids, max(0, len(self._alert_ids) - REMEMBERED_ALERTS))):
            del self._alert_ids[oldest]

    def _is_wanted(self, ticker: str) -> bool:
        return self._wanted == ALL or ticker in self._wanted


class View:
    """What the user of a subscription may see of its session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def cursor(self) -> str:
        """To store, and to pass as `since` another day; empty before the first update."""
        return self._session.cursor

    @property
    def market(self) -> Market | None:
        """The exchange, as last told."""
        return self._session.market

    @property
    def stale_since(self) -> datetime | None:
        """Since when the gateway hears nothing of its Redis; None if all is well."""
        return self._session.status.stale_since


def auth_command(token: str) -> str:
    """What shows a newer token on an open connection."""
    return json.dumps({"action": "auth", "token": token})


def _commands(action: str, tickers: Tickers) -> Sequence[str]:
    names = [EVERY] if tickers == ALL else sorted(tickers)
    starts = range(0, len(names), TICKERS_PER_COMMAND)
    return [json.dumps({"action": action, "tickers": names[start : start + TICKERS_PER_COMMAND]}) for start in starts]
