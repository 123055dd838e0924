"""The oracle: looks at a partition after every write, remembers all it ever saw, and judges what remains at the end.

It computes what must be with `shared.testing.oracle`, and shares no code with the services but the names of keys.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import asyncpg

from shared import streams
from shared.testing.oracle import average_and_side

Name = tuple[str, int]
"""An entry's name within a partition and a stream: incarnation and seq."""


class Objection(Exception):
    """Something that was promised does not hold."""


class Seen(NamedTuple):
    """An entry as it was seen in Redis."""

    name: Name
    entry_id: str
    fields: dict[str, str]


@dataclass
class Timeline:
    """What Redis holds of a partition or trimmed: one unbroken history, from the first entry on."""

    ticks: list[Seen] = field(default_factory=list)
    enriched: list[Seen] = field(default_factory=list)
    windows: dict[str, list[str]] = field(default_factory=dict)
    sides: dict[str, int] = field(default_factory=dict)
    latest: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    """Source to the number of its last tick."""

    def copy(self) -> "Timeline":
        """As it is now."""
        windows = {ticker: list(prices) for ticker, prices in self.windows.items()}
        return Timeline(list(self.ticks), list(self.enriched), windows, dict(self.sides), dict(self.latest), dict(self.numbers))

    def entries(self, stream: str) -> list[Seen]:
        """The history of a stream."""
        return self.ticks if stream == "ticks" else self.enriched

    def last_id(self, stream: str) -> str:
        """The id of the newest entry."""
        entries = self.entries(stream)
        return entries[-1].entry_id if entries else "0-0"


class Witness:
    """Sees everything in one partition as it happens. Every method raises `Objection` at the first thing that is not as promised."""

    def __init__(self, redis: Any, partition: int, period: int) -> None:
        self._redis = redis
        self._partition = partition
        self._period = period
        self.now = Timeline()
        self.ever: dict[str, dict[Name, Seen]] = {"ticks": {}, "enriched": {}}
        self.incarnations: list[str] = []
        """In the order in which they began."""
        self._numbers_ever: set[tuple[str, str]] = set()

    def look(self) -> None:
        """See what is new, and hold lists, sides, latest values and the cursor against the history."""
        p, now = self._partition, self.now
        with self._redis.pipeline(transaction=False) as asked:
            asked.hmget(streams.log(p), ["incarnation", "seq", "enriched_seq", "cursor", "cursor_seq", "passed"])
            for stream in ("ticks", "enriched"):
                asked.xrange(streams.stream(stream, p), f"({now.last_id(stream)}")
            asked.hgetall(streams.sides(p))
            asked.hgetall(streams.latest(p))
            for ticker in now.windows:
                asked.lrange(streams.prices(p, ticker), 0, -1)
            (incarnation, *head), ticks, enriched, sides, latest, *lists = asked.execute()
        if incarnation is None:
            return
        if incarnation not in self.incarnations:
            self.incarnations.append(incarnation)
        self._see_ticks(incarnation, ticks)
        windows = dict(zip(now.windows, lists, strict=True))
        for entry_id, fields in enriched:
            self._see_enriched(incarnation, entry_id, fields)
        for ticker in now.windows.keys() - windows.keys():
            windows[ticker] = self._redis.lrange(streams.prices(p, ticker), 0, -1)
        self._check_state(head, windows, sides, latest)

    def _see_ticks(self, incarnation: str, entries: Iterable[tuple[str, dict[str, str]]]) -> None:
        for entry_id, fields in entries:
            seq = len(self.now.ticks) + 1
            agree("seq of a tick", fields["seq"], str(seq))
            seen = Seen((incarnation, seq), entry_id, fields)
            self._name("ticks", seen)
            self._number(fields["source"], fields["volume"])
            self.now.ticks.append(seen)

    def _number(self, source: str, number: str) -> None:
        last = self.now.numbers.get(source, 0)
        if int(number) <= last:
            raise Objection(f"tick {number} of {source} comes after its tick {last}: twice, or out of order")
        self.now.numbers[source] = int(number)
        self._numbers_ever.add((source, number))

    def _see_enriched(self, incarnation: str, entry_id: str, fields: dict[str, str]) -> None:
        now, place = self.now, len(self.now.enriched)
        if place >= len(now.ticks):
            raise Objection(f"an enriched event of no tick: {fields}")
        tick = now.ticks[place]
        ticker, price = tick.fields["ticker"], tick.fields["price"]
        window = now.windows.setdefault(ticker, [])
        window.append(price)
        del window[: -self._period]
        sma, side = average_and_side(window, self._period)
        before = now.sides.get(ticker, 0)
        alert = {1: "bullish", -1: "bearish"}[side] if side and before and side != before else ""
        if side:
            now.sides[ticker] = side
        kept = {name: tick.fields[name] for name in ("seq", "ticker", "price", "ts", "source")}
        agree(f"enriched event {place + 1}", fields, {**kept, "tick_id": tick.entry_id, "sma": sma, "alert": alert})
        quoted_alert = f'"{alert}"' if alert else "null"
        now.latest[ticker] = (
            f'{{"ticker":"{ticker}","price":{price},"sma":{sma or "null"},"alert":{quoted_alert},'
            f'"ts":{tick.fields["ts"]},"source":"{tick.fields["source"]}","seq":{place + 1}}}'
        )
        seen = Seen((incarnation, place + 1), entry_id, fields)
        self._name("enriched", seen)
        now.enriched.append(seen)

    def _name(self, stream: str, seen: Seen) -> None:
        if self.ever[stream].setdefault(seen.name, seen) != seen:
            raise Objection(f"two entries of {stream} have one name: {self.ever[stream][seen.name]} and {seen}")

    def _check_state(self, head: list[str], windows: dict[str, list[str]], sides: dict[str, str], latest: dict[str, str]) -> None:
        now = self.now
        done = len(now.enriched)
        cursor = now.ticks[done - 1].entry_id if done else "0-0"
        agree("head", head, [str(len(now.ticks)), str(done), cursor, str(done), str(done)])
        agree("price lists", windows, now.windows)
        agree("sides", sides, {ticker: str(side) for ticker, side in now.sides.items()})
        agree("latest values", latest, now.latest)

    def was_stored(self, source: str, number: str) -> bool:
        """Whether a tick (its volume is its number) was ever in the stream."""
        return (source, number) in self._numbers_ever

    def needed(self) -> dict[str, str]:
        """Stream to the highest id that trimming may remove: where the slowest required group stands."""
        found = {}
        for stream, required in (("ticks", ("analyzer", "persister")), ("enriched", ("persister",))):
            key = streams.stream(stream, self._partition)
            groups = (
                {group["name"]: group["last-delivered-id"] for group in self._redis.xinfo_groups(key)} if self._redis.exists(key) else {}
            )
            found[stream] = min((groups.get(name, "0-0") for name in required), key=order)
        return found

    def check_trimmed(self, needed: dict[str, str]) -> None:
        """Nothing is gone that a required group, as it stood before, had not passed."""
        for stream, bound in needed.items():
            kept = self._redis.xrange(streams.stream(stream, self._partition), count=1)
            gone = [seen for seen in self.now.entries(stream) if not kept or order(seen.entry_id) < order(kept[0][0])]
            if gone and order(gone[-1].entry_id) > order(bound):
                raise Objection(f"{stream} was trimmed up to {gone[-1].entry_id}, a required group stands at {bound}")


def order(entry_id: str) -> tuple[int, int]:
    """An entry id as numbers."""
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number)


def agree(what: str, found: object, wanted: object) -> None:
    """Object unless both are equal; of two sequences the first difference is shown."""
    if found == wanted:
        return
    if isinstance(found, list) and isinstance(wanted, list):
        for place, pair in enumerate(zip(found, wanted, strict=False)):
            if pair[0] != pair[1]:
                raise Objection(f"{what}: number {place} is {pair[0]}, not {pair[1]}")
    raise Objection(f"{what}: {found}\n  not {wanted}")


ROWS = {
    "ticks": """
        SELECT incarnation, seq, entry_id, ticker, price::text, (extract(epoch FROM ts) * 1000)::bigint::text AS ts, source,
               coalesce(volume::text, '') AS volume
        FROM ticks WHERE partition = $1""",
    "enriched": """
        SELECT incarnation, seq, entry_id, tick_id, ticker, price::text, (extract(epoch FROM ts) * 1000)::bigint::text AS ts, source,
               coalesce(sma::text, '') AS sma, coalesce(alert, '') AS alert
        FROM enriched WHERE partition = $1""",
}
EVENTS = "SELECT kind, stream, incarnation, first_seq, last_seq, detail FROM stream_events WHERE partition = $1"


class Note(NamedTuple):
    """A row of `stream_events`."""

    kind: str
    stream: str
    incarnation: str
    first: int
    last: int


class Archive:
    """What PostgreSQL holds of a partition."""

    def __init__(self, rows: dict[str, set[Name]], notes: list[Note]) -> None:
        self.rows = rows
        self.notes = notes

    @classmethod
    async def read(cls, connection: "asyncpg.Connection", partition: int, witness: Witness) -> "Archive":
        """Read all rows; each must be an entry that Redis had, under its name."""
        rows: dict[str, set[Name]] = {}
        for stream, query in ROWS.items():
            found = await connection.fetch(query, partition)
            for row in found:
                check_row(stream, dict(row), witness.ever[stream])
            rows[stream] = {(row["incarnation"], row["seq"]) for row in found}
            agree(f"rows of {stream} with one name", len(found), len(rows[stream]))
        notes = []
        for kind, stream, incarnation, first, last, detail in await connection.fetch(EVENTS, partition):
            if kind not in ("rewind", "reset", "gap"):
                raise Objection(f"nobody did anything that makes a {kind} of {stream}: {detail}")
            notes.append(Note(kind, stream, incarnation, first or 1, last))
        return cls(rows, notes)

    def check_end(self, witness: Witness, *, was_restored: bool) -> None:
        """Every entry that Redis did not lose has its row, or its hole is told; every row that it did lose is told, and nothing else is."""
        for stream, stored in self.rows.items():
            notes = [note for note in self.notes if note.stream == stream]
            history = {seen.name for seen in witness.now.entries(stream)}
            gaps = {seq for note in notes if note.kind == "gap" for seq in range(note.first, note.last + 1)}
            missing = sorted({seq for _, seq in history - stored} - gaps)
            if missing:
                raise Objection(f"rows of {stream} are missing, and nothing was told: {missing}; told were {notes}")
            if gaps and not was_restored:
                raise Objection(f"told of gaps that there were not: {notes}")
            self._check_losses(stream, stored - history, [note for note in notes if note.kind != "gap"], witness)

    def _check_losses(self, stream: str, lost: set[Name], notes: list[Note], witness: Witness) -> None:
        began = witness.incarnations.index
        for incarnation, seq in lost:
            told = (n for n in notes if n.first <= seq <= n.last and began(n.incarnation) >= began(incarnation))
            if not any(told):
                raise Objection(f"Redis lost entry {seq} of {incarnation} on {stream}, its row stands, and nothing was told: {notes}")
        history = {seen.name for seen in witness.now.entries(stream)}
        for note in notes:
            if (note.incarnation, note.last) in history:
                raise Objection(f"told of a loss that there was not: {note}")


def check_row(stream: str, row: dict[str, Any], ever: dict[Name, Seen]) -> None:
    """The row is an entry that Redis had under this name, value for value."""
    name = row["incarnation"], row["seq"]
    if name not in ever:
        raise Objection(f"a row of {stream} under a name that no entry had: {row}")
    seen = ever[name]
    wanted = {"entry_id": seen.entry_id, **seen.fields}
    agree(
        f"row {name} of {stream}",
        {key: str(value) for key, value in row.items() if key != "incarnation"},
        {key: wanted[key] for key in row if key != "incarnation"},
    )


class Audience:
    """In place of the gateway's hub: what the clients of a gateway were shown since they were last told of a loss."""

    def __init__(self, witness: Witness, first_kept: Any) -> None:
        self._witness = witness
        self._first_kept = first_kept
        self._is_loaded = False
        self.shown: list[Name] = []
        self.reached = 0

    def go_on(self, _partition: int, _head: Any) -> None:
        """A new incarnation in which nothing was lost: clients are told nothing."""

    def forget_up_to(self, _partition: int, _seq: int) -> None:
        """What was trimmed is no news to who is connected."""

    def load(self, _partition: int, position: Any, _events: Any, _history: Any, lost: str | None = None) -> None:
        """A snapshot; every one but the first comes with the news of a loss."""
        if self._is_loaded and lost is None:
            raise Objection("clients got a new snapshot, and no loss was told")
        self._is_loaded = True
        self.shown, self.reached = [], position.seq

    def apply(self, _partition: int, position: Any, events: Any, label: Any) -> None:
        """Events behind those before, without a hole."""
        for event in events:
            name = label(event), int(event.seq)
            seen = self._witness.ever["enriched"].get(name)
            if seen is None or seen.fields != dict(event._asdict()):
                raise Objection(f"clients were shown {event} as {name}, Redis had {seen}")
            if int(event.seq) != self.reached + 1 and self._first_kept() <= self.reached + 1:
                raise Objection(f"clients were shown {event.seq} after {self.reached}, and no loss was told")
            self.shown.append(name)
            self.reached = int(event.seq)
        agree("position told to clients", position.seq, self.reached)

    def check_end(self) -> None:
        """What was shown since the last loss that was told still holds, and is all there is."""
        history = [seen.name for seen in self._witness.now.enriched]
        agree("clients have reached", self.reached, len(history))
        for name in self.shown:
            if history[name[1] - 1] != name:
                raise Objection(f"clients were shown {name}, which Redis lost, and no loss was told")
