"""What a dead letter is, and what `functions.lua` makes of one. Pure."""

from typing import NamedTuple

PAYLOAD_BYTES = 4096
"""Where `functions.lua` cuts a payload."""
KEPT = 100_000
"""How many of a partition `functions.lua` keeps."""
FUTURE_REASON = "ts is more than 5 s in the future"
"""What `append` says of a tick that it refuses: its payload is the values of the tick, commas between them."""


class Letter(NamedTuple):
    """A dead letter."""

    partition: int
    entry_id: str
    stream: str
    """`ticks` if it was an entry there, empty if it never became one."""
    refused_id: str
    """Its entry id in that stream."""
    reason: str
    payload: str
    ts: str
    """When it was buried, epoch ms by the clock of Redis."""

    @property
    def name(self) -> str:
        """How commands call it."""
        return f"{self.partition}:{self.entry_id}"

    @property
    def is_cut(self) -> bool:
        """Whether the payload may be longer than what was kept; one of exactly that length cannot be told from a cut one."""
        return len(self.payload.encode()) >= PAYLOAD_BYTES
