"""R1: Redis killed and started again with an append-only file whose end is missing, as after a power cut.

Whatever is missing, what survived is whole calls: at every cut the results equal f(ticks), and readers are told of the loss.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.admin.embedded import EmbeddedRedis, find_free_port
from services.analyzer.state_machine import StateMachine
from shared import streams
from shared.incarnations import Resolution, resolve
from shared.redis import log
from shared.redis.client import connect
from shared.redis.log import Answer
from shared.testing.oracle import expect
from tests.integration.partition import PERIOD, PartitionUnderTest, set_up

BEFORE = ["5", "6", "5", "5", "5", "5", "7", "4"]
AFTER = ["4", "9", "3"]
"""With crossovers, and a flat stretch longer than the window in between."""
CUTS = 49


@dataclass(frozen=True)
class Recorded:
    """A data directory of a server that has ended, and how long its append-only file was at certain moments."""

    data_dir: Path
    bytes_before_append: int
    bytes_at_end: int


def append_only_file(data_dir: Path) -> Path:
    """The file that grows with each write."""
    (path,) = data_dir.glob("*/appendonlydir/*.incr.aof")
    return path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A partition where the last append and the last commit are what may be missing."""
    return asyncio.run(record(tmp_path_factory.mktemp("recorded") / "redis"))


async def record(data_dir: Path) -> Recorded:
    """Fill a partition, and end its server as a crash would."""
    with EmbeddedRedis(data_dir, find_free_port()) as server:
        async with connect(server.url, service="tests") as redis:
            partition = await set_up(redis)
            await partition.append(*BEFORE[:5])
            await partition.analyze()
            await partition.append(*BEFORE[5:])
            await partition.analyze()
            before = append_only_file(data_dir).stat().st_size
            await partition.append(*AFTER)
            await partition.append("8", "2", ticker="KO")
            await partition.analyze()
        server.kill()
        return Recorded(data_dir, before, append_only_file(data_dir).stat().st_size)


@asynccontextmanager
async def started_without(recorded: Recorded, cut_bytes: int, folder: Path) -> AsyncIterator[PartitionUnderTest]:
    """The partition on a server that starts with a copy of the data whose last bytes are missing."""
    shutil.copytree(recorded.data_dir, folder / "redis")
    file = append_only_file(folder / "redis")
    with file.open("rb+") as end:
        end.truncate(recorded.bytes_at_end - cut_bytes)
    with EmbeddedRedis(folder / "redis", find_free_port()) as server:
        async with connect(server.url, service="tests") as redis:
            yield PartitionUnderTest(redis)


async def check_whole(partition: PartitionUnderTest) -> list[str]:
    """Results, windows, sides and cursor are those of the ticks up to the cursor; return the prices of all ticks of AAPL."""
    ticks = await partition.redis.xrange(streams.ticks(0))
    enriched = await partition.redis.xrange(streams.enriched(0))
    assert [int(fields["seq"]) for _, fields in ticks] == list(range(1, len(ticks) + 1))
    assert [fields["tick_id"] for _, fields in enriched] == [tick_id for tick_id, _ in ticks[: len(enriched)]]
    wanted = expect([(fields["ticker"], fields["price"]) for _, fields in ticks[: len(enriched)]], PERIOD)
    assert [(f["ticker"], f["price"], f["sma"], f["alert"]) for _, f in enriched] == [tuple(judged) for judged in wanted.judged]
    state = await log.load(partition.redis, 0)
    assert (state.cursor, state.seq) == (enriched[-1][1]["tick_id"], len(enriched))
    assert (state.sides, state.prices) == (wanted.sides, wanted.windows)
    return [fields["price"] for _, fields in ticks if fields["ticker"] == "AAPL"]


async def go_on(partition: PartitionUnderTest) -> None:
    """A producer that goes back to what is stored, and an analyzer: as if nothing had been."""
    partition.number = (await log.producer_numbers(partition.redis, 1, "f"))[0]
    rows = [*(("AAPL", price) for price in (*BEFORE, *AFTER)), ("KO", "8"), ("KO", "2")]
    for ticker, price in rows[partition.number :]:
        assert (await partition.append(price, ticker=ticker)).answer is Answer.OK
    while (state := await log.load(partition.redis, 0)).seq < len(rows):
        found = await log.read(partition.redis, "ticks", 0, state.cursor, count=2, block_ms=0)
        committed = await partition.commit(state, StateMachine(state).digest(found.entries, found.seq))
        assert committed.answer is Answer.OK


async def cut_and_check(recorded: Recorded, cut_bytes: int, folder: Path) -> None:
    async with started_without(recorded, cut_bytes, folder) as partition:
        await check_whole(partition)
        await go_on(partition)
        assert await check_whole(partition) == [*BEFORE, *AFTER]
        head = await log.head(partition.redis, 0)
        (ended,) = head.lineage
        for stream in ("ticks", "enriched"):
            everything = len(BEFORE) + len(AFTER) + 2
            told = resolve(stream, ended.incarnation, everything, head)
            assert told is (Resolution.CONTINUE if ended.end_on(stream).seq == everything else Resolution.REWIND)
    shutil.rmtree(folder)


def places(count: int) -> list[object]:
    """Where to cut, as parts of what the last calls wrote; one in six is tried by `make test`."""
    return [pytest.param(place / (count - 1), marks=() if place % 6 == 0 else pytest.mark.long, id=f"{place}") for place in range(count)]


@pytest.mark.parametrize("part", places(CUTS))
async def test_whatever_is_missing_of_the_append_only_file_what_survived_is_whole_and_the_loss_is_told(
    part: float, recorded: Recorded, tmp_path: Path
) -> None:
    await cut_and_check(recorded, round(part * (recorded.bytes_at_end - recorded.bytes_before_append)), tmp_path / "copy")
