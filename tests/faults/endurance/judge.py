"""Compares what was found with what must be, and counts the differences by their kind. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from tests.faults.endurance.market import Event

EXAMPLES = 5


class Found(NamedTuple):
    """An entry or a row: the seq it has, and the event it tells of."""

    seq: int
    event: Event


@dataclass
class Verdict:
    """How many differences of each kind, with the first of them in words."""

    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    wrong: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether there is no difference."""
        return not (self.lost or self.duplicated or self.reordered or self.wrong)

    def add(self, other: "Verdict") -> None:
        """Count another's differences, too."""
        self.lost += other.lost
        self.duplicated += other.duplicated
        self.reordered += other.reordered
        self.wrong += other.wrong
        self.examples = [*self.examples, *other.examples][:EXAMPLES]

    def note_wrong(self, text: str) -> None:
        """Count a value that is not what it must be."""
        self.wrong += 1
        self.examples = [*self.examples, text][:EXAMPLES]


def compare(where: str, found: Sequence[Found], wanted: Sequence[Event], first_seq: int, *, is_judged: bool) -> Verdict:
    """Compare the entries found, in their order, with the events wanted from `first_seq` on; `is_judged`: average and alert, too."""
    verdict = Verdict()
    places = {event.ts: (first_seq + place, event) for place, event in enumerate(wanted)}
    times = Counter(each.event.ts for each in found)
    lost = [f"ts {event.ts} is lost" for event in wanted if event.ts not in times]
    again = [f"ts {ts} stands there {count} times" for ts, count in times.items() if count > 1]
    back = list(_steps_back([(places[each.event.ts][0], each) for each in found if each.event.ts in places]))
    verdict.lost, verdict.duplicated, verdict.reordered = len(lost), sum(count - 1 for count in times.values()), len(back)
    verdict.examples = [f"{where}: {text}" for text in (*lost[:1], *again[:1], *back[:1])]
    for each in found:
        fault = _fault_of(each, places.get(each.event.ts), is_judged=is_judged)
        if fault:
            verdict.note_wrong(f"{where}: {fault}")
    return verdict


def _steps_back(placed: Iterable[tuple[int, Found]]) -> Iterator[str]:
    """Where an entry stands behind one that came after it."""
    return (f"{other[1]} stands behind {one[1]}" for one, other in pairwise(placed) if other[0] < one[0])


def _fault_of(found: Found, wanted: tuple[int, Event] | None, *, is_judged: bool) -> str:
    if wanted is None:
        return f"{found} was never sent"
    seq, event = wanted
    if found.seq != seq:
        return f"{found} has not seq {seq}"
    if found.event != (event if is_judged else event._replace(sma="", alert="")):
        return f"{found} is not {event}"
    return ""
