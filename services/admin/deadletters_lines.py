"""Dead letters as lines: columns for a person, JSON for a program, counts at the end. Pure."""

import json
import re
from collections import Counter
from collections.abc import Mapping

from services.admin.deadletter import tick_in
from shared.deadletters import KEPT, PAYLOAD_BYTES, Letter
from shared.errors import InvalidEntry
from shared.events import iso

HEAD = f"{'name':<20} {'time (UTC)':<19}  reason"
LONGEST_KIND = 71
MOST_KINDS = 1000
"""A stranger could make every letter another kind."""
KINDS_SHOWN = 20
OTHER = "other reasons"

_varying = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\d+")


def text_line(letter: Letter, width: int | None) -> str:
    """Columns under `HEAD`, cut to `width` columns if there is one."""
    line = f"{letter.name:<20} {time_of(letter):<19}  {safe(letter.reason)}"
    return line if width is None or len(line) <= width else f"{line[: width - 1]}…"


def json_line(letter: Letter) -> str:
    """One object: the letter's own fields, and its name and partition."""
    return json.dumps(
        {
            "name": letter.name,
            "partition": letter.partition,
            "stream": letter.stream,
            "entry_id": letter.refused_id,
            "reason": letter.reason,
            "payload": letter.payload,
            "ts": letter.ts,
            "is_cut": letter.is_cut,
        }
    )


def whole_letter(letter: Letter, partitions: int) -> str:
    """All there is to know of a letter, on several lines."""
    size = f"{PAYLOAD_BYTES} bytes, the rest was cut" if letter.is_cut else f"{len(letter.payload.encode())} bytes"
    origin = (
        f"entry {safe(letter.refused_id)} of {safe(letter.stream)}:{{{letter.partition}}}"
        if letter.stream
        else "input that never became an entry"
    )
    rows = {
        "name": letter.name,
        "time": f"{time_of(letter)} UTC",
        "from": origin,
        "reason": safe(letter.reason),
        "retry": prospect(letter, partitions),
        "payload": size,
    }
    return "\n".join([*(f"{name:<8} {text}" for name, text in rows.items()), safe(letter.payload)])


def prospect(letter: Letter, partitions: int) -> str:
    """What a retry would do."""
    try:
        tick = tick_in(letter, partitions)
    except InvalidEntry as error:
        return f"not possible: {safe(str(error))}"
    return f"appends {tick.ticker} {tick.price} of {iso(tick.ts)}, source {tick.source}"


def time_of(letter: Letter) -> str:
    """When a letter was buried, UTC, to the second; a stranger's id may be out of range."""
    try:
        return iso(letter.entry_id.partition("-")[0])[:19].replace("T", " ")
    except (ValueError, OverflowError, OSError):
        return "unknown"


def safe(text: str) -> str:
    """A stranger's text, each character that would steer a terminal as its escape."""
    return "".join(character if character.isprintable() else character.encode("unicode_escape").decode() for character in text)


class Kinds:
    """Counts letters by reason, without the values that differ from letter to letter."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, letter: Letter) -> None:
        """Count a letter."""
        kind = kind_of(letter.reason)
        self._counts[kind if kind in self._counts or len(self._counts) < MOST_KINDS else OTHER] += 1

    @property
    def counts(self) -> Mapping[str, int]:
        """Letters by kind."""
        return self._counts

    def lines(self) -> list[str]:
        """The most frequent kinds, one a line."""
        shown = self._counts.most_common(KINDS_SHOWN)
        rest = self._counts.total() - sum(count for _, count in shown)
        return [f"{count:>7}  {kind}" for kind, count in [*shown, *([(OTHER, rest)] if rest else [])]]


def kind_of(reason: str) -> str:
    """A reason without what is quoted in it, and without numbers."""
    return safe(_varying.sub(lambda found: "N" if found[0].isdigit() else "'…'", reason[:1000]))[:LONGEST_KIND] or "no reason"


def total_line(found: int, shown: int, fallen_off: int) -> str:
    """What was found, and what is not there any more."""
    older = f"; {fallen_off} older ones fell off, a partition keeps the newest {KEPT}" if fallen_off else ""
    hidden = f", the newest {shown} shown" if shown < found else ""
    return f"{found} dead letter{'' if found == 1 else 's'}{hidden}{older}"
