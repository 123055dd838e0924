"""`examples/stream_reader.mjs` beside the real pipeline: whoever is killed, every entry of the streams is read."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from socket import gethostname
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis.exceptions import ResponseError

from services.admin.embedded import find_free_port
from shared import streams
from tests.e2e.pipeline import ROOT, Pipeline, Service, until
from tests.examples.running import PARTITIONS, speed, started
from tests.integration.gateway.test_gateway_with_ws import NODE

pytestmark = pytest.mark.skipif(NODE is None, reason="there is no node: install Node.js 20 or later")

READER = str(ROOT / "examples/stream_reader.mjs")
USER, PASSWORD = "reader", "p@ss:w/rd"
QUOTED = "p%40ss%3Aw%2Frd"
GROUP = "stream-reader"


def read(reader: Service) -> list[dict[str, str]]:
    """The entries that it printed, whole lines alone."""
    return [json.loads(line) for line in reader.text.rpartition("\n")[0].splitlines() if line.startswith("{")]


async def pending(redis: Any) -> set[str]:
    """Entries read and not acknowledged: the ids."""
    rows: list[Any] = []
    for p in range(PARTITIONS):
        # Before the first entry there is no stream, and no group.
        with suppress(ResponseError):
            rows += await redis.xpending_range(streams.enriched(p), GROUP, "-", "+", 1000)
    return {row["message_id"] for row in rows}


async def stop_with_entries_in_hand(pipeline: Pipeline, redis: Any, reader: Service) -> None:
    """Stop it for good after it has read something and before it has acknowledged that.

    It hardly ever has: most of the time it waits for the next entries. Stopped then, it is given them all the same.
    """

    async def has_some_in_hand() -> bool:
        if not read(reader):
            return False
        reader.pause()
        await asyncio.sleep(0.1)
        if await pending(redis):
            return True
        reader.go_on()
        return False

    await pipeline.until(has_some_in_hand, "a reader with entries in hand")


async def test_what_a_killed_reader_had_in_hand_is_claimed_and_nothing_is_missed(
    playing: Pipeline, redis: Any, redis_url: str, tmp_path: Path
) -> None:
    await redis.acl_setuser(USER, enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], commands=["+@all"])
    url = urlsplit(redis_url)
    address = url._replace(netloc=f"{USER}:{QUOTED}@{url.hostname}:{url.port}").geturl()
    command = (str(NODE), READER, address, GROUP)
    variables = {"PARTITIONS": str(PARTITIONS), "CLAIM_MS": "300"}
    playing.start("analyzer")
    fetcher = playing.start("fetcher", REPLAY_SPEED=speed(2))
    try:
        with started(tmp_path, *command, **variables) as killed:
            await stop_with_entries_in_hand(playing, redis, killed)
            in_hand = await pending(redis)
        with started(tmp_path, *command, **variables) as other, started(tmp_path, *command, **variables) as third:
            assert await fetcher.finish() == 0
            await playing.until(nothing_left(redis), "the end of the streams")
            for reader in (other, third):
                reader.process.send_signal(signal.SIGINT)
                assert await reader.finish() == 0
    finally:
        await redis.acl_deluser(USER)
    readers = (killed, other, third)
    printed = {(entry["stream"], entry["id"]): entry for reader in readers for entry in read(reader)}
    assert printed == {(entry["stream"], entry["id"]): entry for p in range(PARTITIONS) for entry in await everything(redis, p)}
    assert in_hand <= {entry["id"] for reader in readers[1:] for entry in read(reader)}
    # Who ended in order has signed off; of the killed one the name is left.
    assert await consumers(redis) == {f"{gethostname()}:{killed.process.pid}"}


async def everything(redis: Any, partition: int) -> list[dict[str, str]]:
    """The entries of a stream, as they must be printed."""
    stream = streams.enriched(partition)
    return [{"stream": stream, "id": entry_id, **fields} for entry_id, fields in await redis.xrange(stream)]


async def consumers(redis: Any) -> set[str]:
    """The members that the group knows."""
    found = [each for p in range(PARTITIONS) for each in await redis.xinfo_consumers(streams.enriched(p), GROUP)]
    return {each["name"] for each in found}


def nothing_left(redis: Any) -> Callable[[], Awaitable[bool]]:
    """A condition: the market is in the streams, and the group has read and acknowledged all of it."""

    async def is_left() -> bool:
        groups = [group for p in range(PARTITIONS) for group in await redis.xinfo_groups(streams.enriched(p))]
        ticks = [group for p in range(PARTITIONS) for group in await redis.xinfo_groups(streams.ticks(p))]
        ours = [(group["lag"], group["pending"]) for group in groups if group["name"] == GROUP]
        analyzed = [group["lag"] for group in ticks if group["name"] == "analyzer"]
        return analyzed == [0] * PARTITIONS and ours == [(0, 0)] * PARTITIONS

    return is_left


async def test_it_says_what_is_wrong_and_waits(tmp_path: Path) -> None:
    port = find_free_port()
    with started(tmp_path, str(NODE), READER, f"redis://127.0.0.1:{port}") as reader:

        async def has_said() -> bool:
            return f"Partition 3 waits for 127.0.0.1:{port}: connect ECONNREFUSED" in reader.text

        await until(has_said, "what is wrong")
        reader.terminate()
        assert await reader.finish() == 0
