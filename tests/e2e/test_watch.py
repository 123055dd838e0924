"""`tickstream watch` beside a gateway process: a table on a terminal, lines elsewhere, and back after every cut."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from services.admin.embedded import EmbeddedRedis, find_free_port
from shared.redis.client import connect
from tests.e2e.pipeline import Pipeline
from tests.e2e.running_up import PATIENCE_SECONDS, environment, on_terminal, running
from tests.integration.gateway.market import PERIOD, Market

WATCH = (sys.executable, "-m", "services.admin", "watch")
CTRL_C = "\x03"
CURSOR_SHOWN, CURSOR_HIDDEN = "\x1b[?25h", "\x1b[?25l"
FALL, RISE = ("10", "9"), ("401.32",)
"""Prices that make a window of two, and then an alert."""


@pytest.fixture
async def market(redis: Redis) -> Market:
    """A deployment with two partitions, and a price of each of two tickers."""
    market = Market(redis, partitions=2)
    await market.open()
    await market.trade("AAPL", *FALL)
    await market.trade("TSLA", "7")
    return market


@pytest.fixture
async def gateways(market: Market, redis_url: str, tmp_path: Path) -> AsyncIterator[Pipeline]:
    """A gateway process on the market; it can be killed and started again."""
    async with Pipeline(redis_url, "", tmp_path, market.partitions, SMA_PERIOD=str(PERIOD)) as pipeline:
        await start_gateway(pipeline)
        yield pipeline


async def start_gateway(pipeline: Pipeline) -> None:
    gateway = pipeline.start("gateway")
    await pipeline.until(gateway.has_said("listening"), "a gateway that listens")


def run(directory: Path, port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a watch that ends by itself."""
    command, variables = (*WATCH, *arguments), environment(directory, port)
    return subprocess.run(command, cwd=directory, env=variables, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


async def test_without_a_terminal_it_prints_alerts_and_says_when_the_gateway_goes_and_comes(
    gateways: Pipeline, market: Market, tmp_path: Path
) -> None:
    with running(tmp_path, environment(tmp_path, gateways.port), WATCH) as watch:
        await asyncio.to_thread(watch.says, f"connected to ws://127.0.0.1:{gateways.port}/ws/stocks/")
        await market.trade("AAPL", *RISE)
        assert "AAPL bullish 401.32, SMA 205.16" in await asyncio.to_thread(watch.says, "bullish")
        gateways.started[-1].kill()
        said = watch.lines.index(await asyncio.to_thread(watch.says, "gateway away: connection "))
        await start_gateway(gateways)
        await asyncio.to_thread(watch.says, "connected to", said)
        await market.trade("AAPL", *FALL)
        await asyncio.to_thread(watch.says, "AAPL bearish 10, SMA 205.66", said)
        assert watch.end() == 0
    assert not [line for line in watch.lines if "Traceback" in line]


async def test_redis_that_goes_away_is_told_with_the_time(redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    async with connect(redis_server.url, service="tests") as client:
        market = Market(client, partitions=1)
        await market.open()
    async with Pipeline(redis_server.url, "", tmp_path, 1, SMA_PERIOD=str(PERIOD)) as pipeline:
        await start_gateway(pipeline)
        with running(tmp_path, environment(tmp_path, pipeline.port), WATCH) as watch:
            await asyncio.to_thread(watch.says, "connected to")
            await asyncio.to_thread(redis_server.kill)
            said = watch.lines.index(await asyncio.to_thread(watch.says, "Redis away since "))
            await asyncio.to_thread(redis_server.start)
            await asyncio.to_thread(watch.says, "connected to", said)
            assert watch.end() == 0


async def test_table_on_a_terminal_moves_and_leaves_the_terminal_as_it_was(gateways: Pipeline, market: Market, tmp_path: Path) -> None:
    variables = environment(tmp_path, gateways.port, TERM="xterm")
    with on_terminal(tmp_path, variables, WATCH) as terminal:
        shown = await asyncio.to_thread(terminal.shows, "TSLA")
        assert "tickstream watch · 2 tickers" in shown
        assert "connected" in shown
        assert CURSOR_HIDDEN in shown
        await market.trade("AAPL", *RISE)
        assert "401.32 ▲" in await asyncio.to_thread(terminal.shows, "bullish 401.32")
        gateways.started[-1].kill()
        await asyncio.to_thread(terminal.shows, "gateway away: connection refused")
        terminal.press(CTRL_C)
        rest = await asyncio.to_thread(terminal.shows)
        assert terminal.process.wait(PATIENCE_SECONDS) == 0
    assert rest.rindex(CURSOR_SHOWN) > rest.rfind(CURSOR_HIDDEN)
    assert "Traceback" not in rest


async def test_small_terminal_gets_what_fits(gateways: Pipeline, tmp_path: Path) -> None:
    variables = environment(tmp_path, gateways.port, TERM="xterm")
    with on_terminal(tmp_path, variables, WATCH, rows=6, columns=24) as terminal:
        shown = await asyncio.to_thread(terminal.shows, "… and 1 more")
        terminal.press(CTRL_C)
        await asyncio.to_thread(terminal.shows)
        assert terminal.process.wait(PATIENCE_SECONDS) == 0
    assert "AAPL" in shown


async def test_once_prints_the_snapshot_and_ends(gateways: Pipeline, tmp_path: Path) -> None:
    result = await asyncio.to_thread(run, tmp_path, gateways.port, "--once", "--tickers", "AAPL,NONE")
    assert (result.returncode, result.stderr) == (0, "")
    title, state, _, *rows, footer = result.stdout.splitlines()
    assert title.startswith("tickstream watch · 1 tickers · ")
    assert state == "connected"
    assert [row.split()[:2] for row in rows] == [["AAPL", "9"]]
    assert footer == f"ws://127.0.0.1:{gateways.port}/ws/stocks/?tickers=AAPL,NONE"


async def test_once_as_json_prints_the_messages_of_the_gateway(gateways: Pipeline, tmp_path: Path) -> None:
    result = await asyncio.to_thread(run, tmp_path, gateways.port, "--once", "--json")
    first, *_ = map(json.loads, result.stdout.splitlines())
    assert (first["type"], first["snapshot"]) == ("stock_update", True)
    assert {stock["ticker"] for stock in first["stocks"]} == {"AAPL", "TSLA"}
    assert '"pong"' not in result.stdout


async def test_once_without_a_gateway_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    port = find_free_port()
    result = await asyncio.to_thread(run, tmp_path, port, "--once")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"no gateway answers at ws://127.0.0.1:{port}/ws/stocks/ (connection refused); "
        "start one with `make run`, or name another with --url, or with GATEWAY_HOST and GATEWAY_PORT\n"
    )


async def test_wrong_path_ends_it_with_the_answer_of_the_gateway(gateways: Pipeline, tmp_path: Path) -> None:
    url = f"ws://me:geheim@127.0.0.1:{gateways.port}/prices"
    result = await asyncio.to_thread(run, tmp_path, gateways.port, "--url", url)
    assert result.returncode == 1
    assert result.stderr == (f"ws://***@127.0.0.1:{gateways.port}/prices refuses: HTTP 404, not found; the stream is at /ws/stocks/\n")


def read_one_line_and_close(directory: Path, port: int) -> tuple[str, int, str]:
    """The first line of a watch, and its exit code and what it said after its output was closed."""
    with subprocess.Popen(
        WATCH, cwd=directory, env=environment(directory, port), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        process.stdout.close()
        return line, process.wait(PATIENCE_SECONDS), process.stderr.read()


async def test_closed_pipe_ends_it_quietly(gateways: Pipeline, tmp_path: Path) -> None:
    line, code, said = await asyncio.to_thread(read_one_line_and_close, tmp_path, gateways.port)
    assert line.startswith("connected to")
    assert (code, said) == (0, "")
