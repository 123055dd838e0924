"""An entry of a stream as a line: columns for a person, JSON for a program. Pure."""

import json
from collections.abc import Callable, Sequence

from shared.errors import InvalidEntry
from shared.events import Enriched, Tick, iso, read_enriched, read_tick

READERS: dict[str, Callable[[Sequence[str]], Tick | Enriched]] = {"ticks": read_tick, "enriched": read_enriched}
MARKS = {"bullish": ("▲ bullish", "\x1b[32m"), "bearish": ("▼ bearish", "\x1b[31m")}
MARKED, DIM, PLAIN = "\x1b[33m", "\x1b[2m", "\x1b[0m"

HEADS = {
    "ticks": f"{'time (UTC)':<23} {'p':>2} {'seq':>7}  {'ticker':<6} {'price':>8}   {'volume':>8}  source",
    "enriched": f"{'time (UTC)':<23} {'p':>2} {'seq':>7}  {'ticker':<6} {'price':>8}   {'SMA':>9}     alert",
}


def head_line(stream: str, *, is_coloured: bool) -> str:
    """The heads of the columns of `text_line`."""
    return f"{DIM}{HEADS[stream]}{PLAIN}" if is_coloured else HEADS[stream]


def text_line(stream: str, partition: int, entry_id: str, entry: Sequence[str], *, is_coloured: bool) -> str:
    """Columns under `HEADS`; what is no event is shown raw, with the reason."""
    try:
        event = READERS[stream](entry)
    except (InvalidEntry, ValueError) as error:
        # As JSON, so that no byte of a stranger steers the terminal.
        text = f"{entry_id} {partition:>2} no event ({ascii(str(error))[1:-1]}): {json.dumps(entry)}"
        return f"{MARKED}{text}{PLAIN}" if is_coloured else text
    at = iso(event.ts).removesuffix("+00:00").replace("T", " ")
    start = f"{at} {partition:>2} {event.seq:>7}  {event.ticker:<6} {on_the_point(event.price, 5, 4)} "
    return (start + (_of_tick(event) if isinstance(event, Tick) else _of_enriched(event, is_coloured))).rstrip()


def _of_tick(tick: Tick) -> str:
    shed = f"  {tick.shed} shed before it" if tick.shed not in ("", "0") else ""
    return f"{tick.volume:>8}  {tick.source}{shed}"


def _of_enriched(event: Enriched, is_coloured: bool) -> str:
    text, colour = MARKS.get(event.alert, ("", ""))
    return (
        f"{on_the_point(event.sma, 5, 6)}  {colour}{text}{PLAIN}" if colour and is_coloured else f"{on_the_point(event.sma, 5, 6)}  {text}"
    )


def on_the_point(number: str, before: int, after: int) -> str:
    """The characters of a number with blanks around them, so that in a column point stands below point."""
    whole, point, fraction = number.partition(".")
    return f"{whole:>{before}}{point or ' '}{fraction:<{after}}"


def json_line(stream: str, partition: int, entry_id: str, entry: Sequence[str]) -> str:
    """One object: the fields with their text, `id` and `partition`; of what is no event `invalid` and the raw `entry`."""
    try:
        READERS[stream](entry)
    except (InvalidEntry, ValueError) as error:
        return json.dumps({"id": entry_id, "partition": partition, "invalid": str(error), "entry": list(entry)})
    place = {"id": entry_id, "partition": partition}
    # Named first and given last: an event may have further fields, and one of them may be called like ours.
    return json.dumps(place | dict(zip(entry[::2], entry[1::2], strict=True)) | place)


def ticker_of(entry: Sequence[str]) -> str:
    """The ticker that an entry names, be it an event or not; empty for none."""
    return dict(zip(entry[::2], entry[1::2], strict=False)).get("ticker", "")
