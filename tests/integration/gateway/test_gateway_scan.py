"""The alert index is collected whole, whatever happens to the stream meanwhile, before anybody is served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog

from services.gateway.feed import BLOCK_SECONDS, Feed, Outage
from services.gateway.hub import Hub
from services.gateway.protocol import ALL, Position, encode_cursor
from shared import streams
from shared.batch_size import BatchSize
from shared.redis.client import REDIS_AWAY, connect
from shared.redis.retained import look
from shared.retained import Retained
from tests.faults.proxy import FaultProxy
from tests.integration.gateway.client import Client
from tests.integration.gateway.conftest import running_gateway
from tests.integration.gateway.market import Market
from tests.integration.gateway.test_gateway_resume import TURNS, alerts_after

P = 1
"""TSLA's partition."""


class SteppedFeed(Feed):
    """Reads two entries whenever the test says so."""

    async def step(self) -> None:
        self._size = BatchSize(2)
        await self._step()

    async def finish(self) -> None:
        while self._head is None:
            await self.step()


@pytest.fixture
def hub() -> Hub:
    return Hub(2, lambda: 0, lambda: None)


@asynccontextmanager
async def stepped(url: str, hub: Hub) -> AsyncIterator[SteppedFeed]:
    async with connect(url, service="gateway", block_seconds=BLOCK_SECONDS) as redis:
        yield SteppedFeed(redis, P, hub, Outage(), lambda: asyncio.sleep(0))


def indexed(hub: Hub, seq: int) -> list[str]:
    """The ids of the alerts that the hub has after a seq; `floor` must allow it."""
    history = hub._histories[P]
    assert history.alerts.floor <= seq
    return [text.split('"')[3] for text in history.alerts.since(seq, ALL)]


async def test_trimming_that_overtakes_the_scan_raises_the_floor(market: Market, redis_url: str, hub: Hub) -> None:
    await market.trade("TSLA", *TURNS)
    async with stepped(redis_url, hub) as feed:
        await feed.step()
        await feed.step()
        await market.redis.xtrim(streams.enriched(P), maxlen=3, approximate=False)
        await feed.finish()
    assert indexed(hub, 4) == await alerts_after(market, 0, 4)
    assert hub._histories[P].alerts.floor == 4


async def test_what_is_written_while_the_scan_goes_on_is_read_behind_it(market: Market, redis_url: str, hub: Hub) -> None:
    await market.trade("TSLA", *TURNS[:4])
    async with stepped(redis_url, hub) as feed:
        await feed.step()
        await feed.step()
        await market.trade("TSLA", *TURNS[4:])
        await feed.finish()
        assert hub.indexed_alerts == 2
        await feed.step()
        await feed.step()
        hub.flush()
    assert indexed(hub, 0) == await alerts_after(market, 0, 0)


async def test_new_incarnation_in_mid_scan_begins_it_anew_and_each_alert_has_the_name_of_its_life(
    market: Market, redis_url: str, hub: Hub
) -> None:
    await market.trade("TSLA", *TURNS[:4])
    before = await market.incarnation(P)
    async with stepped(redis_url, hub) as feed:
        await feed.step()
        await feed.step()
        await market.redis.hset(streams.log(P), "run_id", "0" * 40)
        await market.trade("TSLA", *TURNS[4:])
        await feed.finish()
    after = await market.incarnation(P)
    assert indexed(hub, 0) == [f"{before}.{P}.3", f"{before}.{P}.4", f"{after}.{P}.6", f"{after}.{P}.7"]


async def test_new_incarnation_at_the_very_end_of_a_scan_begins_it_anew(
    market: Market, redis_url: str, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await market.trade("TSLA", *TURNS[:4])

    async def look_late(*args: Any) -> Retained:
        monkeypatch.undo()
        await market.redis.hset(streams.log(P), "run_id", "0" * 40)
        await market.trade("TSLA", *TURNS[4:])
        return await look(*args)

    monkeypatch.setattr("services.gateway.feed.look", look_late)
    async with stepped(redis_url, hub) as feed:
        await feed.finish()
    assert hub._histories[P].head.incarnation == await market.incarnation(P)
    assert hub.indexed_alerts == len(await alerts_after(market, 0, 0))


async def test_everything_lost_in_mid_scan_leaves_nothing_of_it(market: Market, redis_url: str, hub: Hub) -> None:
    await market.trade("TSLA", *TURNS)
    async with stepped(redis_url, hub) as feed:
        await feed.step()
        await feed.step()
        await market.lose_everything()
        await market.trade("TSLA", *TURNS[:3])
        await feed.finish()
    assert indexed(hub, 0) == await alerts_after(market, 0, 0)


async def test_scan_goes_on_where_it_was_when_the_connection_is_lost(market: Market, redis_url: str, hub: Hub) -> None:
    await market.trade("TSLA", *TURNS)
    async with FaultProxy(redis_url).running() as proxy, stepped(proxy.url, hub) as feed:
        await feed.step()
        await feed.step()
        proxy.cut()
        failures = 0
        while hub.indexed_alerts == 0:
            try:
                await feed.step()
            except REDIS_AWAY:
                failures += 1
        assert failures == 1
    assert indexed(hub, 0) == await alerts_after(market, 0, 0)


async def test_long_scan_says_how_far_it_is(market: Market, redis_url: str, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.feed.TELL_SECONDS", 0.0)
    await market.trade("TSLA", *TURNS)
    with structlog.testing.capture_logs() as logs:
        async with stepped(redis_url, hub) as feed:
            await feed.finish()
    assert [entry["entries"] for entry in logs if entry["event"] == "collecting the retained alerts"] == [2, 4, 6, 7]
    (done,) = (entry for entry in logs if entry["event"] == "alerts indexed")
    assert (done["entries"], done["alerts"], done["floor"]) == (7, 4, 0)


async def test_nobody_is_served_before_every_partition_is_scanned(market: Market, redis_url: str) -> None:
    await market.trade("TSLA", *TURNS)
    since = encode_cursor([Position(await market.incarnation(p), 0) for p in range(2)])
    async with FaultProxy(redis_url).running() as proxy:
        proxy.replies.delay_seconds = 0.2
        async with running_gateway(proxy.url) as port, Client(port, f"?since={since}") as client:
            first = await client.receive()
    assert (first["recovered"], client.alert_ids) == (True, await alerts_after(market, 0, 0))


async def test_a_gap_is_the_floor_of_the_index_also_when_the_stream_does_not_show_it(market: Market, redis_url: str, hub: Hub) -> None:
    async with stepped(redis_url, hub) as feed:
        await feed.finish()
        await market.trade("TSLA", *TURNS[:4])
        while hub.flush() == 0:
            await feed.step()
        assert indexed(hub, 0) == await alerts_after(market, 0, 0)
        # As if two more had been committed, and deleted before the gateway read them.
        await market.redis.hset(streams.log(P), mapping={"seq": 6, "enriched_seq": 6})
        await feed.step()
        await feed.step()
        await feed.finish()
    assert (hub.indexed_alerts, hub._histories[P].alerts.floor) == (0, 6)
