"""A range that is lost is told, once, and everything that was known is replaced."""

from tests.clients.scripted import Visit, alert, scripted, stock
from tests.clients.subscriber import Subscribe, until
from tests.integration.gateway.market import Market


async def test_redis_that_lost_everything_is_one_gap_and_numbers_begin_again(subscribe: Subscribe, market: Market, port: int) -> None:
    await market.trade("AAPL", "10", "9", "11")
    await market.trade("TSLA", "7")
    async with subscribe(f"ws://127.0.0.1:{port}") as subscriber:
        await until(subscriber, lambda seen: len(seen.stocks) == 2, "both tickers")
        await market.lose_everything()
        await market.trade("AAPL", "5")
        await until(subscriber, lambda seen: "AAPL" in seen.stocks and seen.stocks["AAPL"].price == "5", "the new price")
        await until(subscriber, lambda seen: set(seen.stocks) == {"AAPL"}, "the old ones to be forgotten")
    assert set(subscriber.seen.gaps) == {"reset"}
    assert len(subscriber.seen.gaps) == sum(update.is_replaced for update in subscriber.seen.updates[1:])
    assert subscriber.seen.stocks["AAPL"].seq == 1
    assert subscriber.seen.connections == 1


async def test_cursor_that_cannot_be_resumed_is_a_gap_and_a_new_beginning(subscribe: Subscribe, market: Market, port: int) -> None:
    await market.trade("AAPL", "10", "9", "11")
    async with subscribe(f"ws://127.0.0.1:{port}", since="nonsense") as subscriber:
        await until(subscriber, lambda seen: seen.updates, "the snapshot")
        await market.trade("AAPL", "8")
        await until(subscriber, lambda seen: seen.alerts, "the next alert")
    assert subscriber.seen.gaps == ["resume"]
    assert [update.is_replaced for update in subscriber.seen.updates] == [True, False]


async def test_loss_that_is_told_in_parts_is_one_gap(subscribe: Subscribe) -> None:
    async def attend(visit: Visit) -> None:
        await visit.first(stocks=[stock("AAPL", 7), stock("OLD", 7)])
        for part in ({"stocks": [stock("AAPL", 1)], "more": True}, {"stocks": [stock("KO", 1)], "cursor": "c2"}):
            await visit.update(snapshot=True, recovered=False, reason="rewind", **part)
        await visit.update(alerts=[alert("a1")])
        await visit.stay()

    async with scripted(attend) as gateway, subscribe(gateway.url) as subscriber:
        await until(subscriber, lambda seen: seen.alerts, "what comes after the loss")
    assert subscriber.seen.gaps == ["rewind"]
    assert {name: found.seq for name, found in subscriber.seen.stocks.items()} == {"AAPL": 1, "KO": 1}


async def test_gap_on_coming_back_is_told_although_the_connection_was_cut_again_at_once(subscribe: Subscribe) -> None:
    async def attend(visit: Visit) -> None:
        if visit.number == 1:
            await visit.first(stocks=[stock("AAPL", 7)], cursor="c1")
            visit.cut()
        elif visit.number == 2:
            await visit.update(snapshot=True, recovered=False, stocks=[stock("AAPL", 9)], more=True)
            visit.cut()
        else:
            await visit.update(snapshot=True, recovered=False, stocks=[stock("AAPL", 9)])
        await visit.stay()

    async with scripted(attend) as gateway, subscribe(gateway.url) as subscriber:
        await until(subscriber, lambda seen: len(seen.updates) == 2, "the snapshot after the loss")
    assert subscriber.seen.gaps == ["resume"]
    assert [visit.since for visit in gateway.visits] == ["", "c1", "c1"]
