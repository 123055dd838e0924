"""The second `make run`, as a user waits for it: from the command to the first price at a WebSocket client, and what it costs."""

import asyncio
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from websockets.asyncio.client import connect

from benchmarks.ground import Ground
from benchmarks.report import Row, row
from services.admin.embedded import find_free_port

CHECKOUT = Path(__file__).parents[1]
MOST_MS = 5000
TIMES = 3
PATIENCE_SECONDS = 120


async def measure(ground: Ground) -> list[Row]:
    """In a checkout of its own: the first run makes the data, the later ones are measured."""
    if shutil.which("make") is None:
        return []
    directory = _lay_out(ground.directory / "checkout")
    await _run(directory)
    firsts, cpus = zip(*[await _run(directory) for _ in range(TIMES)], strict=True)
    return [
        row("second `make run`, first price at a WebSocket client", "ms", firsts, wanted=MOST_MS, at_most=True),
        row("second `make run`: CPU of all its processes, their end included", "ms", cpus),
    ]


def _lay_out(directory: Path) -> Path:
    """This checkout without its data."""
    directory.mkdir()
    for entry in CHECKOUT.iterdir():
        if entry.name not in (".data", ".git"):
            (directory / entry.name).symlink_to(entry)
    return directory


async def _run(directory: Path) -> tuple[float, float]:
    """Start, wait for the first price, stop; return ms until then, and ms of CPU in all."""
    ports = {name: str(find_free_port()) for name in ("GATEWAY_PORT", "API_PORT")}
    before, began = _children_ms(), time.perf_counter()
    running = await asyncio.create_subprocess_exec(
        "make", "run", cwd=directory, env=_environment(ports), stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await _first_price(int(ports["GATEWAY_PORT"]))
        first_ms = 1000 * (time.perf_counter() - began)
    finally:
        os.killpg(running.pid, signal.SIGINT)
        await running.wait()
    return first_ms, _children_ms() - before


def _environment(ports: Mapping[str, str]) -> dict[str, str]:
    """Without what the `make` that runs this one passes on."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return {**inherited, **ports, "SOURCE": "simulated"}


async def _first_price(port: int) -> None:
    while True:
        try:
            async with connect(f"ws://127.0.0.1:{port}/ws/stocks/", proxy=None) as client:
                async for text in client:
                    message = json.loads(text)
                    if message["type"] == "stock_update" and message["stocks"]:
                        return
        except OSError:  # nobody listens yet
            await asyncio.sleep(0.01)


def _children_ms() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (spent.ru_utime + spent.ru_stime)
