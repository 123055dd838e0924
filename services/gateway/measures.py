"""What the gateway adds to the metrics. Messages are tallied as plain numbers: there is one per client and flush."""

from websockets.protocol import Protocol

from services.gateway.resuming import Outcome
from shared import metrics
from shared.hops import Hop

HOP = Hop("analyzer_to_gateway")
INCARNATIONS = {outcome: metrics.GATEWAY_INCARNATIONS.labels(outcome) for outcome in ("continue", "rewind", "reset")}
RESUMES = {outcome: metrics.GATEWAY_RESUMES.labels(str(outcome)) for outcome in Outcome}


class Tally:
    """Messages sent since they were last moved to the metrics."""

    def __init__(self) -> None:
        self.moved = 0
        """Messages that were moved to the metrics since the process began."""
        self.messages = 0
        self.bytes = 0

    def move(self) -> None:
        """Move what was counted to the metrics."""
        metrics.GATEWAY_MESSAGES.inc(self.messages)
        metrics.GATEWAY_BYTES.inc(self.bytes)
        self.moved += self.messages
        self.messages = self.bytes = 0


def note_end(protocol: Protocol) -> None:
    """Count a connection that ended, if it was our side that closed it, whichever part of it did."""
    if protocol.close_sent is not None and not protocol.close_rcvd_then_sent:
        metrics.GATEWAY_CLOSES.labels(str(protocol.close_sent.code)).inc()
