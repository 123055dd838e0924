"""The alerts of one partition that its stream still holds, so that a client that comes back is answered from memory. Pure.

Bounded by what the stream retains. What is asked for costs what is found: each ticker has its alerts by itself, too.
"""

from bisect import bisect_right
from collections import defaultdict

from services.gateway.protocol import ALL, Subscription

STREAM = "enriched"
"""Where the alerts are."""


class _Series:
    """Alerts in their order."""

    __slots__ = ("seqs", "texts")

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.texts: list[str] = []

    def add(self, seq: int, text: str) -> None:
        self.seqs.append(seq)
        self.texts.append(text)

    def position_after(self, seq: int) -> int:
        return bisect_right(self.seqs, seq)

    def forget_up_to(self, seq: int) -> None:
        gone = self.position_after(seq)
        del self.seqs[:gone], self.texts[:gone]


class AlertIndex:
    """Every alert above `floor`, the greatest seq up to which some may be missing: trimmed, or deleted unread."""

    def __init__(self, floor: int = 0) -> None:
        self.floor = floor
        self._all = _Series()
        self._of: defaultdict[str, _Series] = defaultdict(_Series)

    def __len__(self) -> int:
        return len(self._all.seqs)

    def add(self, seq: int, ticker: str, text: str) -> None:
        """Take the next alert, already encoded; its seq is above those before."""
        self._all.add(seq, text)
        self._of[ticker].add(seq, text)

    def since(self, seq: int, wanted: Subscription) -> list[str]:
        """The alerts of the wanted tickers with a greater seq, in their order; all there were if `seq` is not below the floor."""
        if wanted == ALL:
            return self._all.texts[self._all.position_after(seq) :]
        found = [
            alert
            for ticker in self._of.keys() & wanted
            for series in (self._of[ticker],)
            for start in (series.position_after(seq),)
            for alert in zip(series.seqs[start:], series.texts[start:], strict=True)
        ]
        return [text for _, text in sorted(found)]

    def forget_up_to(self, seq: int) -> None:
        """Raise the floor: up to there nobody can be answered any more."""
        if seq <= self.floor:
            return
        self.floor = seq
        self._all.forget_up_to(seq)
        for ticker, series in list(self._of.items()):
            series.forget_up_to(seq)
            if not series.seqs:
                del self._of[ticker]
