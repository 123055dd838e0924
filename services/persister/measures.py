"""What the work on a stream of a partition adds to the metrics: a few additions per batch, never one per row."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from services.persister.rows import KINDS, StreamEvent
from services.persister.store import StoredElsewhere
from shared import metrics
from shared.hops import Hop

HOPS = {"ticks": Hop("fetcher_to_persister"), "enriched": Hop("analyzer_to_persister")}
TRANSACTIONS = {outcome: metrics.PERSISTER_TRANSACTIONS.labels(outcome) for outcome in ("stored", "elsewhere", "failed")}
EVENTS = {kind: metrics.PERSISTER_EVENTS.labels(kind) for kind in (*KINDS, "other")}


class Measures:
    """Of one followed stream, until `end`."""

    def __init__(self, stream: str, partition: int) -> None:
        self._place = stream, str(partition)
        self._hop = HOPS.get(stream)
        self._rows = metrics.PERSISTER_ROWS.labels(stream)
        self._rejected = metrics.PERSISTER_REJECTED.labels(stream)
        self._entries = metrics.PERSISTER_BATCH_ENTRIES.labels(stream)
        self._seconds = metrics.PERSISTER_TRANSACTION_SECONDS.labels(stream)
        self._lag = metrics.PERSISTER_LAG.labels(*self._place)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Note how the transaction within the block ends, and how long a stored one took."""
        began = time.perf_counter()
        try:
            yield
        except StoredElsewhere:
            TRANSACTIONS["elsewhere"].inc()
            raise
        except Exception:
            TRANSACTIONS["failed"].inc()
            raise
        TRANSACTIONS["stored"].inc()
        self._seconds.observe(time.perf_counter() - began)

    def note_read(self, unread: int) -> None:
        """Note how many entries are behind the newest one that was read."""
        self._lag.set(unread)

    def note_rows(self, entries: int, rows: int, last_id: str) -> None:
        """Note a stored batch: its entries, the rows they became, the id of the last one."""
        self._entries.observe(entries)
        self._rows.inc(rows)
        if self._hop is not None:
            self._hop.done(last_id)

    def note_events(self, events: Sequence[StreamEvent]) -> None:
        """Note rows of `stream_events` that were written."""
        for event in events:
            EVENTS[event.kind if event.kind in KINDS else "other"].inc()
            if event.kind == "rejected":
                self._rejected.inc()

    def end(self) -> None:
        """Forget the stream: the lag is its next holder's to tell."""
        metrics.PERSISTER_LAG.remove(*self._place)
