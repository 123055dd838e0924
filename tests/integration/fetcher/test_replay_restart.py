"""A replay that is killed, doubled, cut off or repeated still gives exactly the rows of its file."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

from shared import streams
from shared.redis.log import producer_numbers
from tests.integration.fetcher.playing import PARTITIONS, Fetcher, entries_of, rows_in, rows_of, until

Start = Callable[..., Awaitable[Fetcher]]
PricesFile = Callable[..., Path]

ROWS = 40_000
"""Two thirds of them take longer to play than a look at how far it is, however busy or fast the machine."""


async def at_least(redis: Redis, replay_id: str, rows: int) -> None:
    async def enough() -> bool:
        return sum(await producer_numbers(redis, PARTITIONS, replay_id)) >= rows

    await until(enough)


def events(fetcher: Fetcher) -> list[str]:
    return [json.loads(line)["event"] for line in fetcher.log.splitlines()]


async def test_a_replay_killed_again_and_again_gives_every_row_once(
    ready_redis: Redis, start_fetcher: Start, prices_file: PricesFile
) -> None:
    path = prices_file(ROWS, bad_every=100)
    for rows in (3_000, 8_000, 13_000):
        killed = await start_fetcher(SOURCE="replay", REPLAY_FILE=path, REPLAY_ID="killed")
        await at_least(ready_redis, "killed", rows)
        killed.process.send_signal(signal.SIGKILL)
        assert await killed.finish() == -signal.SIGKILL
        assert sum(await producer_numbers(ready_redis, PARTITIONS, "killed")) < ROWS
    last = await start_fetcher(SOURCE="replay", REPLAY_FILE=path, REPLAY_ID="killed")
    assert await last.finish() == 0
    assert await rows_in(ready_redis) == rows_of(path)
    dead = [fields for p in range(PARTITIONS) for _, fields in await entries_of(ready_redis, streams.deadletters(p))]
    assert [letter["reason"].split(":")[0] for letter in dead] == [f"line {2 + 100 * n}" for n in range(ROWS // 100)]
    assert dead[1]["payload"] == "ko,100.5,1700000000100,1"
    assert "replay complete" in events(last)


async def test_a_stopped_replay_ends_in_order_and_goes_on(ready_redis: Redis, start_fetcher: Start, prices_file: PricesFile) -> None:
    path = prices_file(ROWS)
    stopped = await start_fetcher(SOURCE="replay", REPLAY_FILE=path, REPLAY_ID="stopped")
    await at_least(ready_redis, "stopped", 3_000)
    stopped.process.send_signal(signal.SIGTERM)
    assert await stopped.finish() == 0
    assert not any([await ready_redis.hget(streams.lease("fetcher", p), "token") for p in range(PARTITIONS)])
    again = await start_fetcher(SOURCE="replay", REPLAY_FILE=path, REPLAY_ID="stopped")
    assert await again.finish() == 0
    assert await rows_in(ready_redis) == rows_of(path)


@pytest.mark.long
async def test_a_finished_replay_says_so_and_another_id_plays_it_again(
    ready_redis: Redis, start_fetcher: Start, prices_file: PricesFile
) -> None:
    path = prices_file(500)
    assert await (await start_fetcher(SOURCE="replay", REPLAY_FILE=path)).finish() == 0
    again = await start_fetcher(SOURCE="replay", REPLAY_FILE=path)
    assert await again.finish() == 0
    assert "already complete; set REPLAY_ID to play it again" in events(again)
    assert await rows_in(ready_redis) == rows_of(path)
    other = await start_fetcher(SOURCE="replay", REPLAY_FILE=path, REPLAY_ID="once-more")
    assert await other.finish() == 0
    assert await rows_in(ready_redis) == {p: rows * 2 for p, rows in rows_of(path).items()}


async def test_a_second_fetcher_takes_over_from_a_killed_one(ready_redis: Redis, start_fetcher: Start, prices_file: PricesFile) -> None:
    path = prices_file(ROWS)
    first = await start_fetcher(SOURCE="replay", REPLAY_FILE=path)
    second = await start_fetcher(SOURCE="replay", REPLAY_FILE=path)

    async def is_on_its_way() -> bool:
        return sum([await ready_redis.xlen(streams.ticks(p)) for p in range(PARTITIONS)]) > 5_000

    await until(is_on_its_way)
    first.process.send_signal(signal.SIGKILL)
    await first.finish()
    assert await second.finish() == 0
    assert await rows_in(ready_redis) == rows_of(path)


async def test_another_file_under_the_same_id_is_refused(ready_redis: Redis, start_fetcher: Start, prices_file: PricesFile) -> None:
    assert await (await start_fetcher(SOURCE="replay", REPLAY_FILE=prices_file(100), REPLAY_ID="mine")).finish() == 0
    wrong = await start_fetcher(SOURCE="replay", REPLAY_FILE=prices_file(10), REPLAY_ID="mine")
    assert await wrong.finish() == 2
    assert "REPLAY_ID=mine: names the replay of another file" in wrong.log


async def test_a_wrong_header_is_one_line_and_exit_2(start_fetcher: Start, tmp_path: Path) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text("symbol,price,ts\nKO,1,5\n")
    wrong = await start_fetcher(SOURCE="replay", REPLAY_FILE=path, REDIS_URL="redis://127.0.0.1:1")
    assert await wrong.finish() == 2
    assert wrong.log.splitlines()[-1] == f"REPLAY_FILE={path}: line 1: the header must be ticker,price,ts[,volume], but ticker is missing"


@pytest.mark.long
async def test_a_long_file_needs_no_more_memory_than_a_short_one(ready_redis: Redis, start_fetcher: Start, prices_file: PricesFile) -> None:
    peaks = []
    for rows in (10, 300_000):
        path = prices_file(rows, bad_every=3)
        fetcher = await start_fetcher(SOURCE="replay", REPLAY_FILE=path)
        reading = asyncio.create_task(fetcher.finish())
        peak = 0
        while not reading.done():
            peak = max(peak, _peak_bytes(fetcher.process.pid))
            await asyncio.sleep(0.01)
        assert await reading == 0
        peaks.append(peak)
    assert peaks[0] > 0
    assert peaks[1] - peaks[0] < 30 << 20


def _peak_bytes(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0
