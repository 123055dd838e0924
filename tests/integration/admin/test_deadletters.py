"""`tickstream deadletters` as a process on a real Redis: what it shows, what it changes, how it ends."""

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner

from services.admin.cli import app
from shared import streams
from shared.deadletters import FUTURE_REASON
from shared.redis.log import Rejected, append, freeze
from shared.testing.oracle import expect
from tests.e2e.running_up import environment, on_terminal
from tests.faults.proxy import Cut, FaultProxy
from tests.integration.gateway.market import CAP, PERIOD, Market

ROOT = Path(__file__).parents[3]
PATIENCE_SECONDS = 30
TS = "1771105101950"
COMMAND = (sys.executable, "-m", "services.admin", "deadletters")


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: list[str]
    err: list[str]


async def start(url: str, *arguments: str, **variables: str) -> asyncio.subprocess.Process:
    """Start the command; nobody can be asked, and its output is no terminal."""
    return await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, cwd=ROOT, env={**os.environ, "REDIS_URL": url, **variables},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def end(process: asyncio.subprocess.Process) -> Ended:
    """Wait for the end of a command."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode().splitlines(), err.decode().splitlines())


async def run(url: str, *arguments: str) -> Ended:
    """Run the command within this process, which takes a tenth of the time, and wait for its end."""
    with patch("services.admin.deadletters_access.run_until_interrupted", lambda main: asyncio.run(main(asyncio.Event()))):
        result = await asyncio.to_thread(CliRunner().invoke, app, ["deadletters", *arguments], env={"REDIS_URL": url})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Ended(result.exit_code, result.stdout.splitlines(), result.stderr.splitlines())


@pytest.fixture
async def market(redis: Redis) -> Market:
    """A deployment with two partitions: AAPL and KO in partition 0, TSLA and MSFT in partition 1."""
    market = Market(redis, partitions=2)
    await market.open()
    return market


async def bury(redis: Redis, p: int, *letters: tuple[str, str], producer: str = "r") -> None:
    """Dead letters of a replay: (reason, payload)."""
    first = int(await redis.hget(streams.producers(p), producer) or 0) + 1
    batch = freeze(first, [], [Rejected(place, *letter) for place, letter in enumerate(letters)])
    await append(redis, p, token="token", producer=producer, batch=batch, cap=CAP)


async def names(redis: Any, p: int) -> list[str]:
    return [f"{p}:{entry_id}" for entry_id, _ in await redis.xrange(streams.deadletters(p))]


async def prices(redis: Any, p: int) -> list[str]:
    return [f"{fields['ticker']} {fields['price']}" for _, fields in await redis.xrange(streams.ticks(p))]


def early(ticker: str, price: str) -> tuple[str, str]:
    """What `append` makes of a tick that is ahead of time, and by now no more."""
    return FUTURE_REASON, f"{ticker},{price},{TS},simulated,,,"


async def test_list_shows_the_newest_of_all_partitions_first_and_counts_all_by_reason(market: Market, redis_url: str) -> None:
    for number, p in enumerate((0, 1, 0, 1)):
        await bury(market.redis, p, (f"line {number}: price 'x' is not a number", f"AAPL,x,{number}"))
        await asyncio.sleep(0.002)  # ids of two partitions are ordered by their millisecond
    await bury(market.redis, 1, early("KO", "1"))
    await market.redis.hset(streams.log(1), "deadletters_dropped", "5")
    ended = await run(redis_url, "list", "--limit", "3")
    assert (ended.code, ended.err) == (0, [])
    zero, one = await names(market.redis, 0), await names(market.redis, 1)
    assert [line.split()[0] for line in ended.out[:3]] == [one[2], one[1], zero[1]]
    assert ended.out[1].endswith("  line 3: price 'x' is not a number")
    assert ended.out[4:] == [
        "5 dead letters, the newest 3 shown; 5 older ones fell off, a partition keeps the newest 100000",
        "      4  line N: price '…' is not a number",
        "      1  ts is more than N s in the future",
    ]


async def test_list_chooses_by_reason_ticker_and_partition_also_as_json(market: Market, redis_url: str) -> None:
    await bury(market.redis, 0, early("AAPL", "1"), early("MSFT", "2"), ("line 7: ts 'x' is no time", "AAPL,1,x"))
    await bury(market.redis, 1, early("KO", "3"))
    for arguments, payloads in (
        (["--ticker", "AAPL"], ["AAPL,1,x", early("AAPL", "1")[1]]),
        (["--ticker", "AAPL", "--reason", "FUTURE"], [early("AAPL", "1")[1]]),
        (["--partition", "1"], [early("KO", "3")[1]]),
        (["--partition", "0", "--limit", "1"], ["AAPL,1,x"]),
    ):
        ended = await run(redis_url, "list", "--json", *arguments)
        assert [json.loads(line)["payload"] for line in ended.out] == payloads
    assert (await run(redis_url, "list", "--partition", "2")).err == ["--partition 2: this deployment has 2, from 0 on"]


async def test_show_tells_all_of_a_letter_and_what_a_retry_would_do(market: Market, redis_url: str) -> None:
    await bury(market.redis, 0, ("finnhub AAPL: not JSON", "<html>\x1b[2J\n"), early("AAPL", "12.50"))
    await market.redis.xadd(streams.ticks(0), {"ticker": "AAPL", "price": "-1"})
    await market.analyze(0)
    answer, tick, entry = [(await run(redis_url, "show", name)).out for name in await names(market.redis, 0)]
    assert answer[2:] == [
        "from     input that never became an entry",
        "reason   finnhub AAPL: not JSON",
        "retry    not possible: price is missing (--set price=… gives it)",
        "payload  11 bytes",
        "<html>\\x1b[2J\\n",
    ]
    assert tick[4] == "retry    appends AAPL 12.5 of 2026-02-14T21:38:21.950+00:00, source simulated"
    assert entry[2].startswith("from     entry ")
    assert entry[2].endswith(" of ticks:{0}")
    ended = await run(redis_url, "show", "0:1-1")
    assert (ended.code, ended.out) == (1, [])
    assert ended.err == ["0:1-1: no such letter; it may have been retried or dropped"]


async def test_retried_ticks_are_analyzed_as_if_they_came_now(market: Market, redis_url: str) -> None:
    await market.trade("AAPL", "1", "2", "3")
    await bury(market.redis, 0, early("AAPL", "1.50"), ("line 2: ts 'x' is no time", "AAPL,9,x"), early("KO", "7"), early("AAPL", "8"))
    await bury(market.redis, 1, early("MSFT", "5"))
    ended = await run(redis_url, "retry", "--all", "--reason", "in the future")
    assert (ended.code, ended.out, ended.err) == (0, [], ["4 appended, 0 stay"])
    await market.trade("AAPL", "4")
    await market.analyze(1)
    assert await prices(market.redis, 0) == ["AAPL 1", "AAPL 2", "AAPL 3", "AAPL 1.5", "KO 7", "AAPL 8", "AAPL 4"]
    assert await prices(market.redis, 1) == ["MSFT 5"]
    assert len(await names(market.redis, 0)) == 1
    await check_f_of_ticks(market.redis)


async def check_f_of_ticks(redis: Any) -> None:
    """What is committed is f(ticks), by the oracle."""
    for p in (0, 1):
        ticks = [fields for _, fields in await redis.xrange(streams.ticks(p))]
        assert [tick["seq"] for tick in ticks] == [str(n + 1) for n in range(len(ticks))]
        expected = expect([(tick["ticker"], tick["price"]) for tick in ticks], PERIOD)
        enriched = [fields for _, fields in await redis.xrange(streams.enriched(p))]
        assert [(e["ticker"], e["price"], e["sma"], e["alert"]) for e in enriched] == [tuple(judged) for judged in expected.judged]
        for ticker, window in expected.windows.items():
            assert await redis.lrange(streams.prices(p, ticker), 0, -1) == window


async def test_what_is_still_no_tick_stays_with_its_reason_until_a_value_mends_it(market: Market, redis_url: str) -> None:
    await bury(market.redis, 0, ("line 2: price 'x' is not a number", f"AAPL,x,{TS}"))
    (name,) = await names(market.redis, 0)
    ended = await run(redis_url, "retry", name)
    assert (ended.code, ended.err) == (1, [f"{name}: stays, 'x' is not a number", "0 appended, 1 stays"])
    assert await names(market.redis, 0) == [name]
    ended = await run(redis_url, "retry", name, "--set", "price=12.50")
    assert (ended.code, ended.err) == (0, [f"{name}: appended AAPL 12.5 to ticks:{{0}}", "1 appended, 0 stay"])
    assert await prices(market.redis, 0) == ["AAPL 12.5"]
    ended = await run(redis_url, "retry", name)
    assert (ended.code, ended.err[0]) == (1, f"{name}: no such letter; it may have been retried or dropped")


async def test_a_tick_that_is_still_ahead_of_time_stays(market: Market, redis_url: str) -> None:
    later = str(time.time_ns() // 1_000_000 + 3_600_000)
    await bury(market.redis, 0, (FUTURE_REASON, f"AAPL,1,{later},simulated,,,"))
    ended = await run(redis_url, "retry", "--all")
    assert ended.code == 1
    assert ended.err[0].endswith(f"stays, ts {later} is more than 5 s ahead of the clock of Redis")


@pytest.mark.parametrize("function", [b"retry_1", b"drop_1"])
async def test_a_lost_answer_is_waited_out_and_nothing_is_done_twice(market: Market, redis_url: str, function: bytes) -> None:
    await bury(market.redis, 0, early("AAPL", "1"), early("AAPL", "2"))
    async with FaultProxy(redis_url).running() as proxy:
        lost = proxy.plan(Cut((function,), reply_bytes=0))
        is_retry = function == b"retry_1"
        ended = await run(proxy.url, *(["retry", "--all"] if is_retry else ["drop", "--all", "--yes"]))
    assert lost.cuts == 1
    assert ended.code == 0
    assert ended.err[0].startswith("waiting, Ctrl-C ends it: ")
    assert await names(market.redis, 0) == []
    assert await prices(market.redis, 0) == (["AAPL 1", "AAPL 2"] if is_retry else [])
    gone = "1 appended, 0 stay, 1 gone meanwhile (retried or dropped, maybe by a try whose answer was lost)"
    assert ended.err[1:] == [gone if is_retry else "2 dropped"]


async def test_two_retries_at_once_append_each_tick_once(market: Market, redis_url: str) -> None:
    await bury(market.redis, 0, *[early("AAPL", str(number + 1)) for number in range(300)])
    both = await asyncio.gather(*[end(await start(redis_url, "retry", "--all")) for _ in range(2)])
    assert [ended.code for ended in both] == [0, 0]
    assert await prices(market.redis, 0) == [f"AAPL {number + 1}" for number in range(300)]
    assert sum(int(ended.err[-1].split()[0]) for ended in both) == 300


async def test_a_full_stream_is_waited_for_and_an_interrupt_leaves_the_rest(market: Market, redis_url: str) -> None:
    await bury(market.redis, 0, early("AAPL", "1"), early("AAPL", "2"), early("AAPL", "3"))
    process = await start(redis_url, "retry", "--all", STREAM_CAP="2")
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        said = (await process.stderr.readline()).decode()
    assert said == "waiting, Ctrl-C ends it: ticks:{0} is full (STREAM_CAP 2), its readers must make room\n"
    process.send_signal(signal.SIGINT)
    ended = await end(process)
    assert (ended.code, ended.err) == (1, ["2 appended, 0 stay; stopped, the same command goes on from here"])
    ended = await run(redis_url, "retry", "--all")
    assert (ended.code, ended.err) == (0, ["1 appended, 0 stay"])
    assert await prices(market.redis, 0) == ["AAPL 1", "AAPL 2", "AAPL 3"]


async def test_dropped_letters_are_gone_and_the_others_stay(market: Market, redis_url: str) -> None:
    await bury(market.redis, 0, *[("line 7: bad", str(number)) for number in range(450)], early("AAPL", "1"))
    await bury(market.redis, 1, ("line 8: bad", "x"))
    ended = await run(redis_url, "drop", "--all", "--reason", "BAD", "--yes")
    assert (ended.code, ended.err) == (0, ["451 dropped"])
    (name,) = await names(market.redis, 0)
    ended = await run(redis_url, "drop", name, "1:1-1", "--yes")
    assert (ended.code, ended.err) == (1, ["1:1-1: no such letter; it may have been retried or dropped", "1 dropped"])
    ended = await run(redis_url, "drop", "--all", "--yes")
    assert (ended.code, ended.err) == (0, ["no such dead letters"])


async def test_on_a_terminal_drop_asks_first(market: Market, redis_url: str, tmp_path: Path) -> None:
    await bury(market.redis, 0, early("AAPL", "1"))
    variables = environment(tmp_path, 1, REDIS_URL=redis_url, TERM="xterm")
    for answer, code, left in (("n\r", 1, 1), ("y\r", 0, 0)):
        with on_terminal(tmp_path, variables, (*COMMAND, "drop", "--all")) as terminal:
            await asyncio.to_thread(terminal.shows, "Delete 1 dead letter for good? [y/N]:")
            terminal.press(answer)
            await asyncio.to_thread(terminal.shows)
            assert terminal.process.wait(PATIENCE_SECONDS) == code
        assert len(await names(market.redis, 0)) == left


async def test_on_a_terminal_the_list_fits_it(market: Market, redis_url: str, tmp_path: Path) -> None:
    await bury(market.redis, 0, ("line 7: " + "very " * 30 + "bad", "x"))
    variables = environment(tmp_path, 1, REDIS_URL=redis_url, TERM="xterm")
    with on_terminal(tmp_path, variables, (*COMMAND, "list")) as terminal:
        shown = (await asyncio.to_thread(terminal.shows)).splitlines()
        assert terminal.process.wait(PATIENCE_SECONDS) == 0
    assert shown[0].startswith("name ")
    assert max(map(len, shown)) == 80


async def test_a_redis_that_is_not_there_is_told_with_1(redis_url: str) -> None:
    ended = await run("redis://me:geheim@127.0.0.1:1", "list")
    assert ended.code == 1
    assert ended.err[0].startswith("Redis at redis://***@127.0.0.1:1 does not answer: ")


async def test_a_missing_library_is_waited_for_and_says_what_to_do(market: Market, redis_url: str) -> None:
    await bury(market.redis, 0, early("AAPL", "1"))
    await market.redis.function_delete("tickstream_1")
    process = await start(redis_url, "retry", "--all")
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert b"run `tickstream migrate`" in await process.stderr.readline()
    await market.open()
    assert (await end(process)).err == ["1 appended, 0 stay"]
