"""How long entries are on their way: from the moment that their id tells until a service was done with them."""

import time

from shared import metrics


class Hop:
    """One hop of this process, over all its partitions; one object per hop and process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._seconds = metrics.HOP_SECONDS.labels(name)
        self._taken_ms = 0
        self._done_ms = 0

    def take(self, entry_id: str) -> None:
        """Note the newest entry of a batch that is done together with others, at the next `finish`."""
        self._taken_ms = max(self._taken_ms, int(entry_id.partition("-")[0]))

    def finish(self) -> None:
        """Note that everything taken is done."""
        if not self._taken_ms:
            return
        self._seconds.observe(max(0.0, time.time() - self._taken_ms / 1000))
        if not self._done_ms:
            metrics.NEWEST_ENTRY_AGE.labels(self._name).set_function(self._age_seconds)
        self._done_ms = max(self._done_ms, self._taken_ms)
        self._taken_ms = 0

    def done(self, entry_id: str) -> None:
        """Note that a batch is done whose newest entry has this id."""
        self.take(entry_id)
        self.finish()

    def _age_seconds(self) -> float:
        return time.time() - self._done_ms / 1000
