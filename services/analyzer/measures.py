"""What the work on a partition adds to the metrics: a few additions per batch, never one per tick."""

from shared import metrics
from shared.commits import Digest
from shared.hops import Hop
from shared.redis.log import Answer, Trimmed

EVENT_VALUES = 8
"""Values per event in an outcome; the last one is the alert."""

HOP = Hop("fetcher_to_analyzer")
ANSWERS = {answer: metrics.ANALYZER_COMMITS.labels(answer) for answer in set(Answer) - {Answer.AHEAD}}
ALERTS = {direction: metrics.ANALYZER_ALERTS.labels(direction) for direction in ("bullish", "bearish")}
TRIMMED = {stream: metrics.ANALYZER_TRIMMED.labels(stream) for stream in ("ticks", "enriched")}


class Measures:
    """Of one held partition, until `end`."""

    def __init__(self, partition: int) -> None:
        self._partition = str(partition)
        self._lag = metrics.ANALYZER_LAG.labels(self._partition)
        self._held_by: dict[str, str] = {}

    def note_read(self, unread: int) -> None:
        """Note how many ticks were behind the newest one that was read."""
        self._lag.set(unread)

    def note_answer(self, answer: Answer, seconds: float) -> None:
        """Note an answer of `commit` and how long it took."""
        ANSWERS[answer].inc()
        metrics.ANALYZER_COMMIT_SECONDS.observe(seconds)

    def note_commit(self, digest: Digest) -> None:
        """Note a digest that is in."""
        outcome = digest.outcome
        deadletters, ticks = len(outcome.deadletters) // 3, len(outcome.events) // EVENT_VALUES
        metrics.ANALYZER_TICKS.inc(ticks)
        metrics.ANALYZER_DEADLETTERS.inc(deadletters)
        metrics.ANALYZER_BATCH_ENTRIES.observe(ticks + deadletters)
        metrics.ANALYZER_MISSING.inc(sum(last - first + 1 for first, last in digest.missing))
        alerts = outcome.events[EVENT_VALUES - 1 :: EVENT_VALUES]
        for direction, counter in ALERTS.items():
            counter.inc(alerts.count(direction))
        HOP.done(digest.last)

    def note_reload(self) -> None:
        """Note that the partition is loaded again."""
        metrics.ANALYZER_RELOADS.inc()

    def note_trim(self, trimmed: Trimmed, cap: int) -> None:
        """Note what was trimmed, what could not be, and whom that passed."""
        TRIMMED["ticks"].inc(trimmed.ticks)
        TRIMMED["enriched"].inc(trimmed.enriched)
        for stream, hold in trimmed.holds.items():
            metrics.ANALYZER_FULLNESS.labels(stream, self._partition).set(hold.length / cap)
            self._note_hold(stream, hold.group, hold.needed / cap)
        for overrun in trimmed.overruns:
            metrics.ANALYZER_OVERRUN.labels(overrun.stream, overrun.group).inc(overrun.entries)

    def _note_hold(self, stream: str, group: str, ratio: float) -> None:
        if (before := self._held_by.get(stream)) not in (None, group):
            metrics.ANALYZER_HELD.remove(stream, self._partition, before)
        self._held_by[stream] = group
        metrics.ANALYZER_HELD.labels(stream, self._partition, group).set(ratio)

    def end(self) -> None:
        """Forget the partition: its figures are its next holder's to tell."""
        metrics.ANALYZER_LAG.remove(self._partition)
        for stream, group in self._held_by.items():
            metrics.ANALYZER_FULLNESS.remove(stream, self._partition)
            metrics.ANALYZER_HELD.remove(stream, self._partition, group)
        self._held_by = {}
