"""What became of each ticker's last call: what is told is the change, once for all tickers that it concerns."""

from collections import defaultdict
from typing import NamedTuple

from services.fetcher.providers.finnhub import Outcome


class Change(NamedTuple):
    """Tickers whose calls now end in another way than before."""

    outcome: Outcome
    tickers: tuple[str, ...]
    reason: str
    """Of the last of them; empty if they have prices again."""


class Outcomes:
    """Takes every outcome, gives back what is new."""

    def __init__(self) -> None:
        self._now: dict[str, tuple[Outcome, str]] = {}
        self._told: dict[str, Outcome] = {}

    def note(self, ticker: str, outcome: Outcome, reason: str = "") -> None:
        """Take the outcome of a ticker's call."""
        self._now[ticker] = outcome, reason

    def changes(self) -> list[Change]:
        """What changed since this was asked last; that a ticker has prices from the first is no news."""
        news: defaultdict[Outcome, list[str]] = defaultdict(list)
        reasons = {}
        for ticker, (outcome, reason) in self._now.items():
            if outcome is not self._told.get(ticker, Outcome.OK):
                news[outcome].append(ticker)
                reasons[outcome] = reason
            self._told[ticker] = outcome
        self._now.clear()
        return [Change(outcome, tuple(tickers), reasons[outcome]) for outcome, tickers in news.items()]
