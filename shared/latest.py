"""The values of `latest:{p}`, as `commit` writes them. Pure."""

import msgspec

from shared.errors import InvalidEntry
from shared.events import Enriched, parse_enriched


class _Latest(msgspec.Struct):
    """The JSON in `latest:{p}`. Numbers stay the characters they are."""

    ticker: str
    price: msgspec.Raw
    ts: int
    source: str
    seq: int
    sma: msgspec.Raw = msgspec.Raw(b"null")
    alert: str | None = None


_decode_latest = msgspec.json.Decoder(_Latest).decode


def parse_latest(ticker: str, text: str) -> Enriched:
    """Read a value of `latest:{p}`; raise `InvalidEntry` for anything that `commit` did not write."""
    try:
        found = _decode_latest(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise InvalidEntry(str(error)) from None
    if found.ticker != ticker:
        raise InvalidEntry(f"ticker {found.ticker[:40]!r} stands under another name")
    sma = bytes(found.sma).decode()
    return parse_enriched(
        {
            "seq": str(found.seq),
            "ticker": ticker,
            "price": bytes(found.price).decode(),
            "ts": str(found.ts),
            "source": found.source,
            "tick_id": "0-0",  # not kept with the latest value, and not shown to clients
            "sma": "" if sma == "null" else sma,
            "alert": found.alert or "",
        }
    )
