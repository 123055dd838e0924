"""The analyzer: keeps each ticker's last prices and emits moving averages and crossovers.

Consumes `ticks:{p}` as group `analyzer`. Produces `enriched:{p}`, `prices:{p}:TICKER`, `latest:{p}`, `deadletters:{p}`.
Guarantee: at every instant these equal f(prefix of `ticks:{p}`), bit for bit, whatever is killed, paused or cut.
Any number may run: each partition has one holder, in even shares.
"""
