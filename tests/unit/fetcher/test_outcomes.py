"""Refusals are told when they begin and when they end, once for all tickers that they concern."""

from services.fetcher.outcomes import Change, Outcomes
from services.fetcher.providers.finnhub import Outcome


def test_prices_from_the_first_are_no_news() -> None:
    outcomes = Outcomes()
    outcomes.note("A", Outcome.OK)
    assert outcomes.changes() == []


def test_refusal_is_told_once_for_all_its_tickers() -> None:
    outcomes = Outcomes()
    for _ in range(3):
        outcomes.note("A", Outcome.UNKNOWN, "who?")
        outcomes.note("B", Outcome.UNKNOWN, "who?")
        outcomes.note("C", Outcome.OK)
    assert outcomes.changes() == [Change(Outcome.UNKNOWN, ("A", "B"), "who?")]
    outcomes.note("A", Outcome.UNKNOWN, "who?")
    assert outcomes.changes() == []


def test_end_of_a_refusal_and_another_one_are_told() -> None:
    outcomes = Outcomes()
    outcomes.note("A", Outcome.TIMEOUT, "slow")
    outcomes.note("B", Outcome.TIMEOUT, "slow")
    outcomes.changes()
    outcomes.note("A", Outcome.OK)
    outcomes.note("B", Outcome.FORBIDDEN, "no")
    assert outcomes.changes() == [Change(Outcome.OK, ("A",), ""), Change(Outcome.FORBIDDEN, ("B",), "no")]
