"""For any history of a partition, whatever was trimmed or lost of it, a cursor gets exactly the alerts after it, or a no."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.alert_index import STREAM, AlertIndex
from services.gateway.alert_scan import AlertScan, floor_of
from services.gateway.protocol import ALL, Position, encode_alert
from services.gateway.resuming import Known, Outcome, judge
from shared.commits import Entries
from shared.events import Enriched
from shared.incarnations import End, Ended, Head, Resolution, label, resolve
from shared.retained import Retained

TICKERS = ("AAPL", "KO", "V")
FIRST_LIFE = 1795346662034123


def life(number: int) -> str:
    return f"{FIRST_LIFE + number}-0c4e9b77"


class Happening(NamedTuple):
    what: str
    times: int = 1
    ticker: str = "AAPL"
    is_alert: bool = False


happenings = st.one_of(
    st.builds(Happening, st.just("event"), st.integers(1, 3), st.sampled_from(TICKERS), st.booleans()),
    st.builds(Happening, st.sampled_from(("dead letter", "gap", "trim", "restart", "set back")), st.integers(1, 4)),
)

growth = happenings.filter(lambda happening: happening.what in ("event", "trim"))


@dataclass
class Partition:
    """Redis' side of it."""

    lives: int = 1
    life: str = life(1)
    seq: int = 0
    gap_seq: int = 0
    trimmed: int = 0
    lineage: tuple[Ended, ...] = ()
    events: list[Enriched] = field(default_factory=list)
    """All that is true now, trimmed ones included."""
    backups: list["Partition"] = field(default_factory=list)
    """What it was before each thing that happened."""

    @property
    def head(self) -> Head:
        return Head(self.life, self.lineage, {STREAM: self.newest})

    @property
    def newest(self) -> int:
        return int(self.events[-1].seq) if self.events else 0

    @property
    def position(self) -> Position:
        return Position(label(STREAM, self.newest, self.head), self.newest)

    @property
    def retained(self) -> list[Enriched]:
        return self.events[self.trimmed :]

    @property
    def entries(self) -> Entries:
        return [(f"5-{event.seq}", [text for pair in event._asdict().items() for text in pair]) for event in self.retained]

    @property
    def kept(self) -> Retained:
        ids = [entry_id for entry_id, _ in self.entries]
        first_seq = int(self.retained[0].seq) if self.retained else 0
        return Retained(ids[0] if ids else "", ids[-1] if ids else "", "9-0", len(ids), len(self.events), first_seq)

    def happen(self, what: Happening) -> None:
        self.backups.append(replace(self, events=list(self.events), backups=[]))
        match what:
            case Happening("event", count, ticker, is_alert):
                for _ in range(count):
                    self._trade(ticker, "bullish" if is_alert else "")
            case Happening("dead letter", count):
                self.seq += count
            case Happening("gap", count):
                self.seq += count
                self.gap_seq = self.seq
                self._trade("AAPL", "")
            case Happening("trim", count):
                self.trimmed = min(len(self.events), self.trimmed + count)
            case Happening("restart"):
                self._begin()
            case Happening("set back", count):
                old = self.backups[-count:][0]
                self.life, self.lineage, self.events = old.life, old.lineage, list(old.events)
                self.seq, self.gap_seq, self.trimmed = old.seq, old.gap_seq, old.trimmed
                self._begin()

    def _trade(self, ticker: str, alert: str) -> None:
        self.seq += 1
        self.events.append(Enriched(str(self.seq), ticker, "1", "1", "x", "1-0", "1", alert))

    def _begin(self) -> None:
        end = End(self.newest, f"5-{self.newest}", len(self.events))
        self.lineage = (*self.lineage, Ended(self.life, end, end, end))
        self.lives += 1
        self.life = life(self.lives)


def begin_scan(partition: Partition) -> AlertScan:
    return AlertScan(0, partition.head, partition.newest, f"5-{partition.newest}" if partition.events else "0-0")


def read_on(scan: AlertScan, partition: Partition, batch: int) -> None:
    scan.take([entry for entry in partition.entries if int(entry[0][2:]) > int(scan.after.partition("-")[2])][:batch])


def scanned(partition: Partition, batch: int) -> AlertIndex:
    scan = begin_scan(partition)
    while not scan.is_whole:
        read_on(scan, partition, batch)
    return scan.finish(partition.kept, partition.gap_seq)


class Gateway:
    """One that follows the partition all the time."""

    def __init__(self, partition: Partition) -> None:
        self.load(partition)

    def load(self, partition: Partition) -> None:
        self.index = scanned(partition, 2)
        self.position, self.gap_seq = partition.position, partition.gap_seq

    def follow(self, partition: Partition) -> None:
        is_lost = resolve(STREAM, *self.position, partition.head) is not Resolution.CONTINUE
        if is_lost or partition.gap_seq != self.gap_seq:
            self.load(partition)
            return
        for event in partition.events:
            if int(event.seq) > self.position.seq and event.alert:
                named = label(STREAM, int(event.seq), partition.head)
                self.index.add(int(event.seq), event.ticker, encode_alert(event, named, 0))
        self.position = partition.position
        self.index.forget_up_to(min(self.position.seq, floor_of(partition.kept, self.position.seq) or 0))


def after(partition: Partition, seq: int, *tickers: str) -> list[str]:
    return [
        encode_alert(event, label(STREAM, int(event.seq), partition.head), 0)
        for event in partition.events
        if int(event.seq) > seq and event.alert and event.ticker in (tickers or TICKERS)
    ]


class Given(NamedTuple):
    """A cursor that was given out, and what its client had been sent of the history by then."""

    cursor: Position
    seen: tuple[Enriched, ...]


def may_be_answered(given: Given, partition: Partition) -> bool:
    """Whether it stands on what is true now, and nothing after it is gone."""
    on_history = given.cursor == partition.position or tuple(partition.events[: len(given.seen)]) == given.seen
    gone = partition.events[: partition.trimmed]
    return on_history and partition.gap_seq <= given.cursor.seq and not (gone and int(gone[-1].seq) > given.cursor.seq)


def lives_through(history: list[Happening]) -> Iterator[tuple[Partition, Gateway, list[Given]]]:
    partition = Partition()
    gateway, cursors = Gateway(partition), []
    for happening in history:
        partition.happen(happening)
        gateway.follow(partition)
        cursors.append(Given(partition.position, tuple(partition.events)))
        yield partition, gateway, cursors


@given(st.lists(happenings, min_size=1, max_size=15), st.integers(1, 4))
def test_cursor_that_was_given_once_gets_exactly_what_came_after_it_or_a_no(history: list[Happening], batch: int) -> None:
    for partition, gateway, cursors in lives_through(history):
        for index in (gateway.index, scanned(partition, batch)):
            known = Known(partition.head, partition.position, index.floor)
            assert judge([partition.position], [known]) is Outcome.RECOVERED
            for given_out in cursors:
                outcome = judge([given_out.cursor], [known])
                if outcome is Outcome.RECOVERED:
                    assert may_be_answered(given_out, partition)
                    assert index.since(given_out.cursor.seq, ALL) == after(partition, given_out.cursor.seq)
                    some = index.since(given_out.cursor.seq, frozenset(("KO", "V", "X")))
                    assert some == after(partition, given_out.cursor.seq, "KO", "V")
                else:
                    assert outcome in (Outcome.LOST, Outcome.TRIMMED)


@given(st.lists(happenings.filter(lambda happening: happening.what in ("event", "dead letter", "restart", "trim")), max_size=15))
def test_no_cursor_is_refused_whose_alerts_are_all_there(history: list[Happening]) -> None:
    for partition, gateway, cursors in lives_through(history):
        for index in (gateway.index, scanned(partition, 3)):
            for given_out in cursors:
                if given_out.cursor.seq and may_be_answered(given_out, partition) and given_out.cursor.seq >= first_seq(partition) - 1:
                    assert judge([given_out.cursor], [Known(partition.head, partition.position, index.floor)]) is Outcome.RECOVERED


def first_seq(partition: Partition) -> int:
    return int(partition.retained[0].seq) if partition.retained else partition.newest


@given(st.lists(happenings, max_size=20), st.lists(growth), st.integers(1, 3))
def test_scan_that_is_overtaken_by_trimming_knows_all_above_its_floor_and_nothing_that_came_later(
    history: list[Happening], meanwhile: list[Happening], batch: int
) -> None:
    partition = Partition()
    for happening in history:
        partition.happen(happening)
    newest, scan = partition.newest, begin_scan(partition)
    before = after(partition, 0)
    for happening in meanwhile:
        read_on(scan, partition, batch)
        partition.happen(happening)
    while not scan.is_whole:
        read_on(scan, partition, batch)
    index = scan.finish(partition.kept, partition.gap_seq)
    assert max(partition.gap_seq, min(first_seq(partition) - 1, newest)) <= index.floor <= newest
    known = after(partition, index.floor)
    assert index.since(index.floor, ALL) == known[: len(set(known) & set(before))]


@given(st.lists(happenings, max_size=12), st.lists(happenings.filter(lambda happening: happening.what != "set back"), max_size=6))
def test_cursor_of_a_gateway_that_is_ahead_is_from_the_future(before: list[Happening], then: list[Happening]) -> None:
    partition = Partition()
    for happening in before:
        partition.happen(happening)
    known = Known(partition.head, partition.position, scanned(partition, 3).floor)
    for happening in then:
        partition.happen(happening)
    assert judge([partition.position], [known]) is (Outcome.RECOVERED if partition.position == known.position else Outcome.FUTURE)


@pytest.mark.parametrize(
    ("cursor", "outcome"),
    [
        (None, Outcome.UNREADABLE),
        ([], Outcome.UNREADABLE),
        ([Position(life(5), 8)], Outcome.UNREADABLE),
        ([Position(life(5), 8), Position(life(5), 8)], Outcome.RECOVERED),
        ([Position(life(5), 10), Position(life(5), 10)], Outcome.RECOVERED),
        ([Position(life(5), 4), Position(life(5), 8)], Outcome.RECOVERED),
        ([Position(life(5), 3), Position(life(5), 8)], Outcome.TRIMMED),
        ([Position(life(5), 11), Position(life(5), 8)], Outcome.FUTURE),
        ([Position(life(6), 1), Position(life(5), 8)], Outcome.FUTURE),
        ([Position(life(4), 8), Position(life(5), 8)], Outcome.LOST),
        ([Position(life(5), 11), Position(life(5), 3)], Outcome.TRIMMED),
        ([Position(life(5), 11), Position(life(4), 8)], Outcome.LOST),
        ([Position(life(5), 3), Position(life(4), 8)], Outcome.LOST),
    ],
)
def test_what_can_never_be_answered_is_said_at_once_and_what_may_come_is_waited_for(
    cursor: list[Position] | None, outcome: Outcome
) -> None:
    known = Known(Head(life(5), (), {}), Position(life(5), 10), 4)
    assert judge(cursor, [known, known]) is outcome


def test_index_keeps_nothing_of_what_it_forgets() -> None:
    index = AlertIndex()
    for seq, ticker in enumerate(TICKERS, start=1):
        index.add(seq, ticker, f"alert {seq}")
    index.forget_up_to(2)
    assert (len(index), index.floor, index.since(2, ALL), list(index._of)) == (1, 2, ["alert 3"], [TICKERS[2]])
    index.forget_up_to(1)
    assert (len(index), index.floor) == (1, 2)


def test_entries_that_are_no_alerts_are_passed_over_by_a_scan() -> None:
    entry = ["seq", "3", "ticker", "V", "price", "1", "ts", "1", "source", "x", "tick_id", "1-0", "sma", "1", "alert", "bullish"]
    scan = AlertScan(0, Head(life(1), (), {}), 3, "5-9")
    again, never_assigned, malformed = [*entry], [*entry], [*entry]
    never_assigned[1], malformed[3] = "4", "no ticker"
    scan.take([("5-1", ["hello", "world"]), ("5-2", malformed), ("5-3", never_assigned), ("5-4", entry), ("5-5", again), ("5-9", [])])
    index = scan.finish(Retained("5-1", "5-9", "5-9", 6, 6, 0), 0)
    assert (scan.is_whole, scan.entries) == (True, 6)
    assert index.floor == 3, "where the stream begins is not known, so nobody below is answered"


@pytest.mark.parametrize(("first_seq", "length", "floor"), [(1, 5, 0), (4, 5, 3), (9, 1, 8), (10, 1, None), (0, 5, None), (0, 0, 9)])
def test_floor_is_what_the_stream_does_not_hold_any_more(first_seq: int, length: int, floor: int | None) -> None:
    assert floor_of(Retained("5-1", "5-9", "5-9", length, 9, first_seq), 9) == floor
