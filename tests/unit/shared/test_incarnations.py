"""Every reader gives one entry one name for ever, and is told exactly when something it read was lost."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.incarnations import End, Ended, Head, Resolution, label, parse_lineage, resolve

CONTINUE, REWIND, RESET = Resolution.CONTINUE, Resolution.REWIND, Resolution.RESET


def ended(name: str, ticks: int, enriched: int = 0, events: int = 0) -> Ended:
    return Ended(name, *(End(seq, f"{seq}-0", seq) for seq in (ticks, enriched, events)))


HEAD = Head("D", (ended("A", 10, 8, 1), ended("B", 10, 9, 1), ended("C", 25, 25, 3)), {"ticks": 30, "enriched": 30, "events": 3})


@pytest.mark.parametrize(
    ("stream", "seq", "name"),
    [
        ("ticks", 1, "A"), ("ticks", 10, "A"), ("ticks", 11, "C"), ("ticks", 25, "C"), ("ticks", 26, "D"), ("ticks", 30, "D"),
        ("enriched", 8, "A"), ("enriched", 9, "B"), ("enriched", 10, "C"), ("events", 2, "C"), ("events", 4, "D"),
    ],
)  # fmt: skip
def test_an_entry_belongs_to_the_first_incarnation_whose_end_on_its_stream_is_not_below_it(stream: str, seq: int, name: str) -> None:
    assert label(stream, seq, HEAD) == name


@pytest.mark.parametrize(
    ("stream", "incarnation", "seq", "resolution"),
    [
        ("ticks", "D", 30, CONTINUE), ("ticks", "D", 99, CONTINUE), ("ticks", "C", 25, CONTINUE), ("ticks", "C", 26, REWIND),
        ("ticks", "A", 0, CONTINUE), ("ticks", "A", 11, REWIND), ("enriched", "A", 9, REWIND), ("events", "A", 1, CONTINUE),
        ("ticks", "Z", 1, RESET), ("ticks", "", 0, RESET),
    ],
)  # fmt: skip
def test_a_position_is_judged_by_the_end_of_its_own_incarnation_on_its_own_stream(
    stream: str, incarnation: str, seq: int, resolution: Resolution
) -> None:
    assert resolve(stream, incarnation, seq, HEAD) is resolution


def test_the_lineage_is_read_as_the_functions_write_it() -> None:
    text = (
        '[{"incarnation":"1795346662034123-3fa9c1d2","ticks":{"seq":12,"id":"1795346662034-0","added":13},'
        '"enriched":{"added":11,"id":"1795346662035-7","seq":12},"events":{"seq":0,"id":"0-0","added":0}}]'
    )
    (found,) = parse_lineage(text)
    assert found.incarnation == "1795346662034123-3fa9c1d2"
    assert found.end_on("ticks") == End(12, "1795346662034-0", 13)
    assert found.end_on("enriched") == End(12, "1795346662035-7", 11)
    assert parse_lineage("[]") == ()


@dataclass(frozen=True)
class Saved:
    """What Redis holds of one stream of a partition, and what a backup of it would."""

    incarnation: str
    lineage: tuple[Ended, ...] = ()
    seq: int = 0
    entries: tuple[tuple[int, int], ...] = ()
    """(seq, identity) of each entry; an identity is never given twice."""

    @property
    def head(self) -> Head:
        return Head(self.incarnation, self.lineage, {"ticks": self.seq})


@dataclass
class Partition:
    """A partition that is written, backed up, and restored to any earlier moment, as `current_head` in functions.lua does."""

    now: Saved = Saved("life-0")
    backups: list[Saved] = field(default_factory=list)
    lives: int = 0
    written: int = 0

    def append(self, skipped: int) -> None:
        self.backups.append(self.now)
        seq = self.now.seq + 1 + skipped
        self.written += 1
        self.now = replace(self.now, seq=seq, entries=(*self.now.entries, (seq, self.written)))

    def restore(self, steps: int) -> None:
        """Go back by so many writes (0: a restart that loses nothing), then begin a new incarnation."""
        self.backups.append(self.now)
        found = self.backups[-1 - min(steps, len(self.backups) - 1)]
        self.lives += 1
        self.now = replace(found, incarnation=f"life-{self.lives}", lineage=(*found.lineage, ended(found.incarnation, found.seq)))


STEPS = st.lists(st.one_of(st.tuples(st.just("append"), st.integers(0, 2)), st.tuples(st.just("restore"), st.integers(0, 6))), max_size=50)


@given(STEPS)
def test_an_entry_keeps_its_name_for_ever_and_no_other_ever_gets_it(steps: list[tuple[str, int]]) -> None:
    partition = Partition()
    names: dict[int, tuple[str, int]] = {}
    for step, number in steps:
        getattr(partition, step)(number)
        for seq, identity in partition.now.entries:
            name = (label("ticks", seq, partition.now.head), seq)
            assert names.setdefault(identity, name) == name
    assert len(set(names.values())) == len(names)


@given(STEPS)
def test_a_reader_goes_on_exactly_if_the_last_entry_it_read_is_still_there(steps: list[tuple[str, int]]) -> None:
    partition = Partition()
    positions: dict[int, tuple[str, int]] = {}
    for step, number in steps:
        getattr(partition, step)(number)
        now = partition.now
        for seq, identity in now.entries:
            positions[identity] = (label("ticks", seq, now.head), seq)
        kept = {identity for _, identity in now.entries}
        for identity, (incarnation, seq) in positions.items():
            assert (resolve("ticks", incarnation, seq, now.head) is CONTINUE) is (identity in kept)
