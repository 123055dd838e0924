"""The persister: writes both streams to PostgreSQL.

Consumes `ticks:{p}`, `enriched:{p}` and `events:{p}` as group `persister`. Produces the tables `ticks`, `enriched` and
`stream_events`. Guarantee: exactly one row per entry; the cursor moves in the transaction that stores the rows.
Any number may run: the cursor's compare-and-set lets one of them win each batch, the lease only saves wasted work.
"""
