"""Rows and events as the JSON of the contract, joined from texts: a number is the stored characters, never a float. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from shared.events import Enriched, Market, iso

Row = Mapping[str, Any]
"""A row of `queries.sql`, numerics as text."""

_encode = msgspec.json.Encoder().encode


def time_text(moment: datetime) -> str:
    """A time as the contract writes it; `moment` is UTC."""
    return moment.isoformat(timespec="milliseconds")


def stock(event: Enriched) -> str:
    """The latest value of a ticker."""
    alert = f'"{event.alert}"' if event.alert else "null"
    return (
        f'{{"ticker":"{event.ticker}","price":{event.price},"sma":{event.sma or "null"},"alert":{alert},'
        f'"ts":"{iso(event.ts)}","seq":{event.seq}}}'
    )


def tick(row: Row) -> str:
    """A row of `ticks`."""
    return (
        f'{{"ticker":{_text(row["ticker"])},"price":{row["price"]},"ts":"{time_text(row["ts"])}",'
        f'"source":{_text(row["source"])},"volume":{row["volume"] or "null"}}}'
    )


def bar(row: Row) -> str:
    """An interval with at least one tick; without any volume that is null."""
    return (
        f'{{"ts":"{time_text(row["ts"])}","open":{row["open"]},"high":{row["high"]},"low":{row["low"]},"close":{row["close"]},'
        f'"volume":{row["volume"] or "null"},"count":{row["count"]}}}'
    )


def day(row: Row) -> str:
    """A day of a ticker so far; without points its list of them is empty."""
    points = (f'{{"ts":"{time_text(ts)}","price":{price}}}' for ts, price in zip(row["times"] or (), row["prices"] or (), strict=True))
    return (
        f'{{"ticker":{_text(row["ticker"])},"day":"{time_text(row["day"])}","open":{row["open"]},'
        f'"open_ts":"{time_text(row["open_ts"])}","points":[{",".join(points)}]}}'
    )


def alert(row: Row) -> str:
    """An alert with its evidence; what is not known of that is null."""
    window = "null" if row["window"] is None else f"[{','.join(row['window'])}]"
    return (
        f'{{"id":{_text(row["id"])},"ticker":{_text(row["ticker"])},"direction":"{row["direction"]}","price":{row["price"]},'
        f'"sma":{row["sma"] or "null"},"ts":"{time_text(row["ts"])}","seq":{row["seq"]},"window":{window},'
        f'"previous_sma":{row["previous_sma"] or "null"},"previous_price":{row["previous_price"] or "null"}}}'
    )


def gap(row: Row) -> str:
    """A loss, and between which ticks of a ticker it lies."""
    return _encode(
        {
            "kind": row["kind"],
            "noticed": time_text(row["at"]),
            "ticks": _lost(row),
            "after": time_text(row["after"]) if row["after"] else None,
            "before": time_text(row["before"]) if row["before"] else None,
            "incarnation": row["incarnation"],
            "first_seq": row["first_seq"],
            "last_seq": row["last_seq"],
        }
    ).decode()


def _lost(row: Row) -> int | None:
    first, last = row["first_seq"], row["last_seq"]
    return None if first is None or last is None or last < first else last - first + 1


def market(said: Market) -> bytes:
    """Whether the exchange trades, and why."""
    return _encode(
        {
            "exchange": said.exchange,
            "status": said.status,
            "reason": said.reason,
            "next_open": iso(said.next_open) if said.next_open else None,
            "next_close": iso(said.next_close) if said.next_close else None,
            "ts": iso(said.ts),
        }
    )


def array(items: Iterable[str]) -> bytes:
    """Items as they are."""
    return f"[{','.join(items)}]".encode()


def page(items: Iterable[str], next_cursor: str | None) -> bytes:
    """Items and where the next page begins; None: there is none."""
    following = f'"{next_cursor}"' if next_cursor else "null"
    return f'{{"items":[{",".join(items)}],"next":{following}}}'.encode()


def series(items: Iterable[str]) -> bytes:
    """Items that come in one answer."""
    return f'{{"items":[{",".join(items)}]}}'.encode()


def _text(value: str) -> str:
    return _encode(value).decode()
