"""A member of a group as a process of its own: `python -m tests.integration.clients.consumer URL LEASE_SECONDS HOLD_AT PAUSE_AT`.

It writes a line `partition seq` when an event comes into its body. The body of seq HOLD_AT never ends. In that of PAUSE_AT it
stops itself (SIGSTOP), and writes `on` when it goes on.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tickstream_client.streams import consume

ROOT = Path(__file__).parents[3]


async def main(url: str, lease_seconds: float, hold_at: int, pause_at: int) -> None:
    """Consume the ticks as the group `risk`, for ever."""
    async with consume("ticks", group="risk", redis_url=url, lease_seconds=lease_seconds) as ticks:
        async for tick in ticks:
            print(tick.partition, tick.seq, flush=True)
            if tick.seq == hold_at:
                await asyncio.Event().wait()
            if tick.seq == pause_at:
                os.kill(os.getpid(), signal.SIGSTOP)
                print("on", flush=True)


class Consumer:
    """The process, as a test sees it."""

    def __init__(self, process: "subprocess.Popen[bytes]", output: Path) -> None:
        self._process = process
        self._output = output

    def seen(self, partition: int = 0) -> list[int]:
        """The seqs of the events that came into its body, in their order."""
        lines = self._output.read_text(encoding="ascii").rpartition("\n")[0].split("\n")
        return [int(line.split()[1]) for line in lines if line.startswith(f"{partition} ")]

    def has_gone_on(self) -> bool:
        """Whether it was paused by itself, and goes on."""
        return "on" in self._output.read_text(encoding="ascii").split()

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """Stop it where it is."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def running(url: str, folder: Path, lease_seconds: float, hold_at: int = 0, pause_at: int = 0) -> Iterator[Consumer]:
    """Run one; it is killed at the end."""
    output = folder / "consumed"
    command = [sys.executable, "-m", __spec__.name if __spec__ else "", url, str(lease_seconds), str(hold_at), str(pause_at)]
    with output.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, env={"PYTHONPATH": "clients/python"}, stdin=subprocess.DEVNULL, stdout=file)
    consumer = Consumer(process, output)
    try:
        yield consumer
    finally:
        consumer.kill()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
