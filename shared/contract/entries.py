"""The entries of the streams and the other public values in Redis: text all of it, fields in this order, empty where there is no value.

The patterns are those that the pipeline itself reads and writes by (`shared.events`).
"""

from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from shared.contract.fields import FIELD_ORDER, Average, Described, Matching, Price, Source, Ticker
from shared.deadletters import PAYLOAD_BYTES
from shared.events import ENRICHED_PATTERNS, MARKET_PATTERNS, TICK_PATTERNS


class Entry(Described):
    """An entry of a stream: names and values in turn, always the same names in the same order."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        cls.model_config["json_schema_extra"] = {FIELD_ORDER: list(cls.model_fields)}


class TickEntry(Entry):
    """One price of one ticker at one event time, written once, by `append` alone."""

    seq: Annotated[str, Matching(TICK_PATTERNS["seq"])] = Field(
        description="Number of the tick within its partition, from 1 on, without a hole.", examples=["812"]
    )
    ticker: Ticker = Field(
        description="Symbol of the stock; it decides the partition: crc32(ticker) % PARTITIONS.", examples=["AAPL", "BRK.B"]
    )
    price: Annotated[str, Matching(TICK_PATTERNS["price"])] = Field(
        description="Above 0 and below 10^12, a decimal as text: at most eight decimals, no exponent, no trailing zeros.",
        examples=["255.78"],
    )
    ts: Annotated[str, Matching(TICK_PATTERNS["ts"])] = Field(
        description="Event time, when the price held, in epoch milliseconds UTC; of a polled quote the scheduled start of its cycle.",
        examples=["1771105101950"],
    )
    source: Source = Field(description="Where it comes from: `finnhub`, `finnhub-stream`, `simulated` or `replay`.", examples=["simulated"])
    volume: Annotated[str, Matching(TICK_PATTERNS["volume"])] = Field(
        description="Volume of the trade, a decimal as text; empty where the source tells none.", examples=["100"]
    )
    quote_ts: Annotated[str, Matching(TICK_PATTERNS["quote_ts"])] = Field(
        description="The provider's own time of the quote, in epoch milliseconds UTC; empty where it tells none.",
        examples=["1771105100000"],
    )
    shed: Annotated[str, Matching(TICK_PATTERNS["shed"])] = Field(
        description="How many ticks of this ticker were dropped at STREAM_CAP before this one; empty: none.", examples=["3"]
    )


class EnrichedEntry(Entry):
    """A tick with its moving average and its alert, written once, together with the window it was judged by (`commit`)."""

    seq: Annotated[str, Matching(ENRICHED_PATTERNS["seq"])] = Field(
        description="That of its tick: number within the partition.", examples=["812"]
    )
    ticker: Ticker = Field(description="Symbol of the stock.", examples=["AAPL", "BRK.B"])
    price: Annotated[str, Matching(ENRICHED_PATTERNS["price"])] = Field(description="That of its tick.", examples=["255.78"])
    ts: Annotated[str, Matching(ENRICHED_PATTERNS["ts"])] = Field(
        description="Event time of its tick, in epoch milliseconds UTC.", examples=["1771105101950"]
    )
    source: Source = Field(description="That of its tick.", examples=["simulated"])
    tick_id: Annotated[str, Matching(ENRICHED_PATTERNS["tick_id"])] = Field(
        description="Entry id of its tick in the stream of ticks.", examples=["1771105101951-0"]
    )
    sma: Annotated[str, Matching(ENRICHED_PATTERNS["sma"])] = Field(
        description="Mean of the last SMA_PERIOD prices, this one included: six decimals at most; empty until there are so many.",
        examples=["254.32"],
    )
    alert: Annotated[str, Matching(ENRICHED_PATTERNS["alert"])] = Field(
        description="`bullish` when the price crossed its average upwards with this tick, `bearish` downwards; empty: neither.",
        examples=["bullish"],
    )


class DeadLetterEntry(Entry):
    """Input that cannot be processed, with the reason. Look after it with `tickstream deadletters`."""

    stream: Annotated[str, Matching("(?:ticks)?")] = Field(
        description="`ticks` if it was an entry there; empty if it never became one.", examples=["ticks"]
    )
    entry_id: Annotated[str, Matching(rf"(?:{ENRICHED_PATTERNS['tick_id']})?")] = Field(
        description="Its entry id in that stream; empty if it never became an entry.", examples=["1771105101951-0"]
    )
    reason: str = Field(description="What is wrong with it, for people.", examples=["ts is more than 5 s in the future"])
    payload: str = Field(
        description=f"What it was, cut at {PAYLOAD_BYTES} bytes of UTF-8; a cut one cannot be retried. Of a tick that was refused "
        "its values, commas between them; of an entry its fields as JSON."
    )
    ts: Annotated[str, Matching(TICK_PATTERNS["ts"])] = Field(
        description="When it was buried, by the clock of Redis, in epoch milliseconds UTC.", examples=["1771105101950"]
    )


class MarketEntry(Entry):
    """Whether the exchange trades, and why: written when something differs from the entry before."""

    exchange: Annotated[str, Matching(MARKET_PATTERNS["exchange"])] = Field(
        description="Code of its calendar (ISO 10383).", examples=["XNYS"]
    )
    status: Annotated[str, Matching(MARKET_PATTERNS["status"])] = Field(
        description="`open`, `pre`, `post` (trading before and after the session) or `closed`.", examples=["open"]
    )
    reason: Annotated[str, Matching(MARKET_PATTERNS["reason"])] = Field(
        description="Why, for people; of simulated and replayed prices the source.", examples=["regular session"]
    )
    next_open: Annotated[str, Matching(MARKET_PATTERNS["next_open"])] = Field(
        description="When the next session begins, in epoch milliseconds UTC; empty where that is not known.", examples=["1771252200000"]
    )
    next_close: Annotated[str, Matching(MARKET_PATTERNS["next_close"])] = Field(
        description="When the session, or the next one, ends, in epoch milliseconds UTC; empty where that is not known.",
        examples=["1771275600000"],
    )
    ts: Annotated[str, Matching(MARKET_PATTERNS["ts"])] = Field(
        description="When it was said, by the clock of Redis, in epoch milliseconds UTC.", examples=["1771105101950"]
    )


class LatestValue(Described):
    """The newest enriched event of a ticker: the JSON that stands in the hash `latest:{p}` under its name."""

    ticker: Ticker = Field(description="Symbol of the stock, the name of the hash's field.", examples=["AAPL"])
    price: Price = Field(description="A number with the characters of the stream: read it as a decimal, not as a float.", examples=[255.78])
    sma: Average | None = Field(description="Mean of the last SMA_PERIOD prices; null until there are so many.", examples=[254.32])
    alert: Literal["bullish", "bearish"] | None = Field(description="Whether the price crossed its average with this very event.")
    ts: Annotated[int, Field(ge=0, lt=10**14)] = Field(description="Event time in epoch milliseconds UTC.", examples=[1771105101950])
    source: Source = Field(description="Where it comes from.", examples=["simulated"])
    seq: Annotated[int, Field(ge=1, lt=10**16)] = Field(description="Number of its tick within the partition.", examples=[812])


class WindowPrice(RootModel[Annotated[str, Matching(TICK_PATTERNS["price"])]]):
    """One of the last SMA_PERIOD prices of a ticker, oldest first: an element of the list `prices:{p}:TICKER`."""


ENTRIES: dict[str, type[Entry]] = {"ticks": TickEntry, "enriched": EnrichedEntry, "deadletters": DeadLetterEntry, "market": MarketEntry}
"""By the name of their stream."""
VALUES: dict[str, type[Described] | type[WindowPrice]] = {"latest": LatestValue, "prices": WindowPrice}
"""By the name of their hash or list."""
