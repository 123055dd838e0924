"""The way to an alert index: what a stream retained when a snapshot was taken, batch by batch. Pure.

Trimming goes on meanwhile, from the front: it may pass the scan, and then raises the floor of the index, no more.
"""

from services.gateway.alert_index import STREAM, AlertIndex
from services.gateway.protocol import encode_alert
from shared.commits import Entries
from shared.errors import InvalidEntry
from shared.events import read_enriched
from shared.incarnations import Head, label
from shared.retained import Retained, is_after
from shared.sequence import SequenceCheck

NO_ALERT = ["alert", ""]
"""How most entries end. They are not looked at further: this takes a tenth of the time of reading them."""


class AlertScan:
    """Takes the entries of a partition up to `last_id`, that of the entry with the seq `newest`."""

    def __init__(self, partition: int, head: Head, newest: int, last_id: str) -> None:
        self.after = "0-0"
        """Where to read on."""
        self.is_whole = False
        self.entries = 0
        self._partition = partition
        self._head = head
        self._newest = newest
        self._last_id = last_id
        self._sequence = SequenceCheck(0)
        self._index = AlertIndex()

    def take(self, entries: Entries) -> None:
        """Take the entries that follow `after`; none: there are no more."""
        self.is_whole = not entries or not is_after(self._last_id, entries[-1][0])
        if self.is_whole:
            entries = [entry for entry in entries if not is_after(entry[0], self._last_id)]
        for _, entry in entries:
            if entry[-2:] != NO_ALERT:
                self._keep(entry)
        self.entries += len(entries)
        self.after = entries[-1][0] if entries else self.after

    def _keep(self, entry: list[str]) -> None:
        try:
            event = read_enriched(entry)
            seq = int(event.seq)
            self._sequence.advance(seq, self._newest)
        except InvalidEntry:
            return  # whoever reads on from the snapshot counts such entries
        if event.alert:
            self._index.add(seq, event.ticker, encode_alert(event, label(STREAM, seq, self._head), self._partition))

    def finish(self, kept: Retained, gap_seq: int) -> AlertIndex:
        """The index, given what the stream holds now and the seq of the last tick that was deleted before it was analyzed (0: none)."""
        floor = floor_of(kept, self._newest)
        # A gap above `newest` may hide an earlier one, for only the last is noted.
        self._index.forget_up_to(max(self._newest if floor is None else floor, min(gap_seq, self._newest)))
        return self._index


def floor_of(kept: Retained, newest: int) -> int | None:
    """The greatest seq that the stream may have held and holds no more, for a reader that has reached `newest`; None: who knows.

    That as many entries were added as are there proves nothing: a stream that was deleted may begin to count anew.
    """
    if not kept.length:
        return newest
    return kept.first_seq - 1 if 0 < kept.first_seq <= newest else None
