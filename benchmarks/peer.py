"""The other side of a comparison: a program of `benchmarks/peers`, run by the Python of its own environment."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import PIPE
from typing import Any

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
PROGRAMS = Path(__file__).with_name("peers")
PATIENCE_SECONDS = 120


class PeerFailed(Exception):
    """A program of the other side ended."""


class Peer:
    """A program that takes turns (`peers/turns.py`)."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self._process = process

    async def take_turn(self, **arguments: object) -> Any:
        """Let it do its part; what came of it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(arguments).encode() + b"\n")
        return json.loads(await self.next_line())

    async def next_line(self) -> str:
        """What it says next. Raise `PeerFailed`."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE_SECONDS)
        if not line:
            raise PeerFailed(f"benchmarks/peers/{self._name}.py ended, see above; `make bench` installs what it needs")
        return line.decode()


@asynccontextmanager
async def taking_turns(name: str, *arguments: str) -> AsyncIterator[Peer]:
    """Start a program that takes turns, and end it."""
    async with running(name, *arguments) as process:
        peer = Peer(name, process)
        await peer.next_line()
        yield peer


@asynccontextmanager
async def running(name: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a program, and kill it."""
    process = await asyncio.create_subprocess_exec(
        PYTHON, PROGRAMS / f"{name}.py", *arguments, stdin=PIPE, stdout=PIPE, limit=1 << 24, env=os.environ | {"PYTHONWARNINGS": "ignore"}
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
