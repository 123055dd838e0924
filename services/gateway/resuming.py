"""Whether what happened since a cursor is known here, whole: judged from memory, by every gateway alike. Pure.

A cursor is recoverable if in every partition nothing of its incarnation was lost below it, it is not beyond what this gateway
has sent, and every alert after it is in the index. Anything else is answered by an honest no, never by a part.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from services.gateway.alert_index import STREAM
from services.gateway.protocol import Position
from shared.incarnations import Head, Resolution, resolve


class Known(NamedTuple):
    """A partition as this gateway knows it."""

    head: Head
    position: Position
    """Up to where clients were sent everything."""
    floor: int
    """Of its alert index."""


class Outcome(StrEnum):
    """What can be said of a cursor. Of several partitions the first of these that holds anywhere."""

    UNREADABLE = "unreadable"
    """No cursor, or one of another number of partitions."""
    LOST = "lost"
    """Of an incarnation that nobody knows any more, or beyond what survived of it."""
    TRIMMED = "trimmed"
    """Alerts after it are not retained any more."""
    FUTURE = "future"
    """Beyond what was sent here: a gateway that is a little behind reaches it soon, if it is a true one."""
    RECOVERED = "recovered"
    """Every alert after it is known."""


def judge(cursor: Sequence[Position] | None, partitions: Sequence[Known]) -> Outcome:
    """What can be said of a cursor, None for an unreadable one, in the face of what is known now."""
    if cursor is None or len(cursor) != len(partitions):
        return Outcome.UNREADABLE
    found = {_judge_one(position, known) for position, known in zip(cursor, partitions, strict=True)}
    return next(outcome for outcome in Outcome if outcome in found)


def _judge_one(position: Position, known: Known) -> Outcome:
    match resolve(STREAM, position.incarnation, position.seq, known.head):
        case Resolution.RESET if _began(position.incarnation) > _began(known.head.incarnation):
            return Outcome.FUTURE
        case Resolution.RESET | Resolution.REWIND:
            return Outcome.LOST
        case _ if position.seq > known.position.seq:
            return Outcome.FUTURE
        case _ if position.seq < known.floor:
            return Outcome.TRIMMED
        case _:
            return Outcome.RECOVERED


def _began(incarnation: str) -> int:
    """When an incarnation began, in microseconds by the clock of Redis: its label begins with that."""
    return int(incarnation.partition("-")[0])
