"""The API: read-only REST, its browsable documentation, and the dashboard's files.

Consumes `latest:{p}` and `market` from Redis, `ticks` and `enriched` from PostgreSQL. Writes nothing anywhere. Guarantee:
prices are the characters that were stored, a walk along the cursors shows every row that was there at its start exactly
once, and while one of the two servers is away what needs the other still answers. Any number may run at once.
"""
