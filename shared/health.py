"""Whether a service is ready, and whether it lives at all. Pure: times are seconds of one monotonic clock, given as arguments.

Every check must be confirmed again and again. Silence is not health: a check that nobody confirmed for a while has failed.
Written by the event loop and read by the thread that answers, so everything stored is replaced whole, never changed.
"""

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

CONFIRMED_SECONDS = 5.0
"""How long a confirmation holds: a prober asks every second and gives up on an answer after two."""

STILL_SECONDS = 2.5
"""How long a beat may be overdue. With the half second between beats it is told within 3 s that the event loop stands still: a digest
or a flush takes milliseconds."""


class Finding(NamedTuple):
    """What is known of a check; the reason is empty when it holds."""

    is_ok: bool
    reason: str


class _Word(NamedTuple):
    """The last that was said of a check."""

    at: float
    reason: str


class Health:
    """The checks that must hold before a service may be called ready."""

    def __init__(self, checks: Iterable[str], confirmed_seconds: float = CONFIRMED_SECONDS) -> None:
        self._confirmed_seconds = confirmed_seconds
        self._words: dict[str, _Word | None] = dict.fromkeys(checks)

    def expect(self, check: str) -> None:
        """Add a check; it fails until it is confirmed."""
        self._words.setdefault(check)

    def confirm(self, check: str, now: float) -> None:
        """Say that a check holds."""
        self._words[check] = _Word(now, "")

    def fail(self, check: str, reason: str, now: float) -> None:
        """Say why a check does not hold."""
        self._words[check] = _Word(now, reason or "failed")

    def findings(self, now: float) -> dict[str, Finding]:
        """Every check as it stands now."""
        return {check: self._judge(word, now) for check, word in list(self._words.items())}

    def _judge(self, word: _Word | None, now: float) -> Finding:
        if word is None:
            return Finding(False, "not confirmed yet")
        if word.reason:
            return Finding(False, word.reason)
        silent_seconds = now - word.at
        if silent_seconds > self._confirmed_seconds:
            return Finding(False, f"not confirmed for {silent_seconds:.0f} s")
        return Finding(True, "")


def status_of(findings: Mapping[str, Finding], *, is_stopping: bool) -> str:
    """`ready`, `not ready`, or `stopping`, which is not ready either."""
    if is_stopping:
        return "stopping"
    return "ready" if all(finding.is_ok for finding in findings.values()) else "not ready"


def as_json(findings: Mapping[str, Finding], status: str) -> bytes:
    """The body of `/readyz`."""
    checks = {check: {"ok": finding.is_ok, "reason": finding.reason} for check, finding in findings.items()}
    return json.dumps({"status": status, "checks": checks}, ensure_ascii=False).encode() + b"\n"


class Pulse:
    """Tells whether an event loop turns: a task of the loop beats, another thread looks."""

    def __init__(self, every_seconds: float, now: float) -> None:
        self._every_seconds = every_seconds
        self._beat_at = now
        self._lag_seconds = 0.0

    def beat(self, now: float) -> float:
        """Beat, and return how much later than due."""
        self._lag_seconds = self._late_seconds(now)
        self._beat_at = now
        return self._lag_seconds

    def still_seconds(self, now: float) -> float:
        """How long the loop has stood still; 0 if it turns."""
        late_seconds = self._late_seconds(now)
        return late_seconds if late_seconds > STILL_SECONDS else 0.0

    def lag_seconds(self, now: float) -> float:
        """The lag of the last beat, or of the next one if that is greater already."""
        return max(self._lag_seconds, self._late_seconds(now))

    def _late_seconds(self, now: float) -> float:
        return max(0.0, now - self._beat_at - self._every_seconds)
