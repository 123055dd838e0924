"""Episodes of havoc until the time is up, each verified at its end, and one line that says it all."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.e2e.viewer import Viewer
from tests.faults.endurance.havoc import Havoc
from tests.faults.endurance.judge import Verdict
from tests.faults.endurance.market import Market
from tests.faults.endurance.plant import LONGEST_WAIT_SECONDS, MOST, Plant
from tests.faults.endurance.verify import Verification
from tests.faults.endurance.witness import Witness, give_up

PARTITIONS, PERIOD = 4, 5
EPISODE = "episode.csv"
ROWS = 20_000
"""Of an episode: at 1 row a millisecond of event time some 5 to 20 seconds, and longer with every fault."""
SPEEDS = (1, 1, 2, 4)
COUNTED = ("kills", "pauses", "cuts", "fail-overs", "stops", "scalings", "silences")


@dataclass
class Report:
    """What a run did, and what it found."""

    seed: int
    seconds: float = 0.0
    ticks: int = 0
    episodes: int = 0
    seen: int = 0
    alerts_seen: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    verdict: Verdict = field(default_factory=Verdict)

    def __str__(self) -> str:
        faults = ", ".join(f"{self.counts[name]} {name}" for name in COUNTED)
        v = self.verdict
        found = f"lost {v.lost}, duplicated {v.duplicated}, reordered {v.reordered}, wrong {v.wrong}"
        return f"seed {self.seed}: {self.seconds / 60:.1f} minutes, {self.ticks} ticks, {faults}, {found}"


async def run(seed: int, seconds: float, folder: Path, rows: int = ROWS) -> Report:
    """Run whole episodes of so many rows until `seconds` are over; raise `AssertionError` when something does not come back by itself."""
    report = Report(seed)
    chance = Random(seed)
    market = Market(seed, PARTITIONS, PERIOD)
    async with Plant(folder, market) as plant, plant.look() as redis:
        witness, havoc, verification = Witness(redis, market), Havoc(plant, chance), Verification(plant, market)
        for name in MOST:
            if name != "fetcher":
                plant.start(name)
        watching = asyncio.create_task(witness.follow())
        began = time.monotonic()
        async with Viewer(plant.pipeline.port) as viewer:
            while report.verdict.is_clean and report.seconds < seconds:
                report.episodes += 1
                market.write_episode(folder / EPISODE, rows)
                plant.play(folder / EPISODE, f"episode-{report.episodes}", chance.choice(SPEEDS))
                await play_episode(plant, havoc)
                report.verdict.add(await verification.verify_episode())
                report.verdict.add(witness.verdict)
                await check_viewer(viewer, market, report.verdict)
                report.seconds, report.ticks, report.counts = time.monotonic() - began, market.rows, havoc.counts
                report.seen, report.alerts_seen = witness.seen, len(viewer.book.alerts)
                print(f"episode {report.episodes}: {report}", file=sys.stderr, flush=True)
        await give_up(watching)
        await plant.pipeline.stop()
    return report


async def play_episode(plant: Plant, havoc: Havoc) -> None:
    """Play the file under havoc; return once it is whole in both streams and in PostgreSQL, with nothing broken any more."""
    plant.services["fetcher"].clear()
    plant.start("fetcher")
    over = asyncio.Event()
    breaking = asyncio.create_task(havoc.cause_until(over))
    try:
        await plant.pipeline.until(lambda: is_played(plant, breaking), "the file to be played", seconds=10 * LONGEST_WAIT_SECONDS)
    finally:
        over.set()
        await breaking
    # What a fail-over lost after the last row was accepted, nobody would bring again: one more pass finds nothing, or brings it.
    last = plant.start("fetcher")
    assert await last.finish(LONGEST_WAIT_SECONDS) == 0, "the last pass over the file"
    await plant.until_stored()
    await plant.until_replicated()
    plant.forget_ended()


async def is_played(plant: Plant, breaking: "asyncio.Task[None]") -> bool:
    """Whether a fetcher has come to the end of the file."""
    if breaking.done():
        breaking.result()
    return any(service.process.poll() == 0 and not service.may_end for service in plant.services["fetcher"])


async def check_viewer(viewer: Viewer, market: Market, verdict: Verdict) -> None:
    """What a client shows is the last event of every ticker; every alert it was told is one, and it was told every one, or of a loss."""
    latest = {event.ticker: (seq, event) for events in market.events for seq, event in enumerate(events, start=1)}
    await viewer.until(
        lambda book: {ticker: int(stock["seq"]) for ticker, stock in book.stocks.items()} == {t: seq for t, (seq, _) in latest.items()},
        "the last price of every ticker",
        LONGEST_WAIT_SECONDS,
    )
    for ticker, stock in viewer.book.stocks.items():
        event = latest[ticker][1]
        if (stock["price"], stock["sma"] or "", stock["alert"] or "") != (event.price, event.sma, event.alert):
            verdict.note_wrong(f"a client shows {stock} instead of {event}")
    for name, alert in viewer.book.alerts.items():
        _, partition, seq = name.rsplit(".", 2)
        event = market.events[int(partition)][int(seq) - 1]
        if told(alert) != (event.ticker, event.price, event.sma, event.alert):
            verdict.note_wrong(f"a client was told {alert}, there is {event}")
    for missed in missed_alerts(viewer, market):
        verdict.note_wrong(f"the client was not told {missed}")


def missed_alerts(viewer: Viewer, market: Market) -> Iterator[str]:
    """Every alert that the viewer was told neither itself nor, with `recovered:false`, to do without."""
    seen = {name.split(".", 1)[1] for name in viewer.book.alerts}
    for partition, events in enumerate(market.events):
        for seq, event in enumerate(events, start=1):
            if event.alert and f"{partition}.{seq}" not in seen and not viewer.book.is_excused(event.ticker, seq):
                yield f"{event}, seq {seq} of partition {partition}"


def told(alert: dict[str, str]) -> tuple[str, str, str, str]:
    """An alert as a client was told of it."""
    return alert["ticker"], alert["price"], alert["sma"], alert["direction"]
