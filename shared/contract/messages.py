"""The messages of the WebSocket, those of the gateway and those of a client, each one text frame with a JSON object."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from shared.contract.fields import INCARNATION, Average, Cursor, Described, LeftOut, Matching, Price, Ticker, Time
from shared.events import MARKET_PATTERNS, SEQ, TICKER

MOST_PER_MESSAGE = 1000
MOST_TICKERS = 1000

Seq = Annotated[int, Field(ge=1, lt=10**16)]
Side = Literal["bullish", "bearish"]
TickerOrAll = Annotated[str, Matching(rf"\*|{TICKER}")]
_Flag = Annotated[Literal[True] | None, LeftOut()]


class Stock(Described):
    """The newest value of a ticker."""

    ticker: Ticker = Field(description="Symbol of the stock.", examples=["AAPL", "BRK.B"])
    price: Price = Field(description="A number with the characters of the stream: read it as a decimal, not as a float.", examples=[255.78])
    sma: Average | None = Field(description="Mean of the last SMA_PERIOD prices; null until there are so many.", examples=[254.32])
    alert: Side | None = Field(
        description="Whether this very price crossed its average. It comes again with snapshots: notify from `alerts`."
    )
    ts: Time = Field(description="Event time, UTC.", examples=["2026-02-14T21:38:21.950+00:00"])
    seq: Seq = Field(description="Number of the tick within its partition: rises per ticker until `recovered` is false.", examples=[812])


class Alert(Described):
    """A price that crossed its moving average."""

    id: Annotated[str, Matching(rf"{INCARNATION}\.\d{{1,2}}\.{SEQ}")] = Field(
        description="`incarnation.partition.seq`, the same from every gateway and in PostgreSQL: drop ids you have seen.",
        examples=["1795346662034123-3fa9c1d2.0.790"],
    )
    ticker: Ticker = Field(description="Symbol of the stock.", examples=["MSFT"])
    direction: Side = Field(description="Whither the price crossed its average: `bullish` upwards.")
    price: Price = Field(description="The price that crossed.", examples=[401.32])
    sma: Average | None = Field(description="The average that it crossed.", examples=[399.8])
    ts: Time = Field(description="Event time, UTC.", examples=["2026-02-14T21:37:20.110+00:00"])
    seq: Seq = Field(description="Number of its tick within the partition.", examples=[790])


class StockUpdate(Described):
    """The subscribed tickers that changed, each once, and every alert since the message before.

    The first message, and the one after `subscribe`, is a snapshot. More than 1 000 stocks or alerts come in parts, one right after
    the other.
    """

    model_config: ClassVar[ConfigDict] = {"json_schema_extra": {"oneOf": [{"required": ["cursor"]}, {"required": ["more"]}]}}

    type: Literal["stock_update"] = Field(description="Which message it is.")
    timestamp: Time = Field(description="When the gateway wrote it, UTC.", examples=["2026-02-14T21:38:22.104+00:00"])
    cursor: Annotated[Cursor | None, LeftOut()] = Field(
        default=None, description="Up to here everything was sent; opaque. To resume: `since` of the next connection. The last part has it."
    )
    more: _Flag = Field(default=None, description="Only in parts that another one follows; they have no `cursor`.")
    snapshot: bool = Field(description="Whether `stocks` has the newest of every ticker that is asked for, changed or not.")
    recovered: Annotated[bool | None, LeftOut()] = Field(
        default=None,
        description="After `since`: true, nothing was missed; false, replace all state, alerts may have been missed. Later on only false.",
    )
    reason: Annotated[Literal["gap", "rewind", "reset"] | None, LeftOut()] = Field(
        default=None,
        description="In mid-connection, why `recovered` is false: `gap`, entries were deleted unread; `rewind`, Redis lost entries; "
        "`reset`, it lost everything.",
    )
    stocks: list[Stock] = Field(max_length=MOST_PER_MESSAGE, description="Latest wins: one entry of each ticker.")
    alerts: list[Alert] = Field(max_length=MOST_PER_MESSAGE, description="Never conflated. Notify from these.")
    skipped: Annotated[Annotated[int, Field(ge=1)] | None, LeftOut()] = Field(
        default=None, description="How many updates newer ones replaced because this connection was slow."
    )

    @model_validator(mode="after")
    def _has_a_place(self) -> Self:
        if (self.cursor is None) is (self.more is None):
            raise ValueError("either cursor or more")
        return self


class Status(Described):
    """Whether prices may be out of date, because Redis is away: within 3 s, and again when it is back."""

    type: Literal["status"] = Field(description="Which message it is.")
    stale: bool = Field(description="True: no news until a status says false.")
    since: Time = Field(description="Since when it is so, UTC.", examples=["2026-02-14T21:38:22.104+00:00"])


class MarketStatus(Described):
    """Whether the exchange trades: after the first message, then on change."""

    type: Literal["market_status"] = Field(description="Which message it is.")
    exchange: Annotated[str, Matching(MARKET_PATTERNS["exchange"])] = Field(
        description="Code of its calendar (ISO 10383).", examples=["XNYS"]
    )
    status: Literal["open", "pre", "post", "closed"] = Field(description="`pre`, `post`: trading before and after the session.")
    reason: Annotated[str, Matching(MARKET_PATTERNS["reason"])] = Field(description="Why, for people.", examples=["regular session"])
    next_open: Time | None = Field(description="When the next session begins, UTC; null where that is not known.")
    next_close: Time | None = Field(description="When the session, or the next one, ends, UTC; null where that is not known.")
    ts: Time = Field(description="When it was said, UTC.")


class Pong(Described):
    """The answer to `ping`."""

    type: Literal["pong"] = Field(description="Which message it is.")
    cursor: Cursor = Field(description="Up to here everything was sent; opaque.")


class Subscribed(Described):
    """The answer to `subscribe`, `unsubscribe` and `auth`: the whole set. What is new follows as a snapshot."""

    type: Literal["subscribed"] = Field(description="Which message it is.")
    tickers: list[TickerOrAll] = Field(max_length=MOST_TICKERS, description='In order; `["*"]` is all.', examples=[["AAPL", "MSFT"], ["*"]])


class Error(Described):
    """A command that was refused, or a part of it. The tenth one ends the connection (4400)."""

    type: Literal["error"] = Field(description="Which message it is.")
    code: Literal["bad_json", "bad_action", "bad_ticker", "not_supported", "too_many_tickers", "unauthorized"] = Field(
        description="`bad_json`: no JSON object. `bad_action`: none of the four. `bad_ticker`: malformed names, the rest applies. "
        "`not_supported`: single names unsubscribed while `*` holds, or `auth` where no token is asked. "
        "`too_many_tickers`: nothing changed. `unauthorized`: no token yet, a bad one, or tickers it does not allow."
    )
    message: str = Field(description="For people.", examples=["not a ticker: 'aapl'"])


class Subscribe(Described):
    """Add tickers. A well-formed unknown one is accepted and waits; malformed ones are answered with an error, the rest applies."""

    action: Literal["subscribe"] = Field(description="Which command it is.")
    tickers: list[TickerOrAll] = Field(max_length=MOST_TICKERS, description='`["*"]` is all.', examples=[["AAPL", "MSFT"]])


class Unsubscribe(Described):
    """Remove tickers; `["*"]` removes all."""

    action: Literal["unsubscribe"] = Field(description="Which command it is.")
    tickers: list[TickerOrAll] = Field(max_length=MOST_TICKERS, description="No single names while `*` holds.", examples=[["AAPL"]])


class Ping(Described):
    """Ask for a cursor, and for a sign of life."""

    action: Literal["ping"] = Field(description="Which command it is.")


class Auth(Described):
    """Show a token, where GATEWAY_AUTH is `jwt`: as the first message within 5 s, or a newer one before `exp`."""

    action: Literal["auth"] = Field(description="Which command it is.")
    token: str = Field(description="A JWT (RFC 7519). Never put it into the URL.")


MESSAGES: dict[str, type[Described]] = {
    "stock_update": StockUpdate,
    "status": Status,
    "market_status": MarketStatus,
    "pong": Pong,
    "subscribed": Subscribed,
    "error": Error,
}
"""Of the gateway, by `type`."""
COMMANDS: dict[str, type[Described]] = {"subscribe": Subscribe, "unsubscribe": Unsubscribe, "ping": Ping, "auth": Auth}
"""Of a client, by `action`."""
