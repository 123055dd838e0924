"""Entries of a stream as lines of PostgreSQL's text COPY. Pure.

The stream's own strings go through as they are: numbers are parsed by PostgreSQL, not here, and the entry's pattern
admits no tab, newline or backslash, so that nothing needs escaping.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

import msgspec

from shared.commits import Entries
from shared.errors import InvalidEntry
from shared.events import enriched_values, tick_values
from shared.incarnations import Head, label
from shared.sequence import SequenceCheck

KINDS = ("rewind", "gap", "reset", "overrun", "rejected", "period")
"""Of the contract; a stranger may have written another one into `events:{p}`."""
LONGEST = 18
"""Digits of a seq that any bigint can hold."""
NULL = "\\N"
LATEST_MS = "9" * 14
"""For the id of a stranger's making that lies beyond any calendar; Redis numbers on from it for ever."""


class Position(NamedTuple):
    """How far a stream is stored: the last entry's incarnation, id and seq, and the entries passed so far.

    An empty incarnation: nothing was stored yet.
    """

    incarnation: str
    entry_id: str
    seq: int
    passed: int


NOWHERE = Position("", "0-0", 0, 0)


class StreamEvent(NamedTuple):
    """A row of `stream_events`; `at_ms` None: now."""

    stream: str
    kind: str
    incarnation: str
    first_seq: int | None
    last_seq: int | None
    detail: dict[str, object]
    at_ms: int | None = None


@dataclass
class Lines:
    """What a batch becomes: lines to store, events to note, and the position after it."""

    position: Position
    lines: list[str] = field(default_factory=list)
    """Rows as COPY takes them: incarnation, partition, seq, entry id, what follows, and the time of receipt, between tabs."""
    events: list[StreamEvent] = field(default_factory=list)
    hole: tuple[int, int] | None = None
    """Seqs (first, last) before the first row of a stream whose seqs are not dense: deleted unread, or never there."""


Encode = Callable[[str, Sequence[str]], tuple[int, str]]
"""Entry id and entry to (seq, the columns after seq); raises `InvalidEntry`."""


def encode(stream: str, partition: int, entries: Entries, before: Position, head: Head) -> Lines:
    """Encode a non-empty batch that was read after `before` while `head` was the partition's."""
    if stream == "events":
        return _copied(entries, before, head)
    encode_entry, is_dense = ENCODERS[stream]
    sequence = SequenceCheck(before.seq)
    newest, missing_entries = head.last_seq[stream], 0
    latest_end = head.lineage[-1].end_on(stream).seq if head.lineage else 0
    lines: list[str] = []
    events: list[StreamEvent] = []
    hole: tuple[int, int] | None = None
    incarnation = before.incarnation
    for entry_id, entry in entries:
        try:
            seq, columns = encode_entry(entry_id, entry)
            missing = sequence.advance(seq, newest)
        except InvalidEntry as invalid:
            events.append(_rejected(stream, head.incarnation, entry_id, str(invalid), entry))
            sequence.refuse(entry, newest)
            continue
        incarnation = head.incarnation if seq > latest_end else label(stream, seq, head)
        if missing and is_dense:
            for first, last in sequence.holes(seq, missing):
                missing_entries += last - first + 1
                events.append(StreamEvent(stream, "gap", incarnation, first, last, {"before": entry_id}))
        elif missing and not lines:
            hole = seq - missing, seq - 1
        lines.append(f"{incarnation}\t{partition}\t{seq}\t{columns}\t{received(entry_id)}\n")
    passed = before.passed + len(entries) + missing_entries
    position = Position(incarnation or head.incarnation, entries[-1][0], sequence.last, passed)
    return Lines(position, lines, events, hole)


def _rejected(stream: str, incarnation: str, entry_id: str, reason: str, entry: Sequence[str]) -> StreamEvent:
    payload = msgspec.json.encode(_mapping(entry)).decode()[:4096]
    return StreamEvent(stream, "rejected", incarnation, None, None, {"entry_id": entry_id, "reason": reason, "payload": payload})


def rejected_line(stream: str, line: str, reason: str) -> StreamEvent:
    """The event for a row that PostgreSQL refused."""
    incarnation, _, seq, entry_id, _ = line.split("\t", 4)
    detail: dict[str, object] = {"entry_id": entry_id, "reason": reason, "payload": line}
    return StreamEvent(stream, "rejected", incarnation, int(seq), int(seq), detail)


def _copied(entries: Entries, before: Position, head: Head) -> Lines:
    """What only a function saw, noted in `events:{p}`, becomes rows of `stream_events`."""
    events = [_copy(entry_id, entry, head) for entry_id, entry in entries]
    position = Position(head.incarnation, entries[-1][0], head.last_seq["events"], before.passed + len(entries))
    return Lines(position, [], events)


def _copy(entry_id: str, entry: Sequence[str], head: Head) -> StreamEvent:
    fields = _mapping(entry)
    try:
        _check_fields(fields)
        first, last = (int(fields[name]) if fields[name] else None for name in ("first_seq", "last_seq"))
        detail = msgspec.json.decode(fields["detail"] or "{}", type=dict[str, object])
        return StreamEvent(fields["stream"], fields["kind"], fields["incarnation"], first, last, detail, int(fields["ts"]))
    except (KeyError, ValueError, msgspec.DecodeError) as error:
        return _rejected("events", head.incarnation, entry_id, f"no stream event: {error!r}", entry)


def _check_fields(fields: dict[str, str]) -> None:
    """Raise `ValueError` for what PostgreSQL would refuse: the stream would wait behind a stranger's entry for ever."""
    if fields["kind"] not in KINDS:
        raise ValueError(f"kind {fields['kind'][:80]!r} is none of {', '.join(KINDS)}")
    if any("\x00" in text or "\\u0000" in text for text in fields.values()):
        raise ValueError("PostgreSQL has no text with the character 0")
    if any(len(fields[name]) > LONGEST for name in ("first_seq", "last_seq")) or len(fields["ts"]) > len(LATEST_MS):
        raise ValueError("a number is too big")


def _mapping(entry: Sequence[str]) -> dict[str, str]:
    return dict(zip(entry[::2], entry[1::2], strict=True))


def _tick(entry_id: str, entry: Sequence[str]) -> tuple[int, str]:
    seq, ticker, price, ts, source, volume, quote_ts, _ = tick_values(entry)
    quoted_at = timestamp(quote_ts) if quote_ts else NULL
    return int(seq), f"{entry_id}\t{ticker}\t{price}\t{timestamp(ts)}\t{source}\t{volume or NULL}\t{quoted_at}"


def _enriched(entry_id: str, entry: Sequence[str]) -> tuple[int, str]:
    seq, ticker, price, ts, source, tick_id, sma, alert = enriched_values(entry)
    return int(seq), f"{entry_id}\t{tick_id}\t{ticker}\t{price}\t{sma or NULL}\t{alert or NULL}\t{timestamp(ts)}\t{source}"


ENCODERS: dict[str, tuple[Encode, bool]] = {"ticks": (_tick, True), "enriched": (_enriched, False)}
"""Stream to its encoder, and whether its seqs are dense, so that a hole is a loss (a dead letter leaves no enriched event)."""


def received(entry_id: str) -> str:
    """When Redis took the entry in: a function of its id alone, so that a batch stored again has the same rows."""
    ms = entry_id.partition("-")[0]
    return timestamp(ms if len(ms) <= len(LATEST_MS) else LATEST_MS)


@lru_cache(maxsize=8192)
def timestamp(ms: str) -> str:
    """Epoch milliseconds as PostgreSQL reads a timestamptz, whatever the server's time zone."""
    return f"{_second(ms[:-3] or '0')}.{ms[-3:]:0>3}+00"


@lru_cache(maxsize=8192)
def _second(seconds: str) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S")
