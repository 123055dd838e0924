"""The gateway: every client sees each ticker's latest value, and every alert.

Consumes `enriched:{p}` of all partitions (tailed without a group: every gateway needs every event) and the values in
`latest:{p}`. Produces the WebSocket messages of the contract. Writes nothing to the streams. Guarantee: per ticker `seq`
never goes backwards and no alert is left out, except across a message with `recovered:false`, also for a client that comes back
with a cursor of another gateway. Any number may run at once.
"""
