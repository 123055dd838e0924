"""The shapes of the answers, for the documentation: the answers themselves are joined from texts (`services.api.json_text`)."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PlainSerializer, WithJsonSchema

from services.api.json_text import time_text

Price = Annotated[float, Field(description="The exact decimal that was stored: read it as one, not as a float.", examples=[255.78])]
Moment = Annotated[datetime, PlainSerializer(time_text), WithJsonSchema({"type": "string", "format": "date-time"})]
"""A time that is written as the contract has it."""
Seq = Annotated[int, Field(description="Number of the tick within its partition.", ge=1)]
Direction = Literal["bullish", "bearish"]


class Stock(BaseModel):
    """The latest value of a ticker."""

    ticker: str
    price: Price
    sma: Price | None = Field(description="Null until there were SMA_PERIOD prices.")
    alert: Direction | None = Field(description="Whether this very price crossed its average.")
    ts: datetime
    seq: Seq


class Tick(BaseModel):
    """One price at one time."""

    ticker: str
    price: Price
    ts: datetime
    source: str
    volume: Price | None


class TickPage(BaseModel):
    """Newest first."""

    items: list[Tick]
    next: str | None = Field(description="`cursor` of the next page; null at the end.")


class Bar(BaseModel):
    """An interval in which there were ticks."""

    ts: datetime = Field(description="Its begin.")
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Price | None = Field(description="Null if no tick had one.")
    count: int = Field(ge=1)


class BarSeries(BaseModel):
    """Oldest first."""

    items: list[Bar]


class Gap(BaseModel):
    """A loss that touches the partition of a ticker, and where on the ticker's own axis it lies."""

    kind: Literal["gap", "rewind", "reset"] = Field(
        description="`gap`: ticks were deleted before they were stored. `rewind`: Redis came back without ticks that are stored, and "
        "what came right after them may be missing. `reset`: Redis came back without any, and counting began at 1.",
    )
    noticed: datetime
    ticks: int | None = Field(
        description="How many ticks of the partition were lost, of whichever tickers: with `gap` by everybody, with `rewind` by Redis "
        "(here they are). Null where nobody can know.",
    )
    after: datetime | None = Field(description="The ticker's last stored tick before it; null if there is none.")
    before: datetime | None = Field(description="The ticker's first stored tick after it; null if there is none yet.")
    incarnation: str = Field(description="Of the lost ticks.")
    first_seq: Seq | None
    last_seq: Seq | None


class GapList(BaseModel):
    """Noticed last, first."""

    items: list[Gap]


class Point(BaseModel):
    """A price, and when it came."""

    ts: datetime
    price: Price


class Day(BaseModel):
    """The day in UTC of a ticker's newest tick, so far."""

    ticker: str
    day: datetime = Field(description="Its begin: `ts` of the `1d` bar.")
    open: Price = Field(description="Price of the day's first tick: `open` of the `1d` bar.")
    open_ts: datetime = Field(description="When that tick was.")
    points: list[Point] = Field(description="Oldest first; the last is the newest tick.")


class Alert(BaseModel):
    """A price that crossed its moving average, and what it was judged by."""

    id: str
    ticker: str
    direction: Direction
    price: Price
    sma: Price | None
    ts: datetime
    seq: Seq
    window: list[Price] | None = Field(description="The prices that `sma` is the mean of, oldest first, the alert's own last.")
    previous_sma: Price | None
    previous_price: Price | None


class AlertPage(BaseModel):
    """Newest first."""

    items: list[Alert]
    next: str | None = Field(description="`cursor` of the next page; null at the end.")


class Market(BaseModel):
    """Whether the exchange trades, and why."""

    exchange: str
    status: Literal["open", "pre", "post", "closed"]
    reason: str
    next_open: Moment | None
    next_close: Moment | None
    ts: Moment


class Healthy(BaseModel):
    """Both servers answer."""

    status: Literal["ok"]


class BadParameter(BaseModel):
    """A parameter, and what is wrong with it."""

    parameter: str
    message: str


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[BadParameter] | None = Field(default=None, description="With 422.")
    down: list[str] | None = Field(default=None, description="With 503 of /healthz: the servers that do not answer.")


_DESCRIPTIONS = {404: "Not found", 422: "A bad parameter", 503: "Redis or PostgreSQL is away; worth another try soon"}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route declares of its errors."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _DESCRIPTIONS[status], "content": content} for status in statuses}
