"""Who is to be looked at now: each member once in a period, found without asking the others."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

Member = TypeVar("Member")


class Rounds(Generic[Member]):
    """Members in the order in which they fall due. As the period is one for all, who was looked at goes to the end."""

    def __init__(self, period_seconds: float) -> None:
        self._period_seconds = period_seconds
        self._due_at: OrderedDict[Member, float] = OrderedDict()

    def enter(self, member: Member, now: float) -> None:
        """Look at a member for the first time one period after `now`."""
        self._due_at[member] = now + self._period_seconds

    def leave(self, member: Member) -> None:
        """Look at a member no more."""
        self._due_at.pop(member, None)

    def due(self, now: float) -> Iterator[Member]:
        """Yield who has fallen due by `now`; members may come and go meanwhile."""
        while self._due_at:
            member, due_at = next(iter(self._due_at.items()))
            if due_at > now:
                return
            self._due_at[member] = now + self._period_seconds
            self._due_at.move_to_end(member)
            yield member
