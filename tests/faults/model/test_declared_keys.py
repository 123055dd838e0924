"""No function touches a key that it was not given: a hidden one tears the call apart in a slot that a cluster is moving.

A single Redis does not look. Here the library looks itself: its `redis.call` refuses keys that are not in KEYS.
"""

import re
from collections.abc import AsyncIterator

import pytest

from services.admin.migrate import _change_period
from shared import streams
from shared.errors import TransientError
from shared.events import Market, Tick
from shared.redis import deadletters, log, market
from shared.redis.client import connect
from shared.redis.deployment import join
from tests.integration.partition import PartitionUnderTest

SERVICES = ("fetcher", "analyzer", "persister")
CAP = 20
BOUND = "      call = redis.call\n"
LOOKING = """
local function looking(keys)
  local given = {}
  for _, key in ipairs(keys) do given[key] = true end
  return function(command, ...)
    local key = select((command == 'XINFO' or command == 'XGROUP') and 2 or 1, ...)
    if command ~= 'TIME' and command ~= 'INFO' and not given[key] then error('UNDECLARED ' .. command .. ' ' .. tostring(key)) end
    return redis.call(command, ...)
  end
end

local function register("""


def looking(code: str) -> str:
    """The library with a `redis.call` that refuses undeclared keys."""
    assert code.count(BOUND) == code.count("\nlocal function register(") == 1
    return code.replace(BOUND, "      call = looking(keys)\n").replace("\nlocal function register(", LOOKING)


@pytest.fixture
async def partition(model_redis_url: str) -> AsyncIterator[PartitionUnderTest]:
    """Partition 0 of a fresh deployment on a Redis whose library looks."""
    async with connect(model_redis_url, service="tests") as redis:
        await redis.flushdb()
        await redis.function_load(looking(log.library_code()), replace=True)
        yield PartitionUnderTest(redis)


async def run_every_function(partition: PartitionUnderTest) -> None:
    """Through every branch that touches a key, each time as the first call of a new incarnation."""
    await join(partition.redis, 1, partition.period)
    for service in SERVICES:
        await partition.restart_server()
        await partition.take(service, service)
        await partition.take(service, f"{service}-2", seen=(service, "0"), owner="you")
        await log.call(partition.redis, "heartbeat", [streams.lease(service, 0)], f"{service}-2")
        await log.call(partition.redis, "want", [streams.lease(service, 0)], "they", f"{service}-2", "")
        await log.call(partition.redis, "attend", [streams.members(service)], "they", "dead", "0")
        await log.call(partition.redis, "leave", [streams.members(service)], "they")
    await append_all_kinds(partition)
    await partition.restart_server()
    state, digest = await partition.digest()
    await partition.restart_server()
    assert (await partition.commit(state, digest, token="analyzer-2")).answer is log.Answer.RESET
    assert (await partition.commit(*await partition.digest(), token="analyzer-2")).answer is log.Answer.OK
    await read_and_trim(partition)
    await partition.restart_server()
    await _change_period(partition.redis, 0, partition.period + 1)
    await write_to_dead_letters(partition)
    await market.announce(partition.redis, Market("US", "open", ""))
    for service in SERVICES:
        keys = [*log._log_keys(0), streams.producers(0), streams.lease(service, 0)]
        await log.call(partition.redis, "release", keys, service, "you", f"{service}-2")


async def append_all_kinds(partition: PartitionUnderTest) -> None:
    """Ticks, one that is not newer, one of the future, a row that is none, a stranger's entry; the stream is full, a group forgotten."""
    ticks = [("AAPL", price, ts, "finnhub", "", "", "") for price, ts in (("3", "1000"), ("4", "1000"), ("5", "9" * 14))]
    batch = log.freeze(1, ticks, [log.Rejected(3, "is none", "x")])
    await partition.restart_server()
    await log.append(partition.redis, 0, token="fetcher-2", producer="file", batch=batch, cap=CAP, polled=True)
    await partition.append(*"345676543456765434", first=1, token="fetcher-2", producer="fetcher-2")
    await partition.redis.xadd(streams.ticks(0), {"no": "tick"})
    await partition.redis.xgroup_create(streams.ticks(0), "forgotten", "0")


async def write_to_dead_letters(partition: PartitionUnderTest) -> None:
    """The stranger's entry is retried, the row that is none is dropped."""
    letters = await deadletters.oldest_first(partition.redis, 0, "", "+")
    tick = Tick("", "AAPL", "3", "1000", "replay")
    await partition.restart_server()
    assert await deadletters.retry(partition.redis, letters[-1], tick, cap=10**6) is deadletters.Retried.OK
    assert await deadletters.drop(partition.redis, 0, [letters[0].entry_id]) == 1


async def read_and_trim(partition: PartitionUnderTest) -> None:
    """All that is required has read everything: the forgotten group is passed."""
    incarnation = await partition.redis.hget(streams.log(0), "incarnation")
    for stream in ("ticks", "enriched"):
        last_id = (await partition.redis.xrevrange(streams.stream(stream, 0), count=1))[0][0]
        await log.mirror(partition.redis, 0, stream=stream, group="persister", incarnation=incarnation, entry_id=last_id, passed=1)
    await partition.restart_server()
    await log.trim(partition.redis, 0, cap=CAP, window_ms=10**9)
    assert await partition.redis.xlen(streams.events(0)) == 1
    await log.snapshot(partition.redis, 0)


async def test_no_function_touches_a_key_that_it_was_not_given(partition: PartitionUnderTest) -> None:
    called: set[str] = set()
    fcall = partition.redis.fcall

    def remember(function: str, *args: object) -> object:
        called.add(function.removesuffix("_1"))
        return fcall(function, *args)

    partition.redis.fcall = remember
    await run_every_function(partition)
    assert called == set(re.findall(r"^register\('(\w+)'", log.library_code(), re.MULTILINE))


async def test_a_function_that_touches_a_hidden_key_is_seen(partition: PartitionUnderTest) -> None:
    declared = "local key = keys[8 + i]"
    assert log.library_code().count(declared) == 1
    hidden = declared.replace("keys[8 + i]", "'prices:{0}:AAPL.' .. i")
    await partition.redis.function_load(looking(log.library_code().replace(declared, hidden)), replace=True)
    with pytest.raises(TransientError, match=r"UNDECLARED RPUSH prices:\{0\}:AAPL"):
        await run_every_function(partition)
