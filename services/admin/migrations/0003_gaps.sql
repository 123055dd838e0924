-- What is missing from the ticks of a partition, newest first, however many other events were noted.
CREATE INDEX stream_events_gaps ON stream_events (partition, at) WHERE stream = 'ticks' AND kind IN ('gap', 'rewind', 'reset');
