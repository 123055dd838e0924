"""`tickstream watch` and `up` beside gateways that want a token: they show theirs, and without one say what to set."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from services.admin.embedded import find_free_port
from tests.e2e.pipeline import Pipeline
from tests.e2e.running_up import PATIENCE_SECONDS, environment, running
from tests.e2e.test_watch import WATCH
from tests.integration.gateway.market import PERIOD, Market
from tests.keys import SECRET, sign

GOOD, BAD = sign({"sub": "somebody"}), sign({"sub": "nobody"}, SECRET + "!")
WANTS_TOKENS = {"GATEWAY_AUTH": "jwt", "GATEWAY_JWT_KEY": SECRET}
ADVICE = "set GATEWAY_TOKEN, or GATEWAY_TOKEN_FILE, to a token that it takes"


@pytest.fixture
async def port(redis: Redis, redis_url: str, tmp_path: Path) -> AsyncIterator[int]:
    """That of a gateway that wants a token."""
    market = Market(redis, partitions=1)
    await market.open()
    await market.trade("AAPL", "9")
    async with Pipeline(redis_url, "", tmp_path, 1, SMA_PERIOD=str(PERIOD), **WANTS_TOKENS) as pipeline:
        gateway = pipeline.start("gateway")
        await pipeline.until(gateway.has_said("listening"), "a gateway that listens")
        yield pipeline.port


async def once(directory: Path, port: int, **variables: str) -> subprocess.CompletedProcess[str]:
    command = (*WATCH, "--once")
    return await asyncio.to_thread(
        subprocess.run, command, cwd=directory, env=environment(directory, port, **variables), capture_output=True, text=True,
        timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip


async def test_watch_shows_its_token_and_without_one_says_what_to_set(port: int, tmp_path: Path) -> None:
    shown, without, refused = await asyncio.gather(
        once(tmp_path, port, GATEWAY_TOKEN=GOOD), once(tmp_path, port), once(tmp_path, port, GATEWAY_TOKEN=BAD)
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "AAPL" in shown.stdout
    for each in (without, refused):
        assert (each.returncode, each.stdout) == (1, "")
        assert each.stderr.endswith(f"; {ADVICE}\n")
    assert BAD.split(".")[1] not in refused.stderr


async def test_watch_reads_a_file_again_when_its_token_was_refused(port: int, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(BAD)
    with running(tmp_path, environment(tmp_path, port, GATEWAY_TOKEN_FILE=str(token)), WATCH) as watch:
        await asyncio.to_thread(watch.says, "gateway away: ")
        token.write_text(GOOD)
        await asyncio.to_thread(watch.says, "connected to")
        assert watch.end() == 0
    assert not [line for line in watch.lines if "Traceback" in line or BAD.split(".")[1] in line]


@pytest.mark.long
def test_up_without_a_token_says_so_and_runs_all_the_same(tmp_path: Path) -> None:
    variables = environment(tmp_path, find_free_port(), **WANTS_TOKENS)
    with running(tmp_path, variables) as up:
        assert up.says("no prices are shown here, the gateway refuses us: ").endswith(ADVICE)
        up.says("| ready")
        assert up.end() == 0
    assert not [line for line in up.lines if "Traceback" in line or SECRET in line]
