"""A swarm of clients as a process beside the test, and what all of them must have seen at the end."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.e2e.pipeline import ROOT, until
from tests.e2e.proof import Proof

Seen = dict[str, Any]


class Swarm:
    """The clients; each call asks the process for what they have seen."""

    def __init__(self, process: asyncio.subprocess.Process, count: int) -> None:
        self._process = process
        self.count = count

    async def look(self) -> Seen:
        """What all of them have seen by now."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        line = await self._process.stdout.readline()
        assert line, "the swarm has ended"
        seen: Seen = json.loads(line)
        assert not seen["faults"], seen["faults"]
        return seen

    async def until(self, condition: Callable[[Seen], bool], what: str, seconds: float = 60.0) -> Seen:
        """Wait until what they have seen fulfils a condition; return it."""
        seen: Seen = {}

        async def holds() -> bool:
            nonlocal seen
            await asyncio.sleep(0.1)  # a look costs the swarm more than a client
            seen = await self.look()
            return condition(seen)

        try:
            await until(holds, f"of the swarm: {what}", seconds)
        except AssertionError:
            print({name: value for name, value in seen.items() if name not in ("prices", "alerts")})
            raise
        return seen

    async def until_all_are_connected(self) -> Seen:
        """Wait until each has had its first message, on the connection it has."""
        return await self.until(lambda seen: bool(seen["connected"] == self.count), f"{self.count} connected clients")

    async def until_all_have(self, proof: Proof) -> Seen:
        """Wait until each shows the last price of every ticker, and has seen every alert once; nothing else."""
        prices = {ticker: [event.seq, event.price] for ticker, event in proof.expected.latest.items()}
        alerts = {name: f"{event.ticker} {event.alert} {event.price}" for name, event in (await proof.alerts()).items()}
        return await self.until(lambda seen: bool(seen["prices"] == [prices] and seen["alerts"] == [alerts]), "every price and alert")


@asynccontextmanager
async def swarming(count: int, ports: Sequence[int]) -> AsyncIterator[Swarm]:
    """So many clients, which take the ports by turns, until the body ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.e2e.swarm", str(count), *map(str, ports), cwd=ROOT, limit=1 << 24,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Swarm(process, count)
    finally:
        process.kill()
        await process.communicate()
