"""What the end of a process means, and how it is told: pure."""

from collections.abc import Iterable
from enum import Enum

from shared.processes import REFUSED, described


class Ending(Enum):
    """What `up` does next."""

    FINISHED = "finished"
    """Its work is done; the others go on."""
    REFUSED = "refused"
    """Its configuration is wrong: a new start would end the same way."""
    CRASHED = "crashed"
    """It is started again."""


def judge(code: int, *, may_finish: bool) -> Ending:
    """What an exit code (negative: a signal) of a process that nobody asked to stop means."""
    if code == 0 and may_finish:
        return Ending.FINISHED
    return Ending.REFUSED if code == REFUSED else Ending.CRASHED


def ending_report(name: str, code: int, last_lines: Iterable[str], consequence: str = "") -> list[str]:
    """Lines that tell of an end: who, how, what follows from it, and what the process said last."""
    how = "refuses its configuration, exit code 2" if code == REFUSED else described(code)
    heading = f"{name} ended ({how}){consequence}"
    said = [f"  {line}" for line in last_lines]
    return [f"{heading}; it said last:", *said] if said else [heading]
