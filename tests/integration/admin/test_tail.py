"""`tickstream tail` on a real Redis: what it shows, in which order, and what it says when Redis goes away or loses something."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from services.admin.embedded import EmbeddedRedis
from services.admin.settings import StatusSettings
from services.admin.tail import tail
from services.admin.tail_request import read_request
from shared import streams
from shared.events import iso
from shared.redis.client import connect
from tests.e2e.running_up import environment, on_terminal
from tests.integration.gateway.market import Market

ROOT = Path(__file__).parents[3]
PATIENCE_SECONDS = 20


class Page(StringIO):
    """An output on which a test can wait for lines."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    def write(self, text: str) -> int:
        self._changed.set()
        return super().write(text)

    @property
    def lines(self) -> list[str]:
        return self.getvalue().splitlines()

    async def until(self, words: str, times: int = 1) -> str:
        """The last line with these words, once there are so many."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.getvalue().count(words) < times:
                self._changed.clear()
                await self._changed.wait()
        return next(line for line in reversed(self.lines) if words in line)


class Tailing:
    """A running tail: what it printed, what it said."""

    def __init__(self) -> None:
        self.out, self.err = Page(), Page()

    @property
    def prices(self) -> list[str]:
        """Ticker and price of each line, in order."""
        return [f"{entry['ticker']} {entry['price']}" for entry in map(json.loads, self.out.lines) if "price" in entry]

    async def until_shown(self, *prices: str) -> None:
        """Wait for exactly these."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.prices) < len(prices):
                await self.out.until('"price"', len(self.prices) + 1)
        assert self.prices == list(prices)


@pytest.fixture
async def market(redis: Redis) -> Market:
    """A deployment with two partitions: TSLA and KO in partition 1, AAPL and MSFT in partition 0."""
    market = Market(redis, partitions=2)
    await market.open()
    return market


@asynccontextmanager
async def tailing(
    monkeypatch: pytest.MonkeyPatch, url: str, stream: str = "ticks", *, ticker: str = "", start: str = "", as_json: bool = True
) -> AsyncIterator[Tailing]:
    """Run a tail in the test's own loop; it must end with 0."""
    shown, stop = Tailing(), asyncio.Event()
    monkeypatch.setattr("sys.stdout", shown.out)
    monkeypatch.setattr("sys.stderr", shown.err)
    # PARTITIONS of the environment is not what counts: the deployment says two.
    settings = StatusSettings(redis_url=SecretStr(url), partitions=1)
    running = asyncio.create_task(tail(settings, read_request(stream, ticker, start, as_json=as_json), stop))
    try:
        yield shown
    finally:
        stop.set()
        assert await running == 0


async def ids(redis: Any, partition: int) -> list[str]:
    return [entry_id for entry_id, _ in await redis.xrange(streams.ticks(partition))]


async def test_past_comes_sorted_over_all_partitions_and_then_what_is_new(
    market: Market, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ticker, price in (("AAPL", "1"), ("TSLA", "2"), ("KO", "3"), ("MSFT", "4"), ("TSLA", "5")):
        await market.trade(ticker, price)
        await asyncio.sleep(0.002)  # ids of two partitions are ordered by their millisecond
    async with tailing(monkeypatch, redis_url, start="0") as shown:
        await shown.until_shown("AAPL 1", "TSLA 2", "KO 3", "MSFT 4", "TSLA 5")
        await market.trade("AAPL", "6")
        await shown.until_shown("AAPL 1", "TSLA 2", "KO 3", "MSFT 4", "TSLA 5", "AAPL 6")
    assert not shown.err.lines


async def test_without_from_only_new_entries_come(market: Market, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await market.trade("AAPL", "1")
    async with tailing(monkeypatch, redis_url) as shown:
        await blocked_reads(market.redis, 2)
        await market.trade("AAPL", "2")
        await market.trade("TSLA", "3")
        await shown.out.until("TSLA")
    assert shown.prices == ["AAPL 2", "TSLA 3"]


async def blocked_reads(redis: Any, number: int) -> None:
    """Wait until so many tails have read what there was and wait for more."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await redis.info("clients"))["blocked_clients"] < number:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("form", ["id", "time"])
async def test_from_means_the_entry_itself_and_all_after_it(
    market: Market, redis_url: str, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    await market.trade("AAPL", "1")
    await asyncio.sleep(0.002)
    await market.trade("AAPL", "2", "3")
    _, second, _ = await ids(market.redis, 0)
    start = second if form == "id" else iso(second.partition("-")[0])
    async with tailing(monkeypatch, redis_url, start=start) as shown:
        await shown.until_shown("AAPL 2", "AAPL 3")


async def test_one_ticker_is_shown_alone(market: Market, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await market.trade("TSLA", "1")
    await market.trade("KO", "2")
    await market.trade("AAPL", "3")
    await market.redis.xadd(streams.ticks(1), {"foo": "bar"})
    await market.trade("TSLA", "4")
    async with tailing(monkeypatch, redis_url, start="0", ticker="TSLA") as shown:
        await shown.until_shown("TSLA 1", "TSLA 4")
        assert len(shown.out.lines) == 2


async def test_fields_are_those_of_the_stream(market: Market, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await market.trade("AAPL", "255.78", "0.00000001", "999999999999.5")
    redis: Any = market.redis
    stored = await redis.xrange(streams.enriched(0))
    async with tailing(monkeypatch, redis_url, "enriched", start="0") as shown:
        await shown.out.until("999999999999.5")
    assert [json.loads(line) for line in shown.out.lines] == [{"id": entry_id, "partition": 0, **fields} for entry_id, fields in stored]


async def test_entry_that_is_no_event_is_shown_marked_and_passed_over(
    market: Market, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tailing(monkeypatch, redis_url, start="0", as_json=False) as shown:
        await market.redis.xadd(streams.ticks(0), {"foo": b"\xff\x1b[2J"})
        line = await shown.out.until("no event")
        assert line.isprintable()
        assert '["foo", "' in line
        await market.trade("AAPL", "7")
        await shown.out.until("AAPL")
    assert not shown.err.lines


async def test_tail_writes_nothing(market: Market, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await market.trade("AAPL", "1", "2")
    before = await dumps(market.redis)
    async with tailing(monkeypatch, redis_url, "enriched", start="0") as shown:
        await shown.until_shown("AAPL 1", "AAPL 2")
        await blocked_reads(market.redis, 2)
    assert await dumps(market.redis) == before


async def dumps(redis: Any) -> dict[str, bytes]:
    return {key: await redis.execute_command("DUMP", key, NEVER_DECODE=True) async for key in redis.scan_iter()}


async def test_tail_before_the_deployment_exists_shows_its_first_entries(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = Market(redis, partitions=1)
    async with tailing(monkeypatch, redis_url) as shown:
        await blocked_reads(redis, 1)
        await market.open()
        await market.trade("AAPL", "1")
        await shown.until_shown("AAPL 1")
    assert not shown.err.lines


async def test_flushed_redis_is_told_and_the_new_entries_come(market: Market, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await market.trade("AAPL", "1", "2", "3")
    async with tailing(monkeypatch, redis_url, start="0") as shown:
        await shown.until_shown("AAPL 1", "AAPL 2", "AAPL 3")
        await market.lose_everything()
        await market.trade("AAPL", "9")
        await shown.until_shown("AAPL 1", "AAPL 2", "AAPL 3", "AAPL 9")
        await shown.err.until("partition 0: Redis lost everything")


async def test_flushed_redis_is_told_also_while_nobody_sets_it_up_again(
    market: Market, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await market.trade("AAPL", "1")
    async with tailing(monkeypatch, redis_url, start="0") as shown:
        await shown.until_shown("AAPL 1")
        await market.redis.flushdb()
        await shown.err.until("partition 0: Redis lost everything")
        await shown.err.until("partition 1: Redis lost everything")
        await market.open()
        await market.trade("AAPL", "9")
        await shown.until_shown("AAPL 1", "AAPL 9")
    assert len(shown.err.lines) == 2


@pytest.fixture
async def own_market(redis_server: EmbeddedRedis) -> AsyncIterator[Market]:
    async with connect(redis_server.url, service="tests") as client:
        market = Market(client, partitions=2)
        await market.open()
        yield market


async def test_killed_redis_is_told_once_and_nothing_is_skipped_or_doubled(
    redis_server: EmbeddedRedis, own_market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tailing(monkeypatch, redis_server.url, start="0") as shown:
        await own_market.trade("AAPL", "1")
        await own_market.trade("TSLA", "2")
        await shown.out.until("TSLA")
        await asyncio.to_thread(redis_server.kill)
        await shown.err.until("Redis is away")
        await asyncio.to_thread(redis_server.start)
        await shown.err.until("Redis is back")
        await own_market.reconnect()
        await own_market.trade("AAPL", "3")
        await own_market.trade("TSLA", "4")
        await shown.out.until('"4"')
        await shown.err.until("a new incarnation began (Redis restarted?); nothing was lost", times=2)
    assert sorted(shown.prices) == ["AAPL 1", "AAPL 3", "TSLA 2", "TSLA 4"]
    assert shown.err.getvalue().count("Redis is away") == shown.err.getvalue().count("Redis is back") == 1


async def test_lost_entries_are_told_and_what_took_their_place_is_shown(
    redis_server: EmbeddedRedis, own_market: Market, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await own_market.trade("AAPL", "1", "2")
    async with tailing(monkeypatch, redis_server.url, start="0") as shown:
        shutil.copytree(redis_server.data_dir, tmp_path / "backup")
        await own_market.trade("AAPL", "3")
        await shown.until_shown("AAPL 1", "AAPL 2", "AAPL 3")
        await asyncio.to_thread(redis_server.kill)
        shutil.rmtree(redis_server.data_dir)
        shutil.copytree(tmp_path / "backup", redis_server.data_dir)
        await asyncio.to_thread(redis_server.start)
        await own_market.reconnect()
        await own_market.trade("AAPL", "8", "9")
        await shown.until_shown("AAPL 1", "AAPL 2", "AAPL 3", "AAPL 8", "AAPL 9")
        await shown.err.until("partition 0: Redis lost what came after seq 2, up to seq 3")


@contextmanager
def started(url: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command as a process of its own, its output in a pipe."""
    command = (sys.executable, "-m", "services.admin", "tail", *arguments)
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "REDIS_URL": url}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def test_interrupt_ends_it_with_0(market: Market, redis_url: str) -> None:
    await market.trade("AAPL", "1")
    with started(redis_url, "ticks", "--from", "0") as process:
        assert process.stdout is not None
        assert "AAPL" in await asyncio.to_thread(process.stdout.readline)
        process.send_signal(signal.SIGINT)
        out, err = await asyncio.to_thread(process.communicate, timeout=PATIENCE_SECONDS)
    assert (process.returncode, out, err) == (0, "", "")


async def test_on_a_terminal_columns_have_heads_and_alerts_are_coloured(market: Market, redis_url: str, tmp_path: Path) -> None:
    await market.trade("AAPL", "10", "9", "401.32")
    variables = environment(tmp_path, 1, REDIS_URL=redis_url, TERM="xterm", NO_COLOR="")
    command = (sys.executable, "-m", "services.admin", "tail", "enriched", "--from", "0")
    with on_terminal(tmp_path, variables, command) as terminal:
        shown = await asyncio.to_thread(terminal.shows, "\x1b[32m▲ bullish\x1b[0m")
        terminal.press("\x03")
        await asyncio.to_thread(terminal.shows)
        assert terminal.process.wait(PATIENCE_SECONDS) == 0
    assert "time (UTC)" in shown.splitlines()[0]


@pytest.mark.parametrize("entries", [1, 3000], ids=["while it waits", "while it writes"])
async def test_closed_pipe_ends_it_quietly_with_0(market: Market, redis_url: str, entries: int) -> None:
    for start in range(0, entries, 1000):
        await market.append([("AAPL", str(number + 1), "1771105101950") for number in range(start, min(start + 1000, entries))])
    with started(redis_url, "ticks", "--from", "0") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "AAPL" in await asyncio.to_thread(process.stdout.readline)
        process.stdout.close()
        assert await asyncio.to_thread(process.wait, PATIENCE_SECONDS) == 0
        assert process.stderr.read() == ""
