"""The live table: a board and the state of the services as lines that fit a terminal of any size. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.admin.board import Alert, Board, Market, Price, age_text, is_late, market_text, text_of, trouble
from services.admin.processes import State

ARROWS = {1: ("▲", "green"), -1: ("▼", "red"), 0: (" ", "")}
MARKS = {State.RUNNING: "✓", State.WAITING: "✗"}
COLOURS = {"bullish": "green", "bearish": "red"}
TROUBLE, LATE = "yellow", "yellow"
MARKET_COLOURS = {"open": "green"}

FRAME_LINES = 2
"""The heads of the columns, and the line below the table."""

COLUMNS = (("ticker", 0), ("price", 0), ("age", 32), ("SMA", 44), ("last alert", 66))
"""Each column, and the width of a terminal from which on it is shown."""


@dataclass(frozen=True)
class Caption:
    """What stands above and below the table."""

    title: str
    lines: tuple[Text, ...]
    """Between the title and the table."""
    footer: str


def frame(board: Board, caption: Caption, width: int, height: int, now: datetime) -> RenderableType:
    """Lay out at most `height` lines of at most `width` columns."""
    lines: list[RenderableType] = [_line(caption.title, "bold"), *(_one_line(line) for line in caption.lines)]
    room = height - len(lines) - FRAME_LINES
    if room > 0:
        prices = shown(board, room)
        lines.append(_table(board, prices, width, now))
        hidden = len(board.prices) - len(prices)
        lines.append(_line(f"… and {hidden} more · {caption.footer}" if hidden else caption.footer, "dim"))
    return Group(*lines[: max(1, height)])


def shown(board: Board, room: int) -> Sequence[Price]:
    """The tickers that fit, in an order that does not jump."""
    return [board.prices[ticker] for ticker in sorted(board.prices)[:room]]


def services_line(states: Sequence[tuple[str, State]]) -> str:
    """Name and state of each process as `fetcher ✓ · analyzer 2/3`; names of scaled processes end in `-1`, `-2` …"""
    grouped: dict[str, list[State]] = {}
    for name, state in states:
        grouped.setdefault(name.partition("-")[0], []).append(state)
    return " · ".join(f"{name} {_share(found)}" for name, found in grouped.items())


def health(board: Board, now: datetime, *, well: str = "") -> Text:
    """What is away and why, or `well` if nothing is; and whether the market is open. Empty if there is nothing to tell."""
    wrong = trouble(board)
    parts = [Text(wrong, TROUBLE) if wrong else Text(well)]
    if board.market:
        parts.append(Text(market_text(board.market, now), MARKET_COLOURS.get(board.market.status, "dim")))
    return Text(" · ").join(part for part in parts if part)


def _share(states: Sequence[State]) -> str:
    if len(states) > 1:
        return f"{states.count(State.RUNNING)}/{len(states)}"
    return MARKS.get(states[0], states[0].value)


def _line(text: str, style: str) -> Text:
    return _one_line(Text(text, style=style))


def _one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _table(board: Board, prices: Sequence[Price], width: int, now: datetime) -> Table:
    names = [name for name, from_width in COLUMNS if width >= from_width]
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in names:
        is_number = name in ("price", "SMA", "age")
        table.add_column(name, justify="right" if is_number else "left", no_wrap=True, overflow="ellipsis")
    alerts = [board.alerts[price.ticker] for price in prices if price.ticker in board.alerts]
    price_texts = _in_column([price.price for price in prices])
    averages = _in_column([price.sma for price in prices])
    alert_prices = dict(zip((alert.ticker for alert in alerts), _in_column([alert.price for alert in alerts]), strict=True))
    for price, price_text, average in zip(prices, price_texts, averages, strict=True):
        arrow, colour = ARROWS[price.direction]
        cells = {
            "ticker": Text(price.ticker),
            "price": Text(f"{price_text} {arrow}", colour),
            "age": _age(price, board.market, now),
            "SMA": Text(average),
            "last alert": _alert(board.alerts.get(price.ticker), alert_prices.get(price.ticker, ""), now),
        }
        table.add_row(*(cells[name] for name in names))
    return table


def _alert(alert: Alert | None, price_text: str, now: datetime) -> Text:
    return Text(f"{alert.direction} {price_text}  {age_text(alert.at, now)} ago", COLOURS.get(alert.direction, "")) if alert else Text("")


def _age(price: Price, market: Market | None, now: datetime) -> Text:
    age = age_text(price.at, now)
    return Text(f"late {age}", LATE) if is_late(price, market, now) else Text(age)


def _in_column(numbers: Sequence[Decimal | None]) -> Sequence[str]:
    """The characters of each, so that point stands below point."""
    decimals = max(map(_decimals, numbers), default=0)
    texts = [aligned(number, decimals) for number in numbers]
    width = max(map(len, texts), default=0)
    return [text.rjust(width) for text in texts]


def _decimals(number: Decimal | None) -> int:
    return len(text_of(number).partition(".")[2])


def aligned(number: Decimal | None, decimals: int) -> str:
    """The characters of a number, and blanks in place of missing decimals: point stands below point."""
    text = text_of(number)
    whole, _, fraction = text.partition(".")
    missing = decimals - len(fraction) + (0 if fraction or not decimals else 1)
    return f"{text}{' ' * missing}" if whole else ""
