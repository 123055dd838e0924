"""What fetching adds to the metrics: a few additions per batch or call, never one per tick."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from services.fetcher.providers.finnhub import Outcome
from shared import metrics
from shared.events import Market
from shared.redis.log import Answer, Batch

ANSWERS = {answer: metrics.FETCHER_APPENDS.labels(answer) for answer in (Answer.OK, Answer.FENCED, Answer.AHEAD, Answer.FULL)}
STATUSES = ("open", "pre", "post", "closed")


class _Newest:
    """When this process appended last, in any partition."""

    def __init__(self) -> None:
        self._at = 0.0

    def note(self) -> None:
        if not self._at:
            metrics.NEWEST_ENTRY_AGE.labels("source_to_fetcher").set_function(lambda: time.time() - self._at)
        self._at = time.time()


_newest = _Newest()


class Appends:
    """Of one producer in one partition."""

    def note_answer(self, answer: Answer, seconds: float) -> None:
        """Note an answer of `append` and how long it took."""
        ANSWERS[answer].inc()
        metrics.FETCHER_APPEND_SECONDS.observe(seconds)

    def note_stored(self, batch: Batch, refused: int) -> None:
        """Note a batch that is in, of which `refused` ticks were dead-lettered because of their time."""
        metrics.FETCHER_BATCH_TICKS.observe(batch.count)
        metrics.FETCHER_TICKS.inc(batch.count - batch.rejected - refused)
        metrics.FETCHER_DEADLETTERS.inc(batch.rejected)
        metrics.FETCHER_REFUSED.inc(refused)
        _newest.note()


class Calls:
    """Of a provider."""

    def __init__(self) -> None:
        self._answers = {outcome: metrics.FETCHER_ANSWERS.labels(outcome) for outcome in Outcome}

    def note_answer(self, outcome: Outcome, seconds: float) -> None:
        """Note what became of a call and how long it took."""
        self._answers[outcome].inc()
        metrics.FETCHER_CALL_SECONDS.observe(seconds)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count a call that waits for its place in the quota, for the time of the block."""
        metrics.FETCHER_CALLS_WAITING.inc()
        try:
            yield
        finally:
            metrics.FETCHER_CALLS_WAITING.dec()


def note_market(market: Market | None) -> None:
    """Note what the exchange does; None: this process does not say it any more."""
    for status in STATUSES:
        if market is None:
            metrics.FETCHER_MARKET_STATUS.remove(status)
        else:
            metrics.FETCHER_MARKET_STATUS.labels(status).set(market.status == status)
