"""Consume the streams of a pipeline from your own service: typed events, shared by the members of a group, in order, at least once.

Needs the extra `streams` (redis-py).
"""

from tickstream_client.streams.consumption import Consumption, consume
from tickstream_client.streams.events import Batch, Enriched, Gap, Invalid, Tick
from tickstream_client.streams.servers import CannotConsume

__all__ = ["Batch", "CannotConsume", "Consumption", "Enriched", "Gap", "Invalid", "Tick", "consume"]
