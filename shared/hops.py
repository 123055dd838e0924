"""How long entries are on their way: from the moment that their id tells until a service was done with them."""

import time

from shared import metrics


class Hop:
    """One hop of this process, over all its partitions; one object per hop and process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._seconds = metrics.HOP_SECONDS.labels(name)
        self._newest_ms = 0

    def done(self, entry_id: str) -> None:
        """Note that a batch is done whose newest entry has this id."""
        written_ms = int(entry_id.partition("-")[0])
        self._seconds.observe(max(0.0, time.time() - written_ms / 1000))
        if not self._newest_ms:
            metrics.NEWEST_ENTRY_AGE.labels(self._name).set_function(self._age_seconds)
        self._newest_ms = max(self._newest_ms, written_ms)

    def _age_seconds(self) -> float:
        return time.time() - self._newest_ms / 1000
