"""How long to wait before the next try: exponential with full jitter, so that a crowd spreads out. Pure.

Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from collections.abc import Callable
from random import random


class Backoff:
    """Waiting times in seconds, each anything from 0 to a bound that doubles; `jitter` gives 0 to 1."""

    def __init__(self, first_seconds: float = 1.0, most_seconds: float = 30.0, jitter: Callable[[], float] = random) -> None:
        self._first_seconds = first_seconds
        self._most_seconds = most_seconds
        self._jitter = jitter
        self._failures = 0

    def next_seconds(self) -> float:
        """Count a failure and return how long to wait."""
        bound = min(self._most_seconds, self._first_seconds * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return bound * self._jitter()

    def reset(self) -> None:
        """Start again with the shortest wait: it worked."""
        self._failures = 0
