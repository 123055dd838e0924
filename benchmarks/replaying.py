"""A file of a million rows through the whole pipeline, as fast as it goes, until every row is stored twice: as tick and as event."""

import time
from pathlib import Path

from benchmarks.ground import Ground, make_batches
from benchmarks.pipeline import started
from benchmarks.report import Row

REPLAYED = 1_000_000


async def measure(ground: Ground) -> list[Row]:
    """Once, starting the services included."""
    path = Path(ground.directory, "replay.csv")
    with path.open("w", encoding="ascii") as file:
        file.write("ticker,price,ts\n")
        for batch in make_batches(REPLAYED, 1000):
            file.writelines(f"{ticker},{price},{ts}\n" for ticker, price, ts, *_ in batch)
    start = time.perf_counter()
    async with started(ground, SOURCE="replay", REPLAY_FILE=str(path)) as run:
        await run.until_all_stored(REPLAYED)
        rate = REPLAYED / (time.perf_counter() - start)
    return [Row(f"whole pipeline, replay of {REPLAYED:,} rows, until all are stored", rate, "ticks/s", 20_000), *run.memory_rows()]
