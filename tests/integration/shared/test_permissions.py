"""A user of Redis that lacks a command: what needs it is refused before its first write, and it is said what to do."""

from collections.abc import AsyncIterator, Awaitable
from urllib.parse import urlsplit, urlunsplit

import pytest
from redis.asyncio import Redis

from shared import streams
from shared.errors import NotReady
from shared.redis import log
from shared.redis.client import connect
from shared.redis.deadletters import newest_first, retry
from shared.redis.log import Rejected
from tests.integration.partition import CAP, PartitionUnderTest
from tests.integration.shared.test_deadletters import TICK

USER, PASSWORD = "tickstream-tests", "geheim-4711"
WRITING = ("hset", "hincrby", "xadd", "xtrim", "rpush", "ltrim", "xdel", "xsetid", "xgroup|create", "xgroup|setid")


@pytest.fixture
async def limited(partition: PartitionUnderTest, redis_url: str) -> AsyncIterator[Redis]:
    """A client of a user that may do everything, for now."""
    await partition.redis.acl_setuser(USER, enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], categories=["+@all"])
    parts = urlsplit(redis_url)
    url = urlunsplit(parts._replace(netloc=f"{USER}:{PASSWORD}@{parts.netloc.rpartition('@')[2]}"))
    async with connect(url, service="tests") as client:
        yield client
    await partition.redis.acl_deluser(USER)


@pytest.mark.parametrize("command", WRITING)
async def test_a_function_does_all_of_its_work_or_none_when_a_command_is_forbidden(
    partition: PartitionUnderTest, limited: Redis, command: str
) -> None:
    await partition.append("1", "2", "3")
    await partition.redis.xadd(streams.ticks(0), {"foo": "bar"})
    state, digest = await partition.digest()
    await partition.analyze()
    await partition.append("4")
    await partition.redis.xadd(streams.ticks(0), {"foo": "bar"})
    state, digest = await partition.digest()
    letter = [letter async for letter in newest_first(partition.redis, 0)][-1]
    batch = log.freeze(partition.number + 1, [("AAPL", "5", "1771105101950", "s", "", "", "")], [Rejected(1, "bad", "row")])
    # A commit makes the groups of the ticks again, trimming those of the events: one more thing to write with.
    await partition.redis.xgroup_destroy(streams.enriched(0), "persister")
    await partition.redis.xgroup_destroy(streams.ticks(0), "analyzer")
    await partition.redis.acl_setuser(USER, enabled=True, commands=[f"-{command}"])
    for work in (
        lambda: log.commit(limited, 0, token="a", period=partition.period, incarnation=state.incarnation, cap=CAP, digest=digest),
        lambda: log.append(limited, 0, token="f", producer="f", batch=batch, cap=CAP),
        lambda: retry(limited, letter, TICK, cap=CAP),
        lambda: log.trim(limited, 0, cap=2, window_ms=0),
    ):
        before = await partition.snapshot_of_keys()
        refused = await refusal_of(work())
        if refused:
            assert "ACL SETUSER" in refused
            assert command.replace("|", " ") in refused.replace("|", " ")
            assert await partition.snapshot_of_keys() == before


@pytest.mark.parametrize("command", ["xsetid", "xgroup|create"])
async def test_no_entry_is_added_to_a_stream_that_is_gone_when_its_groups_cannot_be_made(
    partition: PartitionUnderTest, limited: Redis, command: str
) -> None:
    await partition.append("1")
    await partition.analyze()
    await partition.append("2")
    state, digest = await partition.digest()
    await partition.redis.acl_setuser(USER, enabled=True, commands=[f"-{command}"])
    await partition.redis.delete(streams.enriched(0))
    before = await partition.snapshot_of_keys()
    commit = log.commit(limited, 0, token="a", period=partition.period, incarnation=state.incarnation, cap=CAP, digest=digest)
    assert command in (await refusal_of(commit)).replace(" ", "|")
    assert await partition.snapshot_of_keys() == before
    await partition.redis.delete(streams.ticks(0))
    before = await partition.snapshot_of_keys()
    batch = log.freeze(partition.number + 1, [("AAPL", "5", "1771105101950", "s", "", "", "")])
    assert command in (await refusal_of(log.append(limited, 0, token="f", producer="f", batch=batch, cap=CAP))).replace(" ", "|")
    assert await partition.snapshot_of_keys() == before


async def refusal_of(work: Awaitable[object]) -> str:
    """Why it was refused; empty if it was done."""
    try:
        await work
    except NotReady as refused:
        return str(refused)
    return ""


@pytest.mark.parametrize("command", ["hget", "hmget", "type", "info", "fcall", "xread"])
async def test_a_forbidden_reading_command_is_waited_out_as_a_server_that_is_not_ready(
    partition: PartitionUnderTest, limited: Redis, command: str
) -> None:
    await partition.redis.acl_setuser(USER, enabled=True, commands=[f"-{command}"])
    with pytest.raises(NotReady, match="ACL SETUSER"):
        await log.read(limited, "ticks", 0, "0-0", count=1, block_ms=0)
        batch = log.freeze(1, [("AAPL", "1", "1", "s", "", "", "")])
        await log.append(limited, 0, token="f", producer="f", batch=batch, cap=CAP, polled=True)
