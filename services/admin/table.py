"""The live table: a board and the state of the services as lines that fit a terminal of any size. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from tickstream_client import Alert, Market

from services.admin.board import Board, Price, age_text, is_late, market_text, text_of, trouble
from services.admin.processes import State

ARROWS = {1: ("▲", "green"), -1: ("▼", "red"), 0: (" ", "")}
MARKS = {State.RUNNING: "✓", State.WAITING: "✗"}
COLOURS = {"bullish": "green", "bearish": "red"}
TROUBLE, LATE = "yellow", "yellow"
MARKET_COLOURS = {"open": "green"}

FRAME_LINES = 2
"""The heads of the columns, and the line below the table."""

GAP = 2
"""Blanks between columns."""
ALWAYS = 2
"""Columns that are shown on any terminal: ticker and price."""
ON_THE_RIGHT = ("price", "age", "SMA")


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
    columns = _columns(board, prices, now)
    names = _that_fit(columns, width)
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, GAP, 0, 0))
    for name in names:
        table.add_column(name, justify="right" if name in ON_THE_RIGHT else "left", no_wrap=True, overflow="ellipsis")
    for row in zip(*(columns[name] for name in names), strict=True):
        table.add_row(*row)
    return table


def _columns(board: Board, prices: Sequence[Price], now: datetime) -> Mapping[str, Sequence[Text]]:
    """The cells of every column, those that matter most first."""
    price_texts = _in_column([price.price for price in prices])
    alerts = [board.alerts.get(price.ticker) for price in prices]
    alert_prices = _in_column([alert.price if alert else None for alert in alerts])
    return {
        "ticker": [Text(price.ticker) for price in prices],
        "price": [_moved(price, text) for price, text in zip(prices, price_texts, strict=True)],
        "age": [_age(price, board.market, now) for price in prices],
        "SMA": [Text(text) for text in _in_column([price.sma for price in prices])],
        "last alert": [_alert(alert, text, now) for alert, text in zip(alerts, alert_prices, strict=True)],
    }


def _that_fit(columns: Mapping[str, Sequence[Text]], width: int) -> list[str]:
    """As many from the left as can be shown whole: half a number is a wrong number."""
    names: list[str] = []
    used = -GAP
    for name, cells in columns.items():
        used += max([len(name), *(cell.cell_len for cell in cells)]) + GAP
        if used > width and len(names) >= ALWAYS:
            break
        names.append(name)
    return names


def _moved(price: Price, text: str) -> Text:
    arrow, colour = ARROWS[price.direction]
    return Text(f"{text} {arrow}", colour)


def _alert(alert: Alert | None, price_text: str, now: datetime) -> Text:
    return Text(f"{alert.direction} {price_text}  {age_text(alert.ts, now)} ago", COLOURS.get(alert.direction, "")) if alert else Text("")


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
