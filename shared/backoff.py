"""How long to wait before the next try: exponential with equal jitter, so that a crowd spreads out.

Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from collections.abc import Callable
from random import random


class Backoff:
    """Waiting times in seconds; `reset` after a success."""

    def __init__(self, first_seconds: float = 0.1, most_seconds: float = 5.0, jitter: Callable[[], float] = random) -> None:
        self._first_seconds = first_seconds
        self._most_seconds = most_seconds
        self._jitter = jitter
        self._failures = 0

    @property
    def failures(self) -> int:
        """How many times in a row `next_seconds` was asked for since the last success."""
        return self._failures

    def next_seconds(self) -> float:
        """Count a failure and return how long to wait, between half and all of the doubled bound."""
        bound = min(self._most_seconds, self._first_seconds * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return bound * (0.5 + self._jitter() / 2)

    def reset(self) -> None:
        """Start again with the shortest wait."""
        self._failures = 0
