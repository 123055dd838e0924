"""One member of a group: typed events, in order, acknowledged when the loop came back for more and never before."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from redis.asyncio import Redis
from tickstream_client.streams import Consumption, Invalid, Tick, consume

from shared import streams
from tests.integration.clients.feed import LEASE_SECONDS, SECONDS, Feed, founded, take, until
from tests.integration.partition import set_up


@pytest.fixture
async def feed(redis: Redis) -> Feed:
    """Two partitions, empty."""
    return await founded(redis, 2)


@pytest.fixture
def ticks(redis_url: str) -> Consumption[Tick]:
    """The group `risk` on the ticks."""
    return consume("ticks", group="risk", redis_url=redis_url, lease_seconds=LEASE_SECONDS)


def prices(events: list[Any]) -> list[int]:
    return [int(event.price) for event in events]


async def test_events_are_typed_and_named_as_everywhere_else(redis: Redis, redis_url: str) -> None:
    partition = await set_up(redis)
    await partition.append("1", "2", "3.5")
    await partition.analyze()
    async with consume("ticks", group="risk", redis_url=redis_url) as ticks:
        tick = (await take(ticks, 3))[2]
    async with consume("enriched", group="risk", redis_url=redis_url) as enriched:
        first, _, event = await take(enriched, 3)
    incarnation = await partition.redis.hget(streams.log(0), "incarnation")
    assert (tick.ticker, tick.price, tick.seq, tick.volume, tick.quote_ts, tick.shed) == ("AAPL", Decimal("3.5"), 3, None, None, 0)
    assert event.id == tick.id == f"{incarnation}.0.3"
    assert (event.sma, event.alert, event.tick_id, event.ts) == (Decimal("2.166667"), None, tick.entry_id, tick.ts)
    assert first.sma is None
    assert tick.ts.utcoffset() is not None


async def test_every_partition_is_read_in_order_and_what_comes_later_too(feed: Feed, ticks: Consumption[Tick]) -> None:
    await feed.append_everywhere(700)
    found = []
    async with asyncio.timeout(SECONDS), ticks:
        async for event in ticks:
            found.append(event)
            if len(found) == 1400:
                await feed.append_everywhere(1)
            if len(found) == 1402:
                break
    for p in (0, 1):
        assert prices([event for event in found if event.partition == p]) == list(range(1, 702))


async def test_leaving_the_loop_acknowledges_what_was_finished_and_nothing_more(feed: Feed, ticks: Consumption[Tick]) -> None:
    await feed.append(10)
    async with ticks:
        assert prices(await take(ticks, 4)) == [1, 2, 3, 4]
    assert await feed.pending("risk") == (await feed.entry_ids())[3:]
    assert await feed.owners("risk") == ["", ""]


async def test_an_exception_of_the_body_acknowledges_what_was_finished(feed: Feed, ticks: Consumption[Tick]) -> None:
    await feed.append(10)
    with pytest.raises(ZeroDivisionError):
        async with ticks:
            async for event in ticks:
                assert 1 / (event.seq - 6)
    assert await feed.pending("risk") == (await feed.entry_ids())[5:]


@pytest.mark.parametrize("place", ["in the body", "while it waits"])
async def test_a_cancelled_loop_acknowledges_what_was_finished(feed: Feed, ticks: Consumption[Tick], place: str) -> None:
    await feed.append(3)
    reached = asyncio.Event()

    async def loop() -> None:
        async with ticks:
            async for event in ticks:
                if event.seq == 3:
                    reached.set()
                    if place == "in the body":
                        await asyncio.Event().wait()

    task = asyncio.create_task(loop())
    async with asyncio.timeout(SECONDS):
        await reached.wait()
        if place == "while it waits":
            await until(lambda: no_pending(feed))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await feed.pending("risk") == ((await feed.entry_ids())[2:] if place == "in the body" else [])


async def no_pending(feed: Feed) -> bool:
    group = await feed.group("risk")
    return bool(group) and (group["entries-read"], group["pending"]) == (3, 0)


async def test_a_loop_that_is_left_without_a_context_gives_its_partitions_back_too(feed: Feed, ticks: Consumption[Tick]) -> None:
    await feed.append(3)
    await take(ticks, 2)
    assert await feed.owners("risk") != ["", ""]

    async def is_given_back() -> bool:
        return await feed.owners("risk") == ["", ""]

    await until(is_given_back)
    assert await feed.pending("risk") == (await feed.entry_ids())[1:]


async def test_what_was_left_comes_first_when_the_group_is_read_again(feed: Feed, ticks: Consumption[Tick], redis_url: str) -> None:
    await feed.append(5)
    async with ticks:
        await take(ticks, 3)
    await feed.append(3)
    async with consume("ticks", group="risk", redis_url=redis_url, batch_size=2) as again:
        assert prices(await take(again, 6)) == [3, 4, 5, 6, 7, 8]
    assert [row["name"] for row in await feed.redis.xinfo_consumers(streams.ticks(0), "risk")] != []


async def test_a_slow_body_does_not_keep_what_was_finished_from_being_acknowledged(feed: Feed, ticks: Consumption[Tick]) -> None:
    await feed.append(3)
    ids = await feed.entry_ids()
    async with ticks:
        async for event in ticks:
            if event.seq == 3:

                async def only_the_last_is_pending() -> bool:
                    return await feed.pending("risk") == ids[2:]

                await until(only_the_last_is_pending)
                break


async def test_batches_are_acknowledged_as_a_whole(feed: Feed, redis_url: str) -> None:
    await feed.append(5)
    found = []
    async with consume("ticks", group="risk", redis_url=redis_url, batch_size=2) as ticks:
        async for batch in ticks.batches():
            found.append(batch)
            if len(found) == 2:
                break
    assert [prices(list(batch.events)) for batch in found] == [[1, 2], [3, 4]]
    assert [(batch.partition, batch.incarnation, batch.is_redelivered) for batch in found] == [
        (0, found[0].events[0].incarnation, False)
    ] * 2
    assert await feed.pending("risk") == (await feed.entry_ids())[2:4]
    async with consume("ticks", group="risk", redis_url=redis_url) as ticks:
        async for batch in ticks.batches():
            assert (prices(list(batch.events)), batch.is_redelivered) == ([3, 4], True)
            break


async def test_a_group_that_starts_now_gets_what_comes_later_alone(feed: Feed, redis_url: str) -> None:
    await feed.append(5)
    async with consume("ticks", group="late", redis_url=redis_url, start="now") as ticks:
        taking = asyncio.create_task(take(ticks, 2))

        async def is_there() -> bool:
            return bool(await feed.group("late"))

        await until(is_there)
        assert (await feed.group("late"))["lag"] == 0
        await feed.append(2)
        assert prices(await taking) == [6, 7]


async def test_a_group_that_starts_now_before_there_is_a_stream_gets_all_of_it(feed: Feed, redis_url: str) -> None:
    async with consume("ticks", group="late", redis_url=redis_url, start="now") as ticks:
        taking = asyncio.create_task(take(ticks, 2))

        async def holds_all() -> bool:
            return all(await feed.owners("late"))

        await until(holds_all)
        await asyncio.sleep(0.1)  # Redis is asked for the stream meanwhile; however often, the outcome is the same
        await feed.append(2)
        assert prices(await taking) == [1, 2]


async def test_a_strangers_entry_is_told_acknowledged_and_stops_nothing(feed: Feed, redis_url: str) -> None:
    told: list[Invalid] = []
    await feed.append(1)
    await feed.redis.xadd(streams.ticks(0), {"foo": b"\xff"})
    await feed.redis.xadd(streams.ticks(0), {"seq": "99", "ticker": "AAPL", "price": "1", "ts": "1", "source": "x"})
    await feed.append(2)
    async with consume("ticks", group="risk", redis_url=redis_url, on_invalid=told.append) as ticks:
        async for event in ticks:
            if event.seq == 3:
                await until(lambda: only_pending(feed, place=4))
                break
    assert [invalid.reason for invalid in told] == ["field seq is missing", "seq 99 is not between 2 and 3"]
    assert told[0].fields == ("foo", "\\xff")


async def only_pending(feed: Feed, place: int) -> bool:
    return await feed.pending("risk") == [(await feed.entry_ids())[place]]


async def test_fields_that_a_later_version_adds_are_passed_over(feed: Feed, ticks: Consumption[Tick]) -> None:
    fields = {"currency": "USD", "seq": "1", "ticker": "AAPL", "price": "7", "ts": "1771105101950", "source": "x"}
    await feed.append(1)
    await feed.redis.xtrim(streams.ticks(0), maxlen=0, approximate=False)
    await feed.redis.xadd(streams.ticks(0), {**fields, "volume": "", "quote_ts": "", "shed": ""})
    async with ticks:
        assert prices(await take(ticks, 1)) == [7]


async def test_the_group_is_seen_as_any_other_is(feed: Feed, ticks: Consumption[Tick]) -> None:
    await feed.append(5)
    async with ticks:
        async for event in ticks:
            if event.seq == 5:
                group = await feed.group("risk")
                assert (group["entries-read"], group["lag"], group["consumers"]) == (5, 0, 1)
                break


@pytest.mark.parametrize("group", ["persister", "analyzer", "a{b}", "", "a b", "a:b", "x" * 65])
def test_a_group_of_the_pipeline_or_of_a_strange_name_is_refused(group: str) -> None:
    with pytest.raises(ValueError, match="group"):
        consume("ticks", group=group, redis_url="redis://127.0.0.1")


async def test_a_consumption_that_is_closed_from_outside_ends_its_loop(feed: Feed, ticks: Consumption[Tick]) -> None:
    await feed.append(3)
    loop = asyncio.create_task(take(ticks, 4))
    async with asyncio.timeout(SECONDS):
        await until(lambda: no_pending(feed))
        await ticks.aclose()
        assert prices(await loop) == [1, 2, 3]
    assert await feed.owners("risk") == ["", ""]
