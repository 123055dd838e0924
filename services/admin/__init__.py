"""The `tickstream` command: runs the whole pipeline, migrates, and shows what it does.

Consumes: nothing; reads what the services write (`status`, `tail`) and what a gateway sends (`watch`).
Produces: processes (`up`), the schema and `config` (`migrate`).
Guarantee: what `up` starts ends with it. One `up` per directory; everything else may run at any time.
"""
