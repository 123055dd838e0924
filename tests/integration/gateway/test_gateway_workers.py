"""GATEWAY_WORKERS: several processes on one port, started again when they die, and none left behind however the parent ends."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from services.admin.embedded import find_free_port, is_port_free
from services.admin.ports import first_free
from services.gateway.settings import GatewaySettings
from services.gateway.workers import Worker
from shared.errors import NotReady
from tests.e2e.pipeline import until
from tests.integration.gateway.client import Client
from tests.integration.gateway.market import PERIOD, Market
from tests.observed import Observed

WORKERS = 2


class Parent:
    """The process that an operator starts, and what it and its workers say."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, said: Path) -> None:
        self.process = process
        self.port = port
        self._said = said

    @property
    def text(self) -> str:
        """All that was written to standard error."""
        return self._said.read_text(encoding="utf-8")

    def said(self, event: str) -> list[dict[str, Any]]:
        """The log lines with that text."""
        lines = [json.loads(line) for line in self.text.splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in lines if line["event"] == event]

    def pids(self) -> dict[int, int]:
        """Number of each worker to the pid of the newest."""
        return {line["worker"]: line["worker_pid"] for line in self.said("worker started")}

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        async def holds() -> bool:
            return condition()

        try:
            await until(holds, what)
        except AssertionError:
            print(self.text)
            raise

    async def until_listening(self, workers: int = WORKERS) -> None:
        """Wait until so many workers, over all the time, have begun to listen."""
        await self.until(lambda: len(self.said("listening")) >= workers, f"{workers} workers to listen")

    async def until_gone(self, pids: list[int]) -> None:
        """Wait until none of these processes is there."""
        await self.until(lambda: not any(map(is_alive, pids)), f"the end of {pids}")


def is_alive(pid: int) -> bool:
    """Whether there is such a process that has not ended: a zombie waits for a parent that is gone."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@asynccontextmanager
async def parent(redis_url: str, folder: Path, *, port: int | None = None, **variables: str) -> AsyncIterator[Parent]:
    """`python -m services.gateway` in a process group of its own, as in the foreground of a terminal."""
    port = port or find_free_port()
    environment = {
        "PATH": os.environ["PATH"], "REDIS_URL": redis_url, "GATEWAY_PORT": str(port), "GATEWAY_WORKERS": str(WORKERS),
        "PARTITIONS": "2", "SMA_PERIOD": str(PERIOD), "GATEWAY_FLUSH_SECONDS": "0", **variables,
    }  # fmt: skip
    said = folder / "said.log"
    with said.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.gateway", env=environment, stderr=log, start_new_session=True
        )
    running = Parent(process, port, said)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await running.until_gone(list(running.pids().values()))


@asynccontextmanager
async def clients(port: int, count: int) -> AsyncIterator[list[Client]]:
    """So many clients that have their first message."""
    async with AsyncExitStack() as stack:
        connected = [await stack.enter_async_context(Client(port)) for _ in range(count)]
        for client in connected:
            await client.receive()
        yield connected


async def test_workers_share_the_port_and_each_serves_some_clients_with_everything(market: Market, redis_url: str, tmp_path: Path) -> None:
    metrics_port = first_free(find_free_port(), (), needed=WORKERS + 1)
    async with parent(redis_url, tmp_path, METRICS_PORT=str(metrics_port)) as gateway:
        await gateway.until_listening()
        pages = [Observed(metrics_port + number) for number in range(WORKERS + 1)]
        for page in pages:
            await until(page.is_ready, f"the process on port {page.port} to be ready")
        async with clients(gateway.port, 40) as connected:
            await market.trade("AAPL", "1", "2", "3")
            for client in connected:
                await client.until_seen("AAPL", 3)
            shares = [await page.total("tickstream_gateway_clients") for page in pages]
        assert shares[0] == 0, "the parent serves nobody"
        assert sum(shares) == 40
        assert min(shares[1:]) > 0
        assert {line["worker"] for line in gateway.said("listening")} == {1, 2}
        gateway.process.terminate()
        assert await gateway.process.wait() == 0


async def test_a_killed_worker_is_started_again_and_the_clients_of_the_others_notice_nothing(
    market: Market, redis_url: str, tmp_path: Path
) -> None:
    async with parent(redis_url, tmp_path) as gateway:
        await gateway.until_listening()
        async with clients(gateway.port, 20) as connected:
            victim = gateway.pids()[1]
            os.kill(victim, signal.SIGKILL)
            await gateway.until_listening(WORKERS + 1)
            assert gateway.pids()[1] != victim
            (told,) = gateway.said("a worker ended, starting another one")
            assert (told["worker"], told["ending"]) == (1, "SIGKILL")
            await market.trade("AAPL", "1")
            cut = [client for client in connected if client.websocket.close_code is not None]
            assert 0 < len(cut) < len(connected)
            for client in connected:
                if client not in cut:
                    await client.until_seen("AAPL", 1)
        async with Client(gateway.port) as back:
            assert (await back.receive())["stocks"][0]["ticker"] == "AAPL"


async def test_a_signal_to_the_whole_group_ends_all_in_order(market: Market, redis_url: str, tmp_path: Path) -> None:
    async with parent(redis_url, tmp_path) as gateway:
        await gateway.until_listening()
        async with clients(gateway.port, 6) as connected:
            # What a terminal does at Ctrl-C; the parent passes it on beside, and workers may be told again and again.
            os.killpg(gateway.process.pid, signal.SIGINT)
            for pid in gateway.pids().values():
                os.kill(pid, signal.SIGINT)
            ends = [await client.read_to_the_end() for client in connected]
            assert {end.code if end else None for end in ends} == {1001}
        assert await gateway.process.wait() == 0
        assert len(gateway.said("stopped")) == WORKERS + 1
        assert is_port_free("127.0.0.1", gateway.port)


async def test_a_second_signal_ends_all_at_once(market: Market, redis_url: str, tmp_path: Path) -> None:
    async with parent(redis_url, tmp_path) as gateway:
        await gateway.until_listening()
        for pid in gateway.pids().values():
            os.kill(pid, signal.SIGSTOP)  # or they might end in order before the second signal comes
        gateway.process.terminate()
        await gateway.until(lambda: bool(gateway.said("stopping")), "the first signal to be heeded")
        gateway.process.terminate()
        assert await gateway.process.wait() == 1
        for pid in gateway.pids().values():
            os.kill(pid, signal.SIGCONT)
        await gateway.until_gone(list(gateway.pids().values()))


async def test_workers_end_with_a_killed_parent(market: Market, redis_url: str, tmp_path: Path) -> None:
    async with parent(redis_url, tmp_path) as gateway:
        await gateway.until_listening()
        gateway.process.kill()
        await gateway.until_gone(list(gateway.pids().values()))
        # The last thread of a process that has ended may take a moment to let go of it.
        await gateway.until(lambda: is_port_free("127.0.0.1", gateway.port), "the port to be free")


async def test_a_worker_that_dies_again_and_again_is_started_again_and_again_and_the_parent_is_not_ready(
    market: Market, redis_url: str, tmp_path: Path
) -> None:
    metrics_port = first_free(find_free_port(), (), needed=WORKERS + 1)
    async with parent(redis_url, tmp_path, METRICS_PORT=str(metrics_port), FAULT="gateway.snapshot_read:1:kill") as gateway:
        await gateway.until(lambda: len(gateway.said("a worker ended, starting another one")) > WORKERS, "the second death of one")
        page = Observed(metrics_port)
        assert "worker " in (await page.checks())["workers"]
        assert (await page.get("/healthz")).status == 200
        gateway.process.terminate()
        assert await gateway.process.wait() == 0


async def test_a_worker_that_does_not_run_is_not_ready(redis_url: str) -> None:
    worker = Worker(1, GatewaySettings(redis_url=SecretStr(redis_url), metrics_port=find_free_port()), lifeline=-1)
    with pytest.raises(NotReady, match="worker 1: was not started yet"):
        await worker.ask()


async def lines_of_refusal(gateway: Parent) -> list[str]:
    """What a parent says that ends with 2, but for log lines."""
    assert await gateway.process.wait() == 2
    assert "Traceback" not in gateway.text
    return [line for line in gateway.text.splitlines() if not line.startswith("{")]


async def test_a_taken_port_is_refused_once_although_its_owner_would_share_it(market: Market, redis_url: str, tmp_path: Path) -> None:
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        async with parent(redis_url, tmp_path, port=port) as gateway:
            said = await lines_of_refusal(gateway)
            assert said == [f"GATEWAY_PORT={port}: is taken by another program; stop that one or choose another port"]


async def test_a_deployment_of_other_values_is_refused_once(market: Market, redis_url: str, tmp_path: Path) -> None:
    async with parent(redis_url, tmp_path, PARTITIONS="3") as gateway:
        (said,) = await lines_of_refusal(gateway)
        assert said.startswith("PARTITIONS=3: ")
        assert gateway.pids() == {}, "each worker would say it again"


async def test_what_only_a_worker_finds_out_is_said_by_it_and_ends_all_with_2(market: Market, redis_url: str, tmp_path: Path) -> None:
    metrics_port = first_free(find_free_port(), (), needed=WORKERS + 1)
    with socket.create_server(("127.0.0.1", metrics_port + 2)):
        async with parent(redis_url, tmp_path, METRICS_PORT=str(metrics_port)) as gateway:
            (said,) = await lines_of_refusal(gateway)
            assert said.startswith(f"METRICS_PORT={metrics_port + 2}: is taken")


async def test_more_ports_for_metrics_than_there_are_are_refused(redis_url: str, tmp_path: Path) -> None:
    async with parent(redis_url, tmp_path, METRICS_PORT="65534") as gateway:
        (said,) = await lines_of_refusal(gateway)
        assert said == "METRICS_PORT=65534: 2 workers count up from it, beyond port 65535"
