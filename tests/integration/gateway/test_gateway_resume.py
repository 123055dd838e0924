"""A client that comes back with a cursor gets exactly the alerts it has not seen, on any gateway, or is told that it cannot."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis

from services.admin.embedded import EmbeddedRedis
from services.gateway.protocol import Position, decode_cursor, encode_cursor
from shared import streams
from shared.redis.client import connect
from tests.faults.proxy import FaultProxy
from tests.integration.gateway.client import Client
from tests.integration.gateway.conftest import running_gateway
from tests.integration.gateway.market import Market
from tests.integration.gateway.test_gateway_lost_redis import setting_back
from tests.observed import Gain, total

NEVER = 3600.0
TURNS = ("10", "11", "9", "12", "12", "8", "14")
"""Prices that cross their average again and again."""


class Answer(NamedTuple):
    recovered: bool
    alert_ids: list[str]
    prices: dict[str, int]


async def resume(port: int, since: str, *tickers: str) -> Answer:
    """What the first message, in all its parts, says to a client that comes back."""
    query = f"?since={since}" + (f"&tickers={','.join(tickers)}" if tickers else "")
    async with Client(port, query) as client:
        first = message = await client.receive()
        while message.get("more"):
            message = await client.receive()
            assert (message["snapshot"], message["recovered"]) == (True, first["recovered"])
        assert first["snapshot"] is True
        return Answer(first["recovered"], client.alert_ids, {ticker: seq for ticker, (seq, _) in client.prices.items()})


async def alerts_after(market: Market, *seqs: int) -> list[str]:
    """The ids of all retained alerts after these seqs, one per partition."""
    found = []
    for p, seq in enumerate(seqs):
        entries: Any = await market.redis.xrange(streams.enriched(p))
        life = await market.incarnation(p)
        found += [f"{life}.{p}.{entry['seq']}" for _, entry in entries if entry["alert"] and int(entry["seq"]) > seq]
    return found


async def cursor_at(market: Market, *seqs: int) -> str:
    return encode_cursor([Position(await market.incarnation(p), seq) for p, seq in enumerate(seqs)])


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting shows: what is answered at all is answered without."""
    monkeypatch.setattr("services.gateway.service.CATCH_UP_SECONDS", NEVER)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.service.CATCH_UP_SECONDS", 0.1)


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was trimmed is seen with the next read."""
    monkeypatch.setattr("services.gateway.feed.LOOK_SECONDS", 0.0)


@pytest.mark.usefixtures("patient")
async def test_resuming_from_every_position_gives_exactly_the_alerts_after_it_on_a_gateway_that_was_there_and_on_a_new_one(
    market: Market, port: int, redis_url: str
) -> None:
    async with Client(port) as client:
        await client.receive()
        await market.trade("TSLA", *TURNS[:4])
        await market.trade("AAPL", *TURNS[:4])
        await market.trade("MSFT", *TURNS[:3])
        await client.until_seen("AAPL", 4)
        await client.until_seen("MSFT", 7)
    async with running_gateway(redis_url) as fresh:
        for seqs in product(range(5), range(8)):
            since, expected = await cursor_at(market, *seqs), await alerts_after(market, *seqs)
            for gateway in (port, fresh):
                assert await resume(gateway, since) == Answer(True, expected, {"AAPL": 4, "TSLA": 4, "MSFT": 7})


@pytest.mark.usefixtures("patient", "looking")
@pytest.mark.parametrize("kept", [3, 1, 0])
async def test_cursor_out_of_the_window_is_told_so_by_a_gateway_that_was_there_and_by_a_new_one(
    market: Market, port: int, redis_url: str, kept: int
) -> None:
    async with Client(port) as client:
        await client.receive()
        await market.trade("TSLA", *TURNS)
        await client.until_seen("TSLA", 7)
    assert (await resume(port, await cursor_at(market, 0, 0))).recovered
    await market.redis.xtrim(streams.enriched(1), maxlen=kept, approximate=False)
    # The next read comes after the next event, or at the end of an empty one.
    async with asyncio.timeout(10):
        while (await resume(port, await cursor_at(market, 0, 0))).recovered:
            await asyncio.sleep(0.05)
    async with running_gateway(redis_url) as fresh:
        for seq in range(8):
            since = await cursor_at(market, 0, seq)
            is_whole = seq >= 7 - kept
            expected = Answer(is_whole, await alerts_after(market, 0, seq) if is_whole else [], {"TSLA": 7})
            assert (await resume(port, since), await resume(fresh, since)) == (expected, expected)


@pytest.mark.usefixtures("patient")
async def test_what_can_never_be_answered_is_refused_at_once(market: Market, port: int) -> None:
    await market.trade("TSLA", *TURNS)
    lives = [await market.incarnation(p) for p in range(2)]
    outcomes = {name: Gain("gateway", "tickstream_gateway_resumes_total", outcome=name) for name in ("unreadable", "lost")}
    unreadable = ("", "nonsense", "%00", "A" * 5000, encode_cursor([Position(lives[0], 0)]), encode_cursor([Position(lives[0], 0)] * 3))
    lost = encode_cursor([Position(lives[0], 0), Position("1-00000000", 3)])
    for since in (*unreadable, lost):
        assert (await resume(port, since))[:2] == (False, [])
    assert (outcomes["unreadable"].value, outcomes["lost"].value) == (len(unreadable), 1)


@pytest.mark.usefixtures("impatient")
async def test_cursor_from_the_future_is_refused_in_the_end(market: Market, port: int) -> None:
    future = Gain("gateway", "tickstream_gateway_resumes_total", outcome="future")
    await market.trade("TSLA", *TURNS)
    assert (await resume(port, await cursor_at(market, 0, 8)))[:2] == (False, [])
    never_begun = encode_cursor([Position(await market.incarnation(0), 0), Position("99999999999999999-00000000", 1)])
    assert (await resume(port, never_begun))[:2] == (False, [])
    assert future.value == 2


@pytest.mark.usefixtures("patient")
async def test_client_that_goes_while_it_waits_is_let_go(market: Market, port: int) -> None:
    async with Client(port) as client:
        await client.receive()  # it is loaded: nothing else is waited for
        async with Client(port, f"?since={await cursor_at(market, 0, 9)}"), asyncio.timeout(10):
            while total("gateway", "tickstream_gateway_clients") < 2:
                await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        while total("gateway", "tickstream_gateway_clients"):
            await asyncio.sleep(0.01)


@asynccontextmanager
async def two_gateways(redis_url: str, port: int) -> AsyncIterator[tuple[FaultProxy, int, Client, Client]]:
    """A gateway behind a proxy, its port, and a client of each of the two."""
    async with FaultProxy(redis_url).running() as slow, running_gateway(slow.url) as behind, Client(port) as one, Client(behind) as other:
        yield slow, behind, one, other


@pytest.mark.usefixtures("patient")
async def test_gateway_that_is_behind_answers_when_it_has_come_as_far(market: Market, redis_url: str, port: int) -> None:
    async with (
        FaultProxy(redis_url).running() as slow,
        running_gateway(slow.url) as behind,
        Client(port) as client,
        Client(behind) as its_own,
    ):
        await market.trade("TSLA", *TURNS[:3])
        await client.until_seen("TSLA", 3)
        await its_own.until_seen("TSLA", 3)
        slow.replies.delay_seconds = 0.5
        await market.trade("TSLA", *TURNS[3:5])
        cursor = ""
        while client.prices["TSLA"][0] < 5:
            cursor = (await client.receive_type("stock_update"))["cursor"]
        assert its_own.prices["TSLA"][0] == 3
        assert await resume(behind, cursor) == Answer(True, [], {"TSLA": 5})


@pytest.mark.usefixtures("patient")
async def test_gateway_that_has_not_noticed_a_new_incarnation_answers_when_it_has(market: Market, redis_url: str, port: int) -> None:
    async with (
        FaultProxy(redis_url).running() as slow,
        running_gateway(slow.url) as behind,
        Client(port) as client,
        Client(behind) as its_own,
    ):
        await market.trade("TSLA", *TURNS[:3])
        await client.until_seen("TSLA", 3)
        await its_own.until_seen("TSLA", 3)
        before = await market.incarnation(1)
        slow.replies.delay_seconds = 0.5
        await market.redis.hset(streams.log(1), "run_id", "0" * 40)
        await market.trade("TSLA", TURNS[3])
        await client.until_seen("TSLA", 4)
        await client.send(action="ping")
        cursor = (await client.receive_type("pong"))["cursor"]
        positions = decode_cursor(cursor)
        assert positions is not None
        assert positions[1] == (await market.incarnation(1), 4) != (before, 4)
        assert await resume(behind, cursor) == Answer(True, [], {"TSLA": 4})


async def test_client_that_goes_from_one_gateway_to_the_other_and_back_misses_and_doubles_nothing(
    market: Market, port: int, redis_url: str
) -> None:
    async with running_gateway(redis_url, flush_seconds=0.05) as other:
        async with Client(port) as client:
            cursor = (await client.receive())["cursor"]
        seen, newest = [], 0
        for turn, price in enumerate(TURNS * 2):
            await market.trade("TSLA", price)
            async with Client((port, other)[turn % 2], f"?since={cursor}") as client:
                message = await client.receive()
                assert message["recovered"] is True
                assert client.prices.get("TSLA", (0,))[0] >= newest
                while client.prices.get("TSLA", (0,))[0] < turn:
                    message = await client.receive()
                cursor, newest = message["cursor"], client.prices.get("TSLA", (0,))[0]
                seen += client.alert_ids
        last = await resume(port, cursor)
        assert seen + last.alert_ids == await alerts_after(market, 0, 0)


async def test_more_than_a_thousand_alerts_come_in_parts(redis: Redis, redis_url: str) -> None:
    market = Market(redis, partitions=1)
    await market.open()
    since = encode_cursor([Position(await market.incarnation(0), 0)])
    for _ in range(3):
        await market.trade("TSLA", *("1", "2") * 400)
    async with running_gateway(redis_url, partitions=1) as port, Client(port, f"?since={since}") as client:
        messages = [await client.receive() for _ in range(3)]
    assert [(len(m["alerts"]), m["snapshot"], m["recovered"], m.get("more"), "cursor" in m) for m in messages] == [
        (1000, True, True, True, False),
        (1000, True, True, True, False),
        (398, True, True, None, True),
    ]
    assert client.alert_ids == await alerts_after(market, 0)


async def test_alerts_are_those_of_what_is_subscribed_now_also_of_what_was_not_before(market: Market, port: int) -> None:
    async with Client(port, "?tickers=AAPL") as client:
        cursor = (await client.receive())["cursor"]
        await market.trade("AAPL", *TURNS)
        await client.until_seen("AAPL", 7)
        await market.trade("TSLA", *TURNS)
        await market.trade("MSFT", *TURNS)
    async with Client(port) as client:
        await client.until_seen("MSFT", 14)
    aapl, rest = await alerts_after(market, 0, 99), await alerts_after(market, 99, 0)
    tsla, msft = ([name for name in rest if (int(name.rpartition(".")[2]) > 7) == is_msft] for is_msft in (False, True))
    assert await resume(port, cursor, "AAPL") == Answer(True, aapl, {"AAPL": 7})
    assert await resume(port, cursor, "MSFT") == Answer(True, msft, {"MSFT": 14})
    assert await resume(port, cursor, "MSFT", "TSLA", "NONE") == Answer(True, tsla + msft, {"TSLA": 7, "MSFT": 14})
    assert (await resume(port, cursor)).alert_ids == aapl + rest


@pytest.fixture
async def own_market(redis_server: EmbeddedRedis) -> AsyncIterator[Market]:
    async with connect(redis_server.url, service="tests") as redis:
        market = Market(redis, partitions=2)
        await market.open()
        yield market


async def test_resuming_reads_no_redis(redis_server: EmbeddedRedis, own_market: Market) -> None:
    await own_market.trade("TSLA", *TURNS)
    since, expected = await cursor_at(own_market, 0, 3), await alerts_after(own_market, 0, 3)
    async with running_gateway(redis_server.url) as port:
        await resume(port, since)
        os.kill(redis_server.pid, signal.SIGSTOP)
        try:
            for answer in await asyncio.gather(*(resume(port, since) for _ in range(20))):
                assert answer == Answer(True, expected, {"TSLA": 7})
        finally:
            os.kill(redis_server.pid, signal.SIGCONT)


async def test_alerts_that_redis_lost_are_gone_and_those_after_it_are_in(
    redis_server: EmbeddedRedis, own_market: Market, tmp_path: Path
) -> None:
    async with running_gateway(redis_server.url) as port, Client(port) as client:
        await own_market.trade("TSLA", *TURNS[:4])
        await client.until_seen("TSLA", 4)
        survived, expected = await cursor_at(own_market, 0, 3), await alerts_after(own_market, 0, 3)
        async with setting_back(redis_server, tmp_path / "backup"):
            await own_market.trade("TSLA", *TURNS[4:])
            await client.until_seen("TSLA", 7)
            lost = await cursor_at(own_market, 0, 6)
        await own_market.reconnect()
        await own_market.trade("TSLA", "1", "20", "1")
        await client.receive_loss()
        await client.until_seen("TSLA", 7)
        expected += await alerts_after(own_market, 0, 4)
        assert len(expected) == 4
        async with running_gateway(redis_server.url) as fresh:
            for gateway in (port, fresh):
                assert await resume(gateway, survived) == Answer(True, expected, {"TSLA": 7})
                assert await resume(gateway, lost) == Answer(False, [], {"TSLA": 7})


async def test_nothing_from_before_a_reset_is_answered(market: Market, port: int) -> None:
    async with Client(port) as client:
        await market.trade("TSLA", *TURNS)
        await client.until_seen("TSLA", 7)
        before = await cursor_at(market, 0, 3)
        await market.lose_everything()
        await market.trade("TSLA", *TURNS[:4])
        while client.prices.get("TSLA", (0,))[0] != 4:
            await client.receive()
        assert (await resume(port, before))[:2] == (False, [])
        after = await cursor_at(market, 0, 0)
        assert await resume(port, after) == Answer(True, await alerts_after(market, 0, 0), {"TSLA": 4})


async def test_nobody_is_answered_across_a_gap_and_everybody_after_it(market: Market, port: int, redis_url: str) -> None:
    async with Client(port) as client:
        await client.receive()
        await market.trade("TSLA", *TURNS[:3])
        await client.until_seen("TSLA", 3)
        await market.append([("TSLA", "2", "1771105101950")])
        await market.redis.delete(streams.ticks(1))
        await market.trade("TSLA", *TURNS[4:])
        await client.receive_loss()
        await client.until_seen("TSLA", 7)
    async with running_gateway(redis_url) as fresh:
        for seq in range(3, 8):
            since, is_whole = await cursor_at(market, 0, seq), seq >= 4
            expected = Answer(is_whole, await alerts_after(market, 0, seq) if is_whole else [], {"TSLA": 7})
            assert (await resume(port, since), await resume(fresh, since)) == (expected, expected)


async def test_retained_alerts_are_counted_and_how_long_it_took_to_collect_them(market: Market, redis_url: str) -> None:
    await market.trade("TSLA", *TURNS)
    scans = Gain("gateway", "tickstream_gateway_scan_seconds_count")
    recovered = Gain("gateway", "tickstream_gateway_resumes_total", outcome="recovered")
    async with running_gateway(redis_url) as port:
        await resume(port, await cursor_at(market, 0, 0))
        assert total("gateway", "tickstream_gateway_indexed_alerts") == len(await alerts_after(market, 0, 0))
    assert (scans.value, recovered.value) == (2, 1)
