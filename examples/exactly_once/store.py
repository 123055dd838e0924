"""Every enriched event once in a table of your own, whoever dies when: run as many of these as you like.

The stream gives each event at least once. The position is written in the same transaction as the rows, and only if it still is
what this transaction has read: what comes again is recognised, and of two that store the same batch one is told to look again.
"""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import asyncpg
from tickstream_client.streams import Batch, Enriched, consume

POSITION = "SELECT seq FROM positions WHERE partition = $1 AND incarnation = $2"
# One statement, so one transaction: whoever is stopped (SIGSTOP, a frozen machine) holds no position that others wait for, as it would
# within a COPY, which no timeout of PostgreSQL ends. Of two at once the second finds the position moved, and stores nothing.
STORE = """
WITH moved AS (
    INSERT INTO positions AS p (partition, incarnation, seq) VALUES ($1, $2, $3)
    ON CONFLICT (partition, incarnation) DO UPDATE SET seq = excluded.seq WHERE p.seq = $4
    RETURNING seq
)
INSERT INTO events (partition, incarnation, seq, ticker, price, sma, alert, ts)
SELECT $1, $2, * FROM unnest($5::bigint[], $6::text[], $7::numeric[], $8::numeric[], $9::text[], $10::timestamptz[])
WHERE EXISTS (SELECT FROM moved)
"""
COLUMNS = ("seq", "ticker", "price", "sma", "alert", "ts")


async def store(database: asyncpg.Connection, batch: Batch[Enriched]) -> None:
    """Store those events of a batch that are not there yet, and the new position, in one transaction."""
    while not await store_unless_overtaken(database, batch):
        pass


async def store_unless_overtaken(database: asyncpg.Connection, batch: Batch[Enriched]) -> bool:
    """The same; False, and nothing was stored, if somebody else stored events of this partition meanwhile."""
    stored = await database.fetchval(POSITION, batch.partition, batch.incarnation) or 0
    new = [event for event in batch.events if event.seq > stored]
    if not new:
        return True
    columns = [[getattr(event, column) for event in new] for column in COLUMNS]
    done = await database.execute(STORE, batch.partition, batch.incarnation, new[-1].seq, stored, *columns)
    return done != "INSERT 0 0"


async def main() -> None:
    """Store until a signal or an error ends the process; started again, it goes on where it was."""
    lease_seconds = float(os.environ.get("LEASE_SECONDS", "5"))
    database = await asyncpg.connect(os.environ["DATABASE_URL"])
    await database.execute(Path(__file__).with_name("schema.sql").read_text(encoding="utf-8"))
    enriched = consume(
        "enriched",
        group="warehouse",
        redis_url=os.environ["REDIS_URL"],
        redis_cluster=os.environ.get("REDIS_CLUSTER") == "1",
        lease_seconds=lease_seconds,
        on_gap=print,
    )
    async with enriched:
        async for batch in enriched.batches():
            await store(database, batch)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
