"""Every answer of `mirror`: the group follows what PostgreSQL holds, forwards only, and within one incarnation only."""

import random

import pytest

from shared import streams
from shared.errors import TransientError
from shared.redis import log
from shared.redis.log import Unconfigured
from tests.integration.partition import PartitionUnderTest


class Persister:
    """A reader whose own database says where it is."""

    def __init__(self, partition: PartitionUnderTest, stream: str) -> None:
        self.redis = partition.redis
        self.stream = stream
        self.key = streams.stream(stream, 0)
        self.ids: list[str] = []
        self.incarnation = ""

    async def look(self) -> "Persister":
        self.ids = [entry_id for entry_id, _ in await self.redis.xrange(self.key)]
        self.incarnation = (await log.head(self.redis, 0)).incarnation
        return self

    async def mirror(self, entry_id: str, passed: int, *, incarnation: str | None = None) -> tuple[str, int]:
        """The answer, and the count that holds."""
        keys = [streams.log(0), streams.ticks(0), streams.enriched(0), streams.events(0)]
        incarnation = incarnation or self.incarnation
        answer, count = await log.call(self.redis, "mirror", keys, self.stream, "persister", incarnation, entry_id, passed)
        return answer, int(count)

    async def group(self) -> tuple[str, int | None, int | None]:
        """Last delivered id, entries read, lag."""
        (found,) = [group for group in await self.redis.xinfo_groups(self.key) if group["name"] == "persister"]
        return found["last-delivered-id"], found["entries-read"], found["lag"]


@pytest.fixture(params=["ticks", "enriched"])
async def persister(partition: PartitionUnderTest, request: pytest.FixtureRequest) -> Persister:
    """A persister before five entries of a stream."""
    await partition.append("1", "2", "3", "4", "5")
    await partition.analyze()
    return await Persister(partition, request.param).look()


async def test_ok_moves_the_group_with_its_count_and_true_lag(persister: Persister) -> None:
    assert await persister.mirror(persister.ids[2], 3) == ("OK", 3)
    assert await persister.group() == (persister.ids[2], 3, 2)


async def test_a_call_sent_again_is_behind_and_changes_nothing(persister: Persister) -> None:
    await persister.mirror(persister.ids[2], 3)
    assert await persister.mirror(persister.ids[2], 3) == ("BEHIND", 3)
    assert await persister.group() == (persister.ids[2], 3, 2)


async def test_the_group_never_moves_backwards(persister: Persister) -> None:
    await persister.mirror(persister.ids[3], 4)
    assert await persister.mirror(persister.ids[0], 1) == ("BEHIND", 1)
    assert await persister.group() == (persister.ids[3], 4, 1)


async def test_in_whatever_order_calls_come_the_group_stands_at_the_farthest(persister: Persister) -> None:
    for seed in range(5):
        order = random.Random(seed).sample(range(5), 5)
        for place in order:
            await persister.mirror(persister.ids[place], place + 1)
            assert (await persister.group())[0] == persister.ids[max(order[: order.index(place) + 1])]
        await persister.redis.xgroup_setid(persister.key, "persister", "0")


async def test_ids_are_compared_as_numbers_and_not_as_text(partition: PartitionUnderTest) -> None:
    ids = ["9-9", "9-10", "10-1", "99-18446744073709551614", "99-18446744073709551615", "100-0"]
    for entry_id in ids:
        await partition.redis.xadd(streams.ticks(0), {"a": "b"}, id=entry_id)
    persister = await Persister(partition, "ticks").look()
    for count, entry_id in enumerate(ids, 1):
        assert (await persister.mirror(entry_id, count))[0] == "OK"
        assert (await persister.group())[0] == entry_id
    for count, entry_id in enumerate(ids, 1):
        assert (await persister.mirror(entry_id, count))[0] == "BEHIND"


async def test_another_incarnation_is_answered_reset_and_the_group_stays(persister: Persister) -> None:
    await persister.mirror(persister.ids[0], 1)
    assert await persister.mirror(persister.ids[3], 4, incarnation="1-gone") == ("RESET", 4)
    assert (await persister.group())[0] == persister.ids[0]


async def test_a_position_of_before_a_restart_is_answered_reset(persister: Persister, partition: PartitionUnderTest) -> None:
    await partition.restart_server()
    assert await persister.mirror(persister.ids[3], 4) == ("RESET", 4)
    assert (await persister.group())[0] == "0-0"
    assert (await (await persister.look()).mirror(persister.ids[3], 4))[0] == "OK"


async def test_at_the_end_of_the_stream_a_wrong_count_is_healed(persister: Persister) -> None:
    assert await persister.mirror(persister.ids[4], 2) == ("OK", 5)
    assert await persister.group() == (persister.ids[4], 5, 0)


async def test_before_the_end_the_count_is_the_readers_own(persister: Persister) -> None:
    """Entries that a stranger trimmed unread were passed too: only the reader knows."""
    await persister.redis.xtrim(persister.key, maxlen=2)
    assert await persister.mirror(persister.ids[3], 4) == ("OK", 4)
    assert await persister.group() == (persister.ids[3], 4, 1)


async def test_a_missing_group_is_created_where_the_reader_is(persister: Persister) -> None:
    await persister.redis.xgroup_destroy(persister.key, "persister")
    assert await persister.mirror(persister.ids[2], 3) == ("OK", 3)
    assert await persister.group() == (persister.ids[2], 3, 2)


async def test_the_typed_call_returns_the_count_that_holds(persister: Persister) -> None:
    count = await log.mirror(
        persister.redis,
        0,
        stream=persister.stream,
        group="persister",
        incarnation=persister.incarnation,
        entry_id=persister.ids[4],
        passed=1,
    )
    assert count == 5


@pytest.mark.parametrize(("entry_id", "passed"), [("5", 1), ("", 1), ("a-b", 1), ("$", 1), ("1-1-1", 1), ("1-1", -1)])
async def test_a_malformed_position_is_refused(persister: Persister, entry_id: str, passed: int) -> None:
    with pytest.raises(TransientError, match="bad mirror"):
        await persister.mirror(entry_id, passed)
    assert (await persister.group())[0] == "0-0"


async def test_a_stream_that_is_none_is_refused(persister: Persister, partition: PartitionUnderTest) -> None:
    persister.stream = "prices"
    with pytest.raises(TransientError, match="bad mirror"):
        await persister.mirror(persister.ids[0], 1)
    persister.stream, before = "ticks", await partition.snapshot_of_keys()
    await partition.redis.set(streams.events(0), "text")
    with pytest.raises(TransientError, match="WRONGTYPE"):
        await persister.mirror(persister.ids[0], 1)
    await partition.redis.delete(streams.events(0))
    assert await partition.snapshot_of_keys() == before


async def test_a_partition_whose_head_is_gone_says_so(persister: Persister) -> None:
    await persister.redis.delete(streams.log(0))
    with pytest.raises(Unconfigured):
        await persister.mirror(persister.ids[0], 1)
