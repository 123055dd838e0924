"""What a live source does at a full stream: it keeps the newest tick of each ticker, and that one says how many were shed."""

from collections.abc import Iterable

from shared.events import TickValues


class Waiting:
    """Ticks to be stored, the newest per ticker."""

    def __init__(self) -> None:
        self._ticks: dict[str, TickValues] = {}

    def __len__(self) -> int:
        return len(self._ticks)

    def put(self, tick: TickValues) -> int:
        """Take a newer tick in; return how many were shed for it (0 or 1)."""
        older = self._ticks.get(tick[0])
        self._ticks[tick[0]] = tick if older is None else _replacing(tick, older)
        return 0 if older is None else 1

    def take(self, most: int) -> list[TickValues]:
        """Hand out up to `most` ticks; those that find no room come back with `give_back`."""
        return [self._ticks.pop(ticker) for ticker in list(self._ticks)[:most]]

    def give_back(self, ticks: Iterable[TickValues]) -> int:
        """Take ticks back that were not stored, unless there are newer ones by now; return how many were shed."""
        shed = 0
        for tick in ticks:
            newer = self._ticks.get(tick[0])
            self._ticks[tick[0]] = tick if newer is None else _replacing(newer, tick)
            shed += newer is not None
        return shed


def _replacing(newer: TickValues, older: TickValues) -> TickValues:
    return (*newer[:6], str(int(newer[6] or 0) + int(older[6] or 0) + 1))
