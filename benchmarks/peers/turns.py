"""A program that does something whenever it is asked to: a line of JSON in (arguments), a line of JSON out (what came of it)."""

import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

Tick = list[str]
"""ticker, price, ts, source, volume, quote_ts, shed."""


async def _take(turn: Callable[..., Awaitable[object]]) -> None:
    gc.collect()
    gc.freeze()  # the ticks that lie ready are no heap that it would have at work
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await turn(**json.loads(line))), flush=True)


def take_turns(turn: Callable[..., Awaitable[object]]) -> None:
    """Run until the input ends."""
    uvloop.run(_take(turn))


def read_batches(path: str) -> list[list[Tick]]:
    """The ticks that the other side gets, too."""
    return json.loads(Path(path).read_text())
