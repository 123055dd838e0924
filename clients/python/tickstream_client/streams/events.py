"""What consuming gives: typed events, batches of them, and what is told when something was lost or is no event. Pure.

Fields that later versions add are passed over; a field that is missing or cannot be read makes an entry invalid.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Generic, Literal, TypeVar

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"(?:0|[1-9]\d{0,12})(?:\.\d{1,8})?", re.ASCII)
_WHOLE = re.compile(r"\d{1,16}", re.ASCII)
_TICKER = re.compile(r"[A-Z0-9][A-Z0-9.:\-]{0,31}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tick:
    """One price of one ticker. (`incarnation`, `partition`, `seq`) names it, in every reader and for ever."""

    partition: int
    incarnation: str
    seq: int
    """Rises within a partition."""
    entry_id: str
    """In the stream."""
    ticker: str
    price: Decimal
    ts: datetime
    """When the price held, UTC, in milliseconds."""
    source: str
    volume: Decimal | None
    quote_ts: datetime | None
    """The provider's own time."""
    shed: int
    """Ticks of this ticker that a full stream made the source drop before this one."""

    @property
    def id(self) -> str:
        """`incarnation.partition.seq`."""
        return f"{self.incarnation}.{self.partition}.{self.seq}"


@dataclass(frozen=True, slots=True)
class Enriched:
    """A tick with its moving average and its crossover. (`incarnation`, `partition`, `seq`) names it, in every reader and for ever."""

    partition: int
    incarnation: str
    seq: int
    """That of its tick; rises within a partition."""
    entry_id: str
    """In the stream."""
    ticker: str
    price: Decimal
    sma: Decimal | None
    """None until there are enough prices for an average."""
    alert: Literal["bullish", "bearish"] | None
    ts: datetime
    """When the price held, UTC, in milliseconds."""
    source: str
    tick_id: str
    """Entry id of the tick."""

    @property
    def id(self) -> str:
        """`incarnation.partition.seq`; of an alert it is the id that WebSocket and REST give it."""
        return f"{self.incarnation}.{self.partition}.{self.seq}"


E = TypeVar("E", bound=Tick | Enriched)


@dataclass(frozen=True, slots=True)
class Batch(Generic[E]):
    """Events that follow each other in one partition; never empty, and of one incarnation."""

    partition: int
    incarnation: str
    events: tuple[E, ...]
    is_redelivered: bool
    """Whether somebody had them before and did not finish: they may have been worked on."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Something was lost, or may have been."""

    reason: Literal["overrun", "rewind", "reset", "group"]
    """`overrun`: entries were deleted before this group read them (it was too far behind). `rewind`: Redis lost its newest entries,
    which this process had been given. `reset`: Redis lost everything. `group`: somebody deleted the group; it was made again where
    this process stood, or where `start` says if it did not know."""
    partition: int
    incarnation: str
    """Of what was lost; of what follows when that is not known."""
    first_seq: int | None = None
    """The lost seqs, as far as they are known."""
    last_seq: int | None = None
    entries: int | None = None
    """How many entries, where it can be counted."""


@dataclass(frozen=True, slots=True)
class Invalid:
    """An entry that is no event: a stranger wrote it. It is acknowledged, and never given again."""

    partition: int
    entry_id: str
    reason: str
    fields: tuple[str, ...]
    """Names and values in turn."""


class NoEvent(ValueError):
    """What `read_tick` and `read_enriched` raise."""


def read_tick(partition: int, incarnation: str, entry_id: str, fields: Mapping[str, str]) -> Tick:
    """Read an entry of `ticks`; raise `NoEvent` that names the bad field."""
    return Tick(
        partition, incarnation, seq_of(fields), entry_id, _ticker(fields), _price(fields), _time(fields, "ts"), _field(fields, "source"),
        _decimal(fields, "volume") if _field(fields, "volume") else None,
        _time(fields, "quote_ts") if _field(fields, "quote_ts") else None,
        _whole(fields, "shed") if _field(fields, "shed") else 0,
    )  # fmt: skip


def read_enriched(partition: int, incarnation: str, entry_id: str, fields: Mapping[str, str]) -> Enriched:
    """Read an entry of `enriched`; raise `NoEvent` that names the bad field."""
    sma = _decimal(fields, "sma") if _field(fields, "sma") else None
    return Enriched(
        partition, incarnation, seq_of(fields), entry_id, _ticker(fields), _price(fields), sma, _alert(fields),
        _time(fields, "ts"), _field(fields, "source"), _field(fields, "tick_id"),
    )  # fmt: skip


def seq_of(fields: Mapping[str, str]) -> int:
    """The seq of an entry; raise `NoEvent` if it has none."""
    return _whole(fields, "seq")


def _field(fields: Mapping[str, str], name: str) -> str:
    try:
        return fields[name]
    except KeyError:
        raise NoEvent(f"field {name} is missing") from None


def _bad(fields: Mapping[str, str], name: str) -> NoEvent:
    return NoEvent(f"{name} {fields[name][:64]!r} is not allowed")


def _whole(fields: Mapping[str, str], name: str) -> int:
    if not _WHOLE.fullmatch(_field(fields, name)):
        raise _bad(fields, name)
    return int(fields[name])


def _decimal(fields: Mapping[str, str], name: str) -> Decimal:
    if not _NUMBER.fullmatch(_field(fields, name)):
        raise _bad(fields, name)
    return Decimal(fields[name])


def _price(fields: Mapping[str, str]) -> Decimal:
    price = _decimal(fields, "price")
    if not price:
        raise _bad(fields, "price")
    return price


def _time(fields: Mapping[str, str], name: str) -> datetime:
    try:
        return EPOCH + timedelta(milliseconds=_whole(fields, name))
    except OverflowError:
        raise _bad(fields, name) from None


def _ticker(fields: Mapping[str, str]) -> str:
    if not _TICKER.fullmatch(_field(fields, "ticker")):
        raise _bad(fields, "ticker")
    return fields["ticker"]


def _alert(fields: Mapping[str, str]) -> Literal["bullish", "bearish"] | None:
    match _field(fields, "alert"):
        case "":
            return None
        case "bullish":
            return "bullish"
        case "bearish":
            return "bearish"
    raise _bad(fields, "alert")
