"""A client that was away is given what it missed, once, and nothing else."""

from tests.clients.scripted import Visit, alert, scripted, stock
from tests.clients.subscriber import Subscribe, until
from tests.integration.gateway.market import Market


async def test_stored_cursor_brings_the_alerts_of_meanwhile_and_no_other(subscribe: Subscribe, market: Market, port: int) -> None:
    url = f"ws://127.0.0.1:{port}"
    await market.trade("AAPL", "10", "9", "11")
    async with subscribe(url, ["AAPL"]) as yesterday:
        await until(yesterday, lambda seen: seen.updates, "the snapshot")
    await market.trade("AAPL", "8", "12")
    async with subscribe(url, ["AAPL"], since=yesterday.cursor) as today:
        await until(today, lambda seen: seen.updates, "the alerts of meanwhile")
    first = today.seen.updates[0]
    assert [alert.seq for alert in first.alerts] == [4, 5]
    assert [stock.seq for stock in first.stocks] == [5]
    assert (first.is_snapshot, first.is_replaced, today.seen.gaps) == (True, False, [])


async def test_more_than_a_message_holds_is_given_whole_and_once(subscribe: Subscribe, market: Market, port: int) -> None:
    url = f"ws://127.0.0.1:{port}"
    await market.trade("AAPL", "10", "9")
    async with subscribe(url) as yesterday:
        await until(yesterday, lambda seen: seen.updates, "the snapshot")
        cursor = yesterday.cursor
        for start in (11, 611):
            await market.trade("AAPL", *[str(5000 + n if n % 2 else 5000 - n) for n in range(start, start + 600)])
        await until(yesterday, lambda seen: len(seen.alerts) == 1200, "all alerts, as they come")
    async with subscribe(url, since=cursor) as today:
        await until(today, lambda seen: seen.updates, "the alerts of meanwhile")
    alerts = today.seen.updates[0].alerts
    assert [alert.id for alert in alerts] == [alert.id for alert in yesterday.seen.alerts]


async def test_client_that_was_cut_between_two_parts_asks_for_all_of_them_again(subscribe: Subscribe) -> None:
    async def attend(visit: Visit) -> None:
        await visit.first(stocks=[stock("AAPL", visit.number)], cursor=f"c{visit.number}")
        if visit.number == 1:
            await visit.update(stocks=[stock("AAPL", 2)], alerts=[alert("a1"), alert("a2")], more=True)
            visit.cut()
        else:
            await visit.update(alerts=[alert("a1"), alert("a2")], more=True)
            await visit.update(alerts=[alert("a3")])
        await visit.stay()

    async with scripted(attend) as gateway, subscribe(gateway.url) as subscriber:
        await until(subscriber, lambda seen: len(seen.alerts) >= 3, "all parts")
    assert [alert.id for alert in subscriber.seen.alerts] == ["a1", "a2", "a3"]
    assert [visit.since for visit in gateway.visits] == ["", "c1"]


async def test_what_a_gateway_sends_again_is_given_once_and_no_price_goes_back(subscribe: Subscribe) -> None:
    async def attend(visit: Visit) -> None:
        await visit.first(stocks=[stock("AAPL", 7)])
        await visit.update(alerts=[alert("a1"), alert("a2")])
        await visit.update(stocks=[stock("AAPL", 6), stock("KO", 1)], alerts=[alert("a2"), alert("a3")])
        await visit.stay()

    async with scripted(attend) as gateway, subscribe(gateway.url) as subscriber:
        await until(subscriber, lambda seen: len(seen.alerts) >= 3, "all updates")
    assert [alert.id for alert in subscriber.seen.alerts] == ["a1", "a2", "a3"]
    assert {name: found.seq for name, found in subscriber.seen.stocks.items()} == {"AAPL": 7, "KO": 1}
