"""Simulated ticks through all services as processes, while a test does harm; and what must hold afterwards of every row.

For each partition, life and stream: rows and reported gaps together are 1, 2, 3 … without a hole and without a double; and
where no tick is missing the enriched rows are exactly what the rows of the ticks make.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from redis.asyncio import Redis

from services.admin.embedded import find_free_port
from services.admin.migrate import migrate_postgres, migrate_redis
from shared import streams
from shared.testing.oracle import expect
from tests.e2e.market_data import PERIOD
from tests.e2e.pipeline import SERVICES, Pipeline, Service
from tests.e2e.viewer import Viewer
from tests.observed import Observed

PARTITIONS = 4
TICKERS = "AAPL,MSFT,AMZN,GOOGL,TSLA,META,NVDA,NFLX,BRK.B,JNJ,V,PG,DIS,JPM,KO"
RATE = 150
"""Ticks a second."""

PATIENCE_SECONDS = 60.0

ROWS = {
    "ticks": "SELECT incarnation, partition, seq, entry_id, ticker, price::text, '' AS sma, '' AS alert FROM ticks ORDER BY seq",
    "enriched": """SELECT incarnation, partition, seq, entry_id, ticker, price::text, coalesce(sma::text, '') AS sma,
                   coalesce(alert, '') AS alert FROM enriched ORDER BY seq""",
}
EVENTS = "SELECT kind, stream, partition, incarnation, first_seq, last_seq, detail FROM stream_events ORDER BY at"
LOSSES = ("redis lost entries that were stored", "noted in stream_events", "ticks were deleted", "entries were deleted")
"""How the log lines of level error begin that a reported loss has."""


class Simulation:
    """One of each service at work; `redis` and `database` are the test's own eyes and hands."""

    def __init__(self, pipeline: Pipeline, redis: Redis, database: asyncpg.Connection) -> None:
        self.pipeline = pipeline
        self.redis: Any = redis
        self.database = database
        self.viewer = Viewer(pipeline.port)
        self.services: dict[str, Service] = {}
        self.pages: dict[str, Observed] = {}

    def start(self, name: str, **variables: str) -> Service:
        """Start a service with its metrics."""
        port = find_free_port()
        self.services[name] = self.pipeline.start(name, METRICS_PORT=str(port), **variables)
        self.pages[name] = Observed(port)
        return self.services[name]

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait for a condition; fail at once when a service ended unasked."""
        await self.pipeline.until(condition, what, PATIENCE_SECONDS)

    async def incarnation(self, p: int) -> str:
        """The life of a partition now, empty while it has no head."""
        return str(await self.redis.hget(streams.log(p), "incarnation") or "")

    async def stored(self) -> dict[tuple[str, int], tuple[str, int]]:
        """(stream, partition) to (incarnation, seq) of the newest row."""
        rows = await self.database.fetch("SELECT stream, partition, incarnation, seq FROM cursors WHERE stream <> 'events'")
        return {(row["stream"], row["partition"]): (row["incarnation"], row["seq"]) for row in rows}

    async def until_stored(self, count: int = 20) -> None:
        """Wait until both streams are stored up to that seq in the life of now of each partition."""

        async def are_stored() -> bool:
            lives = {p: await self.incarnation(p) for p in range(PARTITIONS)}
            stored = [life == lives[p] and seq >= count for (_, p), (life, seq) in (await self.stored()).items()]
            return len(stored) == 2 * PARTITIONS and all(stored)

        await self.until(are_stored, f"{count} rows of each stream in every partition")

    async def until_more_is_stored(self, count: int = 20, partitions: Sequence[int] = range(PARTITIONS)) -> None:
        """Wait until both streams of these partitions are stored so many seqs farther than now."""
        goal = {place: seq + count for place, (_, seq) in (await self.stored()).items() if place[1] in partitions}

        async def are_stored() -> bool:
            stored = await self.stored()
            return all(stored[place][1] >= seq for place, seq in goal.items())

        await self.until(are_stored, f"{count} more of each stream in the partitions {list(partitions)}")

    async def is_settled(self) -> bool:
        """Whether everything that was appended is analyzed and stored."""
        stored = await self.stored()
        for p in range(PARTITIONS):
            seq, cursor_seq, enriched_seq = await self.redis.hmget(streams.log(p), ["seq", "cursor_seq", "enriched_seq"])
            if seq is None or seq != cursor_seq:
                return False
            if stored["ticks", p][1] != int(seq) or stored["enriched", p][1] != int(enriched_seq):
                return False
        return True

    async def settle(self) -> None:
        """Stop the source, and wait until all is stored."""
        self.services["fetcher"].terminate()
        assert await self.services["fetcher"].finish() == 0
        await self.until(self.is_settled, "that all is stored")
        for stream in ("ticks", "enriched"):
            await self.until(self.has_no_lag(stream), f"that no group of {stream} lags")

    async def end(self, errors_allowed: tuple[str, ...] = LOSSES) -> None:
        """Stop the rest, and check every log."""
        await self.pipeline.stop()
        self.pipeline.check_logs(errors_allowed)
        for service in self.pipeline.started:
            assert "NOGROUP" not in service.text
            assert len(service.log) < 300, f"{service.name} writes one line after the other"

    def has_no_lag(self, stream: str) -> Callable[[], Awaitable[bool]]:
        """A condition: the groups of our own have read everything."""

        async def has_none() -> bool:
            rows = [row for p in range(PARTITIONS) for row in await self.redis.xinfo_groups(streams.stream(stream, p))]
            rows = [row for row in rows if row["name"] in (streams.ANALYZER_GROUP, streams.PERSISTER_GROUP)]
            return all(row["lag"] == 0 and row["pending"] == 0 for row in rows)

        return has_none

    async def events(self, *kinds: str) -> list[asyncpg.Record]:
        """The rows of `stream_events`, of these kinds."""
        return [row for row in await self.database.fetch(EVENTS) if not kinds or row["kind"] in kinds]

    async def rows(self, stream: str) -> dict[tuple[str, int], list[asyncpg.Record]]:
        """The rows of a stream per (incarnation, partition), in order."""
        rows: defaultdict[tuple[str, int], list[asyncpg.Record]] = defaultdict(list)
        for row in await self.database.fetch(ROWS[stream]):
            rows[row["incarnation"], row["partition"]].append(row)
        return rows

    async def check_rows(self) -> None:
        """Fail unless rows and gaps together are whole, and enriched rows are what the ticks make."""
        ticks, enriched = await self.rows("ticks"), await self.rows("enriched")
        gaps: defaultdict[tuple[str, str, int], list[int]] = defaultdict(list)
        for event in await self.events("gap"):
            place = event["stream"], event["incarnation"], event["partition"]
            gaps[place] += range(event["first_seq"], event["last_seq"] + 1)
        for stream, lives in (("ticks", ticks), ("enriched", enriched)):
            for life, rows in lives.items():
                # A tick that was lost before it was analyzed leaves no event, either.
                known = gaps[("ticks", *life)] if stream == "enriched" else []
                check_whole([row["seq"] for row in rows], gaps[(stream, *life)], known, f"{stream} of {life}")
        for life, rows in ticks.items():
            if not gaps[("ticks", *life)] and not gaps[("enriched", *life)]:
                check_judged(rows, enriched[life])


def check_whole(seqs: Sequence[int], gaps: Sequence[int], known: Sequence[int], what: str) -> None:
    """Rows and gaps together: every number once, but for those that are `known` to be missing."""
    # Two may tell of the same loss: the persister of what was deleted, the analyzer of what never came.
    found = sorted([*seqs, *set(gaps)])
    assert len(set(found)) == len(found), f"{what}: a number is there twice"
    missing = set(range(1, found[-1] + 1)) - set(found) - set(known)
    assert not missing, f"{what}: {sorted(missing)[:5]} … are neither stored nor reported"


def check_judged(ticks: Sequence[asyncpg.Record], enriched: Sequence[asyncpg.Record]) -> None:
    """The rows of a life: averages and alerts are those of its ticks from the first on."""
    count = min(len(ticks), len(enriched))
    judged = expect([(row["ticker"], row["price"]) for row in ticks[:count]], PERIOD).judged
    assert [(row["sma"], row["alert"]) for row in enriched[:count]] == [(each.sma, each.alert) for each in judged]


@asynccontextmanager
async def simulating(
    redis_url: str,
    redis: Redis,
    database_url: str,
    folder: Path,
    services: Sequence[str] = SERVICES,
    *,
    with_persister: bool = True,
    **variables: str,
) -> AsyncIterator[Simulation]:
    """The services at work, with a viewer, until the body ends; they are killed then unless it has stopped them."""
    settings = {"SOURCE": "simulated", "SIMULATED_RATE": str(RATE), "SIMULATED_SEED": "7", "TICKERS": TICKERS, **variables}
    async with Pipeline(redis_url, database_url, folder, PARTITIONS, **settings) as pipeline:
        await migrate_redis(redis, PARTITIONS, PERIOD, with_persister=with_persister)
        await migrate_postgres(database_url, PARTITIONS)
        database = await asyncpg.connect(database_url)
        try:
            simulation = Simulation(pipeline, redis, database)
            for name in services:
                simulation.start(name)
            await simulation.until(simulation.services["gateway"].has_said("listening"), "the gateway to listen")
            async with simulation.viewer:
                yield simulation
        finally:
            async with asyncio.timeout(10):
                await database.close()
