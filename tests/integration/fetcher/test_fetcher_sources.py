"""What the sources put on the streams."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from redis.asyncio import Redis

from services.fetcher.service import serve
from services.fetcher.settings import FetcherSettings
from shared import streams
from shared.events import parse_tick
from shared.partitions import partition_of
from tests.integration.fetcher.playing import PARTITIONS, entries_of, rows_in, until

SettingsOf = Callable[..., FetcherSettings]


async def run_until(condition: Callable[[], Awaitable[bool]], settings: FetcherSettings) -> None:
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(settings, stop))
    await until(condition)
    stop.set()
    await serving


async def test_the_simulator_gives_every_ticker_its_valid_ticks(ready_redis: Redis, settings: SettingsOf) -> None:
    async def all_tickers_came() -> bool:
        found = await rows_in(ready_redis)
        return len({ticker for rows in found.values() for ticker, _, _ in rows}) == 15

    await run_until(all_tickers_came, settings(fetch_interval_seconds=0.05))
    for partition in range(PARTITIONS):
        for _, fields in await entries_of(ready_redis, streams.ticks(partition)):
            tick = parse_tick(fields)
            assert partition_of(tick.ticker, PARTITIONS) == partition
            assert tick.source == "simulated"
            assert abs(int(tick.ts) / 1000 - time.time()) < 60


async def test_the_simulator_keeps_a_high_rate(ready_redis: Redis, settings: SettingsOf) -> None:
    started = time.monotonic()

    async def a_second_passed() -> bool:
        await asyncio.sleep(0.2)
        return time.monotonic() - started > 1.5

    await run_until(a_second_passed, settings(simulated_rate=10_000, stream_cap=10**6))
    seconds = time.monotonic() - started
    made = sum(len(rows) for rows in (await rows_in(ready_redis)).values())
    assert 0.2 * 10_000 * seconds < made < 1.1 * 10_000 * seconds


async def test_a_seed_gives_the_same_prices_again(ready_redis: Redis, settings: SettingsOf) -> None:
    async def enough() -> bool:
        return all([await ready_redis.xlen(streams.ticks(p)) >= 50 for p in range(PARTITIONS)])

    runs = []
    for _ in range(2):
        await ready_redis.flushdb()
        await run_until(enough, settings(simulated_rate=5_000, simulated_seed="7"))
        runs.append({p: [row[:2] for row in rows[:50]] for p, rows in (await rows_in(ready_redis)).items()})
    assert runs[0] == runs[1]


async def test_without_a_seed_prices_go_on_from_the_latest_known(ready_redis: Redis, settings: SettingsOf) -> None:
    partition = partition_of("KO", PARTITIONS)
    await ready_redis.hset(streams.latest(partition), mapping={"KO": json.dumps({"ticker": "KO", "price": 99.5}), "V": "no json"})

    async def ko_came() -> bool:
        return await ready_redis.xlen(streams.ticks(partition)) > 0

    await run_until(ko_came, settings(tickers=("KO",)))
    _, price, _ = (await rows_in(ready_redis))[partition][0]
    assert abs(float(price) - 99.5) < 1


async def test_the_simulator_waits_at_a_full_stream_and_still_stops_at_once(ready_redis: Redis, settings: SettingsOf) -> None:
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(settings(simulated_rate=20_000, stream_cap=500), stop))

    async def is_full() -> bool:
        return all([await ready_redis.xlen(streams.ticks(p)) >= 500 for p in range(PARTITIONS)])

    await until(is_full)
    lengths = [await ready_redis.xlen(streams.ticks(p)) for p in range(PARTITIONS)]
    stop.set()
    async with asyncio.timeout(5):
        await serving
    assert [await ready_redis.xlen(streams.ticks(p)) for p in range(PARTITIONS)] == lengths


async def test_a_paced_replay_gives_rows_when_they_are_due(ready_redis: Redis, settings: SettingsOf, tmp_path: Path) -> None:
    path = tmp_path / "paced.csv"
    path.write_text("ticker,price,ts\nKO,1,0\nKO,2,1000\nKO,3,2000\nKO,4,500\n")
    started_ms = time.time() * 1000
    await serve(settings(source="replay", replay_file=path, replay_speed=4), asyncio.Event())
    entries = await entries_of(ready_redis, streams.ticks(partition_of("KO", PARTITIONS)))
    assert [fields["price"] for _, fields in entries] == ["1", "2", "3", "4"]
    arrived_ms = [int(entry_id.split("-")[0]) for entry_id, _ in entries]
    assert arrived_ms[1] - started_ms >= 250 - 1
    assert arrived_ms[2] - started_ms >= 500 - 1


async def test_a_paced_replay_that_goes_on_does_not_wait_for_what_is_there(
    ready_redis: Redis, settings: SettingsOf, tmp_path: Path
) -> None:
    path = tmp_path / "hours.csv"
    path.write_text("ticker,price,ts\nKO,1,0\nKO,2,86400000\nKO,3,86400100\n")
    ticks = streams.ticks(partition_of("KO", PARTITIONS))
    paced = settings(source="replay", replay_file=path, replay_speed=1)

    async def first_came() -> bool:
        return await ready_redis.xlen(ticks) == 1

    await run_until(first_came, paced)
    async with asyncio.timeout(30):
        await serve(paced, asyncio.Event())
    assert await ready_redis.xlen(ticks) == 3


async def test_a_replay_takes_only_the_tickers_it_was_given(ready_redis: Redis, settings: SettingsOf, tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_text("ticker,price,ts\nKO,1,0\nV,2,1\n")
    await serve(settings(source="replay", replay_file=path, tickers=("V",)), asyncio.Event())
    assert await rows_in(ready_redis) == {partition_of("V", PARTITIONS): [("V", "2", "1")]}


async def test_a_row_from_the_future_is_a_dead_letter(ready_redis: Redis, settings: SettingsOf, tmp_path: Path) -> None:
    path = tmp_path / "future.csv"
    path.write_text(f"ticker,price,ts\nKO,1,{time.time_ns() // 10**6 + 3_600_000}\nKO,2,5\n")
    await serve(settings(source="replay", replay_file=path), asyncio.Event())
    assert await rows_in(ready_redis) == {partition_of("KO", PARTITIONS): [("KO", "2", "5")]}
    assert await ready_redis.xlen(streams.deadletters(partition_of("KO", PARTITIONS))) == 1


async def test_a_row_from_the_future_holds_up_no_paced_replay(ready_redis: Redis, settings: SettingsOf, tmp_path: Path) -> None:
    path = tmp_path / "future.csv"
    path.write_text("ticker,price,ts\nKO,9,7258118400000\nKO,1,0\nKO,8,7258118400000\nKO,2,100\n")
    async with asyncio.timeout(30):
        await serve(settings(source="replay", replay_file=path, replay_speed=1), asyncio.Event())
    entries = await entries_of(ready_redis, streams.ticks(partition_of("KO", PARTITIONS)))
    assert [fields["price"] for _, fields in entries] == ["1", "2"]
    assert await ready_redis.xlen(streams.deadletters(partition_of("KO", PARTITIONS))) == 2
