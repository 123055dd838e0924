"""Entries deleted before the gateway read them: clients are told once, hold what is true, and a hole that is no loss is none."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
from redis.asyncio import Redis

from services.analyzer.state_machine import StateMachine
from services.gateway.feed import BLOCK_SECONDS, Feed, Outage
from services.gateway.hub import History, Hub
from services.gateway.protocol import Position
from shared import streams
from shared.events import Enriched
from shared.redis import log
from shared.redis.client import connect
from tests.integration.gateway.client import Client
from tests.integration.gateway.market import CAP, PERIOD, Market
from tests.observed import Gain

P = 1
"""TSLA's and MSFT's partition."""
GAPS = "tickstream_gateway_gaps_total"


class SteppedFeed(Feed):
    """Reads when the test says so, as one that was paused does."""

    async def step(self) -> None:
        """One read; a snapshot with all the reads that belong to it."""
        await self._step()
        while self._scan is not None:
            await self._step()


@asynccontextmanager
async def stepped(url: str, hub: Hub) -> AsyncIterator[SteppedFeed]:
    async with connect(url, service="gateway", block_seconds=BLOCK_SECONDS) as redis:
        yield SteppedFeed(redis, P, hub, Outage(), lambda: asyncio.sleep(0))


class ToldHub(Hub):
    """Remembers why it was loaded."""

    def __init__(self) -> None:
        super().__init__(2, lambda: 0, lambda: None)
        self.reasons: list[str | None] = []

    def load(self, partition: int, position: Position, events: Iterable[Enriched], history: History, lost: str | None = None) -> None:
        self.reasons.append(lost)
        super().load(partition, position, events, history, lost)


@pytest.fixture
def hub() -> ToldHub:
    return ToldHub()


async def cut_to(redis: Redis, count: int) -> None:
    await redis.xtrim(streams.enriched(P), maxlen=count, approximate=False)


async def commit_with_a_hole(market: Market, ticker: str, price: str) -> None:
    """A seq that leaves no event, as that of a dead-lettered tick."""
    await market.redis.hincrby(streams.log(P), "seq", 1)
    await market.append([(ticker, price, "1771105101950")])
    state = await log.load(market.redis, P)
    found = await log.read(market.redis, "ticks", P, state.cursor, count=1000, block_ms=0)
    digest = StateMachine(state).digest(found.entries, found.seq)._replace(missing=())
    await log.commit(market.redis, P, token="token", period=PERIOD, incarnation=state.incarnation, cap=CAP, digest=digest)


@pytest.mark.parametrize("kept", [1, 3])
async def test_what_was_trimmed_while_the_gateway_slept_is_a_gap(market: Market, redis_url: str, hub: ToldHub, kept: int) -> None:
    gaps = Gain("gateway", GAPS)
    async with stepped(redis_url, hub) as feed:
        await feed.step()
        await market.trade("TSLA", "1", "2", "3", "4")
        await cut_to(market.redis, kept)
        await feed.step()
        await feed.step()
    assert (hub.reasons, gaps.value) == ([None, "gap"], 1)


async def test_what_was_trimmed_behind_the_gateway_is_no_gap_even_with_a_hole_before_the_next(
    market: Market, redis_url: str, hub: ToldHub
) -> None:
    async with stepped(redis_url, hub) as feed:
        await market.trade("TSLA", "1", "2")
        await feed.step()
        await commit_with_a_hole(market, "TSLA", "3")
        await feed.step()
        await commit_with_a_hole(market, "TSLA", "4")
        await cut_to(market.redis, 1)
        await feed.step()
        await commit_with_a_hole(market, "TSLA", "5")
        await feed.step()
    assert hub.reasons == [None]


@pytest.mark.parametrize("empty", ["DEL", "XTRIM"])
async def test_a_stream_that_was_emptied_unread_is_a_gap_although_nothing_comes(
    market: Market, redis_url: str, hub: ToldHub, empty: str
) -> None:
    async with stepped(redis_url, hub) as feed:
        await market.trade("TSLA", "1")
        await feed.step()
        await market.trade("TSLA", "2")
        if empty == "DEL":
            await market.redis.delete(streams.enriched(P))
        else:
            await cut_to(market.redis, 0)
        await feed.step()
        await feed.step()
        await market.trade("TSLA", "3")
        await feed.step()
        hub.flush()
    assert hub.reasons == [None, "gap"]


async def test_a_stream_that_was_deleted_when_all_was_read_goes_on_without_a_word(market: Market, redis_url: str, hub: ToldHub) -> None:
    async with stepped(redis_url, hub) as feed:
        await market.trade("TSLA", "1")
        await feed.step()
        for price in range(2, 12):
            await market.redis.delete(streams.enriched(P))
            await market.trade("TSLA", str(price))
            await feed.step()
    assert hub.reasons == [None]


async def test_a_stream_deleted_behind_an_id_of_the_far_future_does_not_stop_the_feed(market: Market, redis_url: str, hub: ToldHub) -> None:
    async with stepped(redis_url, hub) as feed:
        await feed.step()
        await market.redis.xadd(streams.enriched(P), {"a": "stranger's"}, id="99999999999999-0")
        await market.trade("TSLA", "1")
        await feed.step()
        await market.redis.delete(streams.enriched(P))
        await market.redis.hdel(streams.log(P), "enriched_id")  # as a library from before wrote it: ids begin anew, below the stranger's
        await market.trade("TSLA", "2")
        await feed.step()
        await feed.step()
        await market.trade("TSLA", "3")
        await feed.step()
    assert hub.reasons == [None, "gap"]


async def test_ticks_deleted_before_they_were_analyzed_are_a_gap_for_clients_too(market: Market, port: int) -> None:
    async with Client(port) as client:
        await client.receive()
        await market.trade("TSLA", "1")
        await client.until_seen("TSLA", 1)
        await market.append([("TSLA", "2", "1771105101950")])
        await market.redis.delete(streams.ticks(P))
        await market.trade("TSLA", "3")
        message = await client.receive_loss()
        assert (message["snapshot"], message["reason"], message["alerts"]) == (True, "gap", [])
        await client.until_seen("TSLA", 3)
        assert client.prices["TSLA"] == (3, Decimal(3))


async def test_a_client_is_told_of_a_gap_with_the_newest_prices(market: Market, port: int) -> None:
    async with Client(port) as client:
        await client.receive()
        await market.trade("KO", "50")
        await client.until_seen("KO", 1)
        # As if two more had been committed, and deleted before the gateway read them.
        await market.redis.hset(streams.log(P), mapping={"seq": 3, "enriched_seq": 3})
        message = await client.receive_loss()
        assert (message["snapshot"], message["reason"]) == (True, "gap")
        assert [stock["ticker"] for stock in message["stocks"]] == ["KO"]
