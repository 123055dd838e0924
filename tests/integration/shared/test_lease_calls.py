"""The lease functions answer by answer."""

import asyncio

import pytest
from redis.asyncio import Redis

from shared import streams
from shared.errors import TransientError
from shared.redis import log
from shared.redis.log import Answer, Unconfigured
from tests.integration.partition import PartitionUnderTest

KEY = streams.lease("analyzer", 0)
MEMBERS = streams.members("analyzer")


async def consumers(redis: Redis, stream: str, group: str) -> set[str]:
    return {str(row["name"]) for row in await redis.xinfo_consumers(streams.stream(stream, 0), group)}


async def release(partition: PartitionUnderTest, service: str, token: str, owner: str = "me") -> int:
    names = (streams.log, streams.ticks, streams.enriched, streams.events, streams.producers)
    keys = [*(name(0) for name in names), streams.lease(service, 0)]
    return int(await log.call(partition.redis, "release", keys, service, owner, token))


async def heartbeat(partition: PartitionUnderTest, token: str) -> list[object]:
    reply: list[object] = await log.call(partition.redis, "heartbeat", [KEY], token)
    return reply


async def want(partition: PartitionUnderTest, name: str, *, token: str = "a", wanter: str = "") -> int:
    return int(await log.call(partition.redis, "want", [KEY], name, token, wanter))


async def attend(partition: PartitionUnderTest, name: str, *still: str) -> dict[str, str]:
    told = await log.call(partition.redis, "attend", [MEMBERS], name, *still)
    return dict(zip(told[::2], told[1::2], strict=True))


async def leave(partition: PartitionUnderTest, name: str) -> int:
    return int(await log.call(partition.redis, "leave", [MEMBERS], name))


async def test_a_free_lease_is_taken_and_starts_at_zero(partition: PartitionUnderTest) -> None:
    assert await partition.take("persister", "p", owner="host:1") == [1, "host:1", "p", "0"]
    assert await partition.redis.hgetall(streams.lease("persister", 0)) == {
        "owner": "host:1", "token": "p", "beats": "0", "wanted_by": "",
    }  # fmt: skip


async def test_a_held_lease_is_refused_and_its_holder_named(partition: PartitionUnderTest) -> None:
    await heartbeat(partition, "a")
    before = await partition.snapshot_of_keys()
    assert await partition.take("analyzer", "b", owner="other") == [0, "me", "a", "1"]
    assert await partition.snapshot_of_keys() == before


async def test_a_lease_whose_counter_was_seen_as_it_is_may_be_taken_over(partition: PartitionUnderTest) -> None:
    await heartbeat(partition, "a")
    assert await partition.take("analyzer", "b", seen=("a", "1"), owner="other") == [1, "other", "b", "0"]


@pytest.mark.parametrize("seen", [("a", "0"), ("x", "1"), ("", ""), ("a", "")])
async def test_a_lease_that_moved_since_it_was_seen_is_not_taken_over(partition: PartitionUnderTest, seen: tuple[str, str]) -> None:
    await heartbeat(partition, "a")
    assert (await partition.take("analyzer", "b", seen=seen))[:3] == [0, "me", "a"]


async def test_an_acquire_sent_again_is_answered_as_the_first_time(partition: PartitionUnderTest) -> None:
    await heartbeat(partition, "a")
    before = await partition.snapshot_of_keys()
    assert await partition.take("analyzer", "a") == [1, "me", "a", "1"]
    assert await partition.snapshot_of_keys() == before


async def test_of_many_that_take_at_once_one_gets_it(partition: PartitionUnderTest) -> None:
    answers = await asyncio.gather(*(partition.take("persister", f"token-{number}") for number in range(10)))
    assert [answer[0] for answer in answers].count(1) == 1


async def test_of_many_that_take_over_at_once_one_gets_it(partition: PartitionUnderTest) -> None:
    answers = await asyncio.gather(*(partition.take("analyzer", f"token-{number}", seen=("a", "0")) for number in range(10)))
    assert [answer[0] for answer in answers].count(1) == 1


async def test_a_heartbeat_counts_and_another_token_is_told(partition: PartitionUnderTest) -> None:
    answers = [await heartbeat(partition, token) for token in ("a", "a", "x", "")]
    assert answers == [[1, ""], [2, ""], [-1, "me"], [-1, "me"]]
    await partition.redis.delete(KEY)
    assert await heartbeat(partition, "a") == [-1, ""]
    assert await partition.redis.exists(KEY) == 0


async def test_a_released_lease_is_free_at_once(partition: PartitionUnderTest) -> None:
    await heartbeat(partition, "a")
    assert await release(partition, "analyzer", "a") == 1
    assert await heartbeat(partition, "a") == [-1, ""]
    assert (await partition.take("analyzer", "b"))[0] == 1


async def test_a_want_is_told_with_the_next_heartbeat_and_sent_again_it_changes_nothing(partition: PartitionUnderTest) -> None:
    assert [await want(partition, "other"), await want(partition, "other")] == [1, 1]
    assert await heartbeat(partition, "a") == [1, "other"]


async def test_a_want_that_saw_another_holder_or_another_wanter_is_refused(partition: PartitionUnderTest) -> None:
    assert await want(partition, "other", token="x") == 0
    assert await want(partition, "first") == 1
    assert await want(partition, "second") == 0
    assert await want(partition, "second", wanter="first") == 1
    assert await heartbeat(partition, "a") == [1, "second"]


async def test_a_lease_given_back_still_names_its_wanter_and_one_that_was_taken_names_none(partition: PartitionUnderTest) -> None:
    await want(partition, "other")
    await release(partition, "analyzer", "a")
    assert await partition.redis.hget(KEY, "wanted_by") == "other"
    await partition.take("analyzer", "b", owner="other")
    assert await heartbeat(partition, "b") == [1, ""]


@pytest.mark.parametrize("args", [("", "a", ""), ("other", "", ""), ("other", "a")])
async def test_a_want_without_a_name_or_of_a_free_lease_is_refused(partition: PartitionUnderTest, args: tuple[str, ...]) -> None:
    with pytest.raises(TransientError, match="bad want"):
        await log.call(partition.redis, "want", [KEY], *args)


async def test_members_attend_and_leave(partition: PartitionUnderTest) -> None:
    assert await attend(partition, "one") == {"one": "1"}
    assert await attend(partition, "two") == {"one": "1", "two": "1"}
    assert await attend(partition, "one") == {"one": "2", "two": "1"}
    assert [await leave(partition, "two"), await leave(partition, "two")] == [1, 0]
    assert await attend(partition, "one") == {"one": "3"}


async def test_a_member_is_taken_away_only_if_its_counter_is_as_it_was_seen(partition: PartitionUnderTest) -> None:
    for name in ("dead", "alive", "alive"):
        await attend(partition, name)
    assert await attend(partition, "me", "dead", "1", "alive", "1", "unknown", "1") == {"alive": "2", "me": "1"}


async def test_a_member_whose_counter_is_no_number_counts_from_one_again(partition: PartitionUnderTest) -> None:
    await partition.redis.hset(MEMBERS, "me", "garbage")
    assert await attend(partition, "me") == {"me": "1"}


@pytest.mark.parametrize("args", [("",), ("me", "other"), ()])
async def test_a_member_without_a_name_or_half_a_pair_is_refused(partition: PartitionUnderTest, args: tuple[str, ...]) -> None:
    with pytest.raises(TransientError, match="bad attend"):
        await log.call(partition.redis, "attend", [MEMBERS], *args)
    assert await partition.redis.exists(MEMBERS) == 0


@pytest.mark.parametrize(
    ("function", "key", "args"), [("attend", MEMBERS, ["me"]), ("leave", MEMBERS, ["me"]), ("want", KEY, ["me", "a", ""])]
)
async def test_members_or_a_lease_of_a_wrong_type_are_refused(
    partition: PartitionUnderTest, function: str, key: str, args: list[str]
) -> None:
    await partition.redis.delete(key)
    await partition.redis.set(key, "text")
    with pytest.raises(TransientError, match="WRONGTYPE"):
        await log.call(partition.redis, function, [key], *args)


async def test_only_the_holder_releases(partition: PartitionUnderTest) -> None:
    before = await partition.snapshot_of_keys()
    assert await release(partition, "analyzer", "x") == 0
    assert await partition.snapshot_of_keys() == before


async def test_the_holder_of_another_token_can_neither_append_nor_commit(partition: PartitionUnderTest) -> None:
    await partition.append("1")
    found = await partition.digest()
    await partition.take("analyzer", "b", seen=("a", "0"))
    await partition.take("fetcher", "g", seen=("f", "0"))
    assert (await partition.commit(*found)).answer is Answer.FENCED
    assert (await partition.append("2")).answer is Answer.FENCED


@pytest.mark.parametrize(("service", "where"), [("analyzer", {"ticks"}), ("persister", {"ticks", "enriched"}), ("fetcher", set())])
async def test_the_holder_is_the_consumer_of_its_groups(partition: PartitionUnderTest, service: str, where: set[str]) -> None:
    await partition.append("1")
    await release(partition, "analyzer", "a")
    await release(partition, "fetcher", "f")
    await partition.take(service, "one", owner="host:1")
    for stream in ("ticks", "enriched"):
        groups = {row["name"] for row in await partition.redis.xinfo_groups(streams.stream(stream, 0))} if stream in where else set()
        assert (service in groups) is (stream in where)
    for owner, token, seen in (("host:1", "one", ("", "")), ("host:2", "two", ("one", "0"))):
        await partition.take(service, token, seen=seen, owner=owner)
        for stream in where:
            assert await consumers(partition.redis, stream, service) == {owner}
    await release(partition, service, "two", owner="host:2")
    for stream in where:
        assert await consumers(partition.redis, stream, service) == set()


async def test_a_group_that_a_taker_creates_starts_at_the_beginning(partition: PartitionUnderTest) -> None:
    await partition.append("1", "2")
    await partition.redis.xgroup_destroy(streams.ticks(0), "analyzer")
    await partition.take("analyzer", "b", seen=("a", "0"))
    (group,) = [row for row in await partition.redis.xinfo_groups(streams.ticks(0)) if row["name"] == "analyzer"]
    assert group["last-delivered-id"] == "0-0"


async def test_the_number_of_a_fenced_token_is_deleted_at_take_over(partition: PartitionUnderTest) -> None:
    await partition.append("1")
    await partition.append("1", first=1, producer="replay")
    await partition.take("fetcher", "g", seen=("f", "0"))
    assert await partition.redis.hgetall(streams.producers(0)) == {"replay": "1"}


async def test_the_number_of_a_token_is_deleted_when_it_is_given_back(partition: PartitionUnderTest) -> None:
    await partition.append("1")
    await partition.append("1", first=1, producer="replay")
    await release(partition, "fetcher", "f")
    assert await partition.redis.hgetall(streams.producers(0)) == {"replay": "1"}


@pytest.mark.parametrize("key", [KEY, streams.producers(0), streams.ticks(0), streams.enriched(0), streams.log(0)])
async def test_a_key_of_a_wrong_type_is_refused_before_anything_is_written(partition: PartitionUnderTest, key: str) -> None:
    await partition.redis.delete(key)
    await partition.redis.set(key, "text")
    before = await partition.snapshot_of_keys()
    with pytest.raises(TransientError, match="WRONGTYPE"):
        await partition.take("analyzer", "b", seen=("a", "0"))
    if key != streams.log(0):
        with pytest.raises(TransientError, match="WRONGTYPE"):
            await release(partition, "analyzer", "a")
    assert await partition.snapshot_of_keys() == before


@pytest.mark.parametrize(("token", "owner"), [("", "me"), ("b", "")])
async def test_a_lease_is_never_taken_without_a_token_or_an_owner(partition: PartitionUnderTest, token: str, owner: str) -> None:
    with pytest.raises(TransientError, match="bad acquire"):
        await partition.take("persister", token, owner=owner)


async def test_a_partition_whose_head_is_gone_is_not_taken(partition: PartitionUnderTest) -> None:
    await partition.redis.delete(streams.log(0))
    with pytest.raises(Unconfigured):
        await partition.take("persister", "p")
    assert await partition.redis.exists(streams.lease("persister", 0)) == 0


async def test_leases_are_kept_alive_and_given_back_even_when_memory_is_short(partition: PartitionUnderTest) -> None:
    used = (await partition.redis.info("memory"))["used_memory"]
    try:
        await partition.redis.config_set("maxmemory", used // 2)
        assert await heartbeat(partition, "a") == [1, ""]
        assert await want(partition, "other") == 1
        assert await attend(partition, "me") == {"me": "1"}
        assert await leave(partition, "me") == 1
        assert await release(partition, "analyzer", "a") == 1
        assert (await partition.take("analyzer", "b"))[0] == 1
    finally:
        await partition.redis.config_set("maxmemory", 0)
