"""Fetcher: brings prices in and appends them to `ticks:{p}`.

Consumes a source (SOURCE): `simulated` or `replay`. Produces `ticks:{p}` and, for rows that are no ticks, `deadletters:{p}`.
Guarantee: what Redis accepted stands in the stream exactly once, in the order of the source per partition, however
often an answer is lost or a process killed; both sources wait for room, they drop nothing.
Any number may run at once: each partition is held by one of them, in even shares.
"""
