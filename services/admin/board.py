"""What a gateway's client knows: the latest price of every ticker, its last alert, the market, and what is away. Pure.

Text of numbers is kept as it came: prices are never floats.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tickstream_client.messages import Alert, Market, Status, Stock, Update
from tickstream_client.parting import printable

RATE_SECONDS = 10.0
POLLED_SECONDS = 60.0
"""What is usual between two prices of a ticker before any were seen: the default cycle of a polled source."""
LATE_AFTER = 3.0
"""A price is late when it is this many times older than usual."""
NEVER_LATE_SECONDS = 10.0
"""A pause this short tells nothing, whatever the rate was."""


@dataclass(frozen=True)
class Price:
    """The latest price of a ticker, and where it moved."""

    ticker: str
    price: Decimal
    sma: Decimal | None
    at: datetime
    direction: int
    """1 up, -1 down, 0 not known: against the last different price."""
    gaps_seconds: tuple[float, ...] = ()
    """Event time between this price and the one before it, and between those before, as far as they were seen."""


@dataclass
class Board:
    """State of the pipeline as its clients see it; fed with the gateway's messages."""

    prices: dict[str, Price] = field(default_factory=dict)
    alerts: dict[str, Alert] = field(default_factory=dict)
    last_alert: Alert | None = None
    market: Market | None = None
    updates: int = 0
    """Prices received since the start, snapshots not counted."""
    alerted: int = 0
    """Alerts received since the start, each counted once."""
    recent_alerts: tuple[Alert, ...] = ()
    """Those that came last, together, in their order."""
    is_connected: bool = False
    """Whether the gateway has sent something on the connection that is open."""
    away_because: str = ""
    """Why there is no connection; empty before the first try has failed."""
    stale_since: datetime | None = None
    """Since when Redis is away, as the gateway says."""
    complaint: str = ""
    """What the gateway answered last to something it refused."""
    _recent: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def is_stale(self) -> bool:
        """Whether the gateway says that Redis is away."""
        return self.stale_since is not None

    def on_status(self, status: Status) -> None:
        """The connection came or went, or the gateway says something of its Redis or of what we asked for."""
        self.is_connected, self.stale_since, self.complaint = status.is_connected, status.stale_since, status.complaint
        self.away_because = status.reason or self.away_because

    def on_market(self, market: Market) -> None:
        """The exchange changed."""
        exchange, status, reason = map(printable, (market.exchange, market.status, market.reason))
        self.market = replace(market, exchange=exchange, status=status, reason=reason)

    def on_update(self, update: Update, now_seconds: float) -> None:
        """Take what the client gives; `now_seconds` is any steady clock."""
        if update.is_replaced:
            self._forget_others(update)
        for stock in update.stocks:
            self._on_stock(stock)
        for alert in update.alerts:
            self.alerts[alert.ticker] = self.last_alert = alert
        self.recent_alerts = update.alerts or self.recent_alerts
        self.alerted += len(update.alerts)
        if not update.is_snapshot and update.stocks:
            self.updates += len(update.stocks)
            self._recent.append((now_seconds, len(update.stocks)))

    def updates_per_second(self, now_seconds: float) -> float:
        """Over the last ten seconds."""
        while self._recent and self._recent[0][0] <= now_seconds - RATE_SECONDS:
            self._recent.popleft()
        return sum(count for _, count in self._recent) / RATE_SECONDS

    def _forget_others(self, update: Update) -> None:
        """What a replacement holds too is kept, to see in which direction it moved."""
        named = {stock.ticker for stock in update.stocks}
        self.prices = {ticker: price for ticker, price in self.prices.items() if ticker in named}

    def _on_stock(self, stock: Stock) -> None:
        ticker, price, at = stock.ticker, stock.price, stock.ts
        before = self.prices.get(ticker)
        direction = before.direction if before else 0
        if before and price != before.price:
            direction = 1 if price > before.price else -1
        self.prices[ticker] = Price(ticker, price, stock.sma, at, direction, _gaps(before, at))
        # A snapshot has no alerts of its own, but each entry says what it was.
        if stock.alert and ticker not in self.alerts:
            self.alerts[ticker] = Alert("", ticker, stock.alert, price, stock.sma, at, stock.seq)


def _gaps(before: Price | None, at: datetime) -> tuple[float, ...]:
    """The last two: one may be a night or an outage, which is not usual."""
    if before is None:
        return ()
    return ((at - before.at).total_seconds(), *before.gaps_seconds)[:2] if at > before.at else before.gaps_seconds


def is_late(price: Price, market: Market | None, now: datetime) -> bool:
    """Whether a price is older than it should be: not while the exchange is closed, and never for the event times of a replay."""
    if market and (market.status != "open" or market.reason == "replay"):
        return False
    usual_seconds = min(price.gaps_seconds, default=POLLED_SECONDS)
    return (now - price.at).total_seconds() > max(LATE_AFTER * usual_seconds, NEVER_LATE_SECONDS)


def text_of(number: Decimal | None) -> str:
    """The characters of a number, never with an exponent; empty for none."""
    return "" if number is None else f"{number:f}"


def age_text(at: datetime, now: datetime | None = None) -> str:
    """How long ago something was, in the largest unit that fits: `3 s`, `12 min`, `5 h`, `9 d`, `14 y`."""
    return _span((now or datetime.now(UTC)) - at)


def _span(length: timedelta) -> str:
    seconds = max(0.0, length.total_seconds())
    for unit, unit_seconds in (("y", 365.25 * 86400), ("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= unit_seconds:
            return f"{int(seconds // unit_seconds)} {unit}"
    return f"{int(seconds)} s"


def market_text(market: Market, now: datetime) -> str:
    """The exchange in words: `XNYS closed (weekend), opens Mon 14:30 UTC, in 1 d`."""
    text = f"{market.exchange or 'market'} {market.status}"
    text += f" ({market.reason})" if market.reason not in ("", market.status) else ""
    verb, at = ("closes", market.next_close) if market.status == "open" else ("opens", market.next_open)
    return f"{text}, {verb} {at.astimezone(UTC):%a %H:%M} UTC, in {_span(at - now)}" if at else text


def trouble(board: Board) -> str:
    """What keeps prices away, with its reason; empty if nothing does. The same text as long as it is the same trouble."""
    if not board.is_connected:
        return f"gateway away: {board.away_because}" if board.away_because else "connecting …"
    if board.stale_since:
        return f"Redis away since {board.stale_since.astimezone(UTC):%H:%M:%S} UTC"
    return f"the gateway refuses: {board.complaint}" if board.complaint else ""


def alert_text(alert: Alert) -> str:
    """An alert as a line: `2026-02-14 21:37:20.110 MSFT bullish 401.32, SMA 399.8`."""
    average = f", SMA {text_of(alert.sma)}" if alert.sma is not None else ""
    at = alert.ts.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "milliseconds")
    return f"{at} {alert.ticker} {alert.direction} {text_of(alert.price)}{average}"


def summary(board: Board, updates: int, seconds: float) -> str:
    """One line for who watches without a terminal: `updates` of the last `seconds`."""
    parts = [f"{len(board.prices)} tickers", f"{updates} updates in {seconds:.0f} s"]
    if board.last_alert:
        alert = board.last_alert
        parts.append(f"last alert {alert.ticker} {alert.direction} {text_of(alert.price)}")
    return ", ".join([*parts, *filter(None, [trouble(board)])])
