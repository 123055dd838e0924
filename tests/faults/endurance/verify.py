"""What stands in PostgreSQL after an episode, compared with what must: every row once, in order, with the right name and value."""

from dataclasses import dataclass

import asyncpg

from shared.incarnations import Head, label
from shared.redis import log
from shared.redis.client import connect
from tests.faults.endurance.judge import Found, Verdict, compare
from tests.faults.endurance.market import Event, Market
from tests.faults.endurance.plant import Plant

ROWS = {
    "ticks": """
        SELECT incarnation, seq, (extract(epoch FROM ts) * 1000)::bigint::text AS ts, ticker, price::text, '' AS sma, '' AS alert
        FROM ticks WHERE partition = $1 AND seq >= $2 ORDER BY seq, incarnation""",
    "enriched": """
        SELECT incarnation, seq, (extract(epoch FROM ts) * 1000)::bigint::text AS ts, ticker, price::text,
               coalesce(sma::text, '') AS sma, coalesce(alert, '') AS alert
        FROM enriched WHERE partition = $1 AND seq >= $2 ORDER BY seq, incarnation""",
}
LOSSES = "SELECT kind, stream, partition, first_seq, last_seq FROM stream_events"


@dataclass(frozen=True)
class Loss:
    """A range of seqs that was reported as lost."""

    stream: str
    partition: int
    first: int
    last: int

    def covers(self, stream: str, partition: int, seq: int) -> bool:
        """Whether that entry was reported."""
        return (self.stream, self.partition) == (stream, partition) and self.first <= seq <= self.last


class Verification:
    """Verifies one episode after the other; what was verified is not looked at again."""

    def __init__(self, plant: Plant, market: Market) -> None:
        self._plant = plant
        self._market = market
        self._verified = [0] * market.partitions

    async def verify_episode(self) -> Verdict:
        """Compare what came since the last look, in both tables."""
        verdict = Verdict()
        losses = await self._reported(verdict)
        async with connect(self._plant.primary.url, service="faults") as redis:
            heads = [await log.head(redis, p) for p in range(self._market.partitions)]
        for p, head in enumerate(heads):
            for stream in ROWS:
                verdict.add(await self._verify(stream, p, head, losses))
            self._verified[p] = len(self._market.events[p])
        return verdict

    async def _reported(self, verdict: Verdict) -> list[Loss]:
        """The rewinds that were reported; no other kind of loss may happen in these runs."""
        losses = []
        for row in await self._plant.fetch(LOSSES):
            if row["kind"] == "rewind":
                losses.append(Loss(row["stream"], row["partition"], row["first_seq"], row["last_seq"]))
            else:
                verdict.note_wrong(f"stream_events has {dict(row)}")
        return losses

    async def _verify(self, stream: str, partition: int, head: Head, losses: list[Loss]) -> Verdict:
        first = self._verified[partition] + 1
        kept: list[Found] = []
        verdict = Verdict()
        for row in await self._plant.fetch(ROWS[stream], partition, first):
            if row["incarnation"] == label(stream, row["seq"], head):
                kept.append(found_of(row))
            elif not any(loss.covers(stream, partition, row["seq"]) for loss in losses):
                verdict.note_wrong(
                    f"{stream} of partition {partition} has seq {row['seq']} of {row['incarnation']}, and no loss was reported"
                )
        wanted = self._market.events[partition][first - 1 :]
        verdict.add(compare(f"rows of {stream}, partition {partition}", kept, wanted, first, is_judged=stream == "enriched"))
        return verdict


def found_of(row: asyncpg.Record) -> Found:
    """A row as the judge takes it."""
    return Found(row["seq"], Event(row["ts"], row["ticker"], row["price"], row["sma"], row["alert"]))
