"""Ticks, bars and alerts from PostgreSQL: exact numbers, exact spans, and walks that show each row once."""

import json
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from tests.integration.api.conftest import Api
from tests.integration.api.rows import INCARNATION, at, enriched, tick

LATER = "1795346662099999-aaaaaaaa"


async def walk(api: Api, path: str, **parameters: object) -> list[dict[str, object]]:
    """All items along the cursors."""
    items: list[dict[str, object]] = []
    following: str | None = ""
    while following is not None:
        page = await api.json(path, **parameters, **({"cursor": following} if following else {}))
        items += page["items"]
        following = page["next"]
    return items


async def test_a_tick_is_the_characters_that_were_stored(api: Api) -> None:
    await api.store("ticks", [tick(1, "255.780000", volume="100.00"), tick(2, "999999999999.12345678"), tick(3, "0.00000001", volume="0")])
    response = await api.get("/api/stocks/AAPL/ticks")
    assert response.text == (
        '{"items":['
        '{"ticker":"AAPL","price":0.00000001,"ts":"2026-02-14T14:30:03.000+00:00","source":"simulated","volume":0},'
        '{"ticker":"AAPL","price":999999999999.12345678,"ts":"2026-02-14T14:30:02.000+00:00","source":"simulated","volume":null},'
        '{"ticker":"AAPL","price":255.78,"ts":"2026-02-14T14:30:01.000+00:00","source":"simulated","volume":100}'
        '],"next":null}'
    )


@pytest.mark.parametrize("limit", [1, 3, 10, 1000])
async def test_a_walk_shows_every_tick_once_newest_first_also_where_times_are_equal(api: Api, limit: int) -> None:
    rows = [tick(seq, str(seq), ts=at(seq // 7), incarnation=[INCARNATION, LATER][seq % 2]) for seq in range(1, 31)]
    await api.store("ticks", rows)
    prices = [item["price"] for item in await walk(api, "/api/stocks/AAPL/ticks", limit=limit)]
    assert prices == [int(row[5]) for row in sorted(rows, key=lambda row: (row[6], row[0], row[1], row[2]), reverse=True)]


async def test_rows_that_arrive_during_a_walk_neither_repeat_nor_hide_one(api: Api) -> None:
    await api.store("ticks", [tick(seq, str(seq)) for seq in range(1, 11)])
    first = await api.json("/api/stocks/AAPL/ticks", limit=4)
    await api.store("ticks", [tick(seq, str(seq)) for seq in range(11, 16)])
    rest = await api.json("/api/stocks/AAPL/ticks", limit=1000, cursor=first["next"])
    assert [item["price"] for item in first["items"] + rest["items"]] == list(range(10, 0, -1))


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-02-14T14:30:02Z", "2026-02-14T14:30:04Z"),
        ("1771079402000", "1771079404000"),
        ("2026-02-14T15:30:02+01:00", "2026-02-14T14:30:04.000"),
    ],
)
async def test_start_is_in_the_span_and_end_is_not(api: Api, start: str, end: str) -> None:
    await api.store("ticks", [tick(seq, str(seq)) for seq in range(1, 6)])
    found = await api.json("/api/stocks/AAPL/ticks", start=start, end=end)
    assert [item["price"] for item in found["items"]] == [3, 2]


async def test_a_plus_that_was_not_escaped_is_understood(api: Api) -> None:
    await api.store("ticks", [tick(1)])
    response = await api.get("/api/stocks/AAPL/ticks?start=2026-02-14T15:30:00+01:00")
    assert len(response.json()["items"]) == 1


async def test_other_tickers_and_unknown_ones_are_left_out(api: Api) -> None:
    await api.store("ticks", [tick(1), tick(2, ticker="MSFT")])
    assert len((await api.json("/api/stocks/MSFT/ticks"))["items"]) == 1
    assert await api.json("/api/stocks/IBM/ticks") == {"items": [], "next": None}


async def test_100_ticks_unless_asked_for_more(api: Api) -> None:
    await api.store("ticks", [tick(seq) for seq in range(1, 1003)])
    assert len((await api.json("/api/stocks/AAPL/ticks"))["items"]) == 100
    assert len((await api.json("/api/stocks/AAPL/ticks", limit=1000))["items"]) == 1000


async def test_bars_open_with_the_first_tick_and_close_with_the_last(api: Api) -> None:
    rows = [
        tick(1, "10.5", ts=at(0), volume="1.50"),
        tick(2, "12.25", ts=at(10)),
        tick(3, "9", ts=at(10), volume="2"),
        tick(4, "11", ts=at(59)),
    ]
    await api.store("ticks", [*rows, tick(5, "11.10", ts=at(180))])
    response = await api.get("/api/stocks/AAPL/bars?interval=1m")
    assert response.text == (
        '{"items":['
        '{"ts":"2026-02-14T14:30:00.000+00:00","open":10.5,"high":12.25,"low":9,"close":11,"volume":3.5,"count":4},'
        '{"ts":"2026-02-14T14:33:00.000+00:00","open":11.1,"high":11.1,"low":11.1,"close":11.1,"volume":null,"count":1}'
        "]}"
    )


async def test_among_ticks_of_one_instant_the_order_of_numbers_opens_and_closes(api: Api) -> None:
    await api.store("ticks", [tick(3, "3", ts=at(0)), tick(1, "1", ts=at(0)), tick(2, "2", ts=at(0))])
    (bar,) = (await api.json("/api/stocks/AAPL/bars"))["items"]
    assert (bar["open"], bar["close"]) == (1, 3)


@pytest.mark.parametrize(
    ("interval", "begins"),
    [("5m", "14:30:00"), ("15m", "14:30:00"), ("1h", "14:00:00"), ("1d", "00:00:00")],
)
async def test_bars_are_aligned_to_utc(api: Api, interval: str, begins: str) -> None:
    await api.store("ticks", [tick(1, ts=at(125))])
    (bar,) = (await api.json("/api/stocks/AAPL/bars", interval=interval))["items"]
    assert bar["ts"] == f"2026-02-14T{begins}.000+00:00"


async def test_a_bar_is_of_its_whole_interval_wherever_the_span_begins_and_ends(api: Api) -> None:
    await api.store("ticks", [tick(seq, str(seq), ts=at(seq * 20)) for seq in range(1, 9)])
    found = await api.json("/api/stocks/AAPL/bars", start="2026-02-14T14:30:30Z", end="2026-02-14T14:31:01Z")
    assert [(bar["ts"][11:19], bar["open"], bar["close"]) for bar in found["items"]] == [("14:31:00", 3, 5)]


async def test_without_a_start_the_newest_1000_intervals_are_shown(api: Api) -> None:
    await api.store("ticks", [tick(seq, ts=at(60 * seq)) for seq in range(1, 1101)])
    found = await api.json("/api/stocks/AAPL/bars")
    assert len(found["items"]) == 1000
    assert found["items"][-1]["ts"] == (at(60 * 1100)).isoformat(timespec="milliseconds")


async def test_too_many_bars_are_refused_by_name(api: Api) -> None:
    await api.store("ticks", [tick(1), tick(2, ts=at(0) + timedelta(days=30))])
    response = await api.get("/api/stocks/AAPL/bars?interval=1m&start=0")
    assert (response.status_code, response.json()["errors"][0]["parameter"]) == (422, "start")
    assert len((await api.json("/api/stocks/AAPL/bars", interval="1d", start=0))["items"]) == 2


async def test_an_alert_shows_the_prices_it_was_judged_by(api: Api) -> None:
    rows = [enriched(1, "10"), enriched(2, "10"), enriched(3, "9.50", "9.833333"), enriched(5, "12.25", "10.583333", "bullish")]
    await api.store("enriched", [*rows, enriched(4, "77", "77", ticker="MSFT")])
    response = await api.get("/api/alerts")
    assert response.text == (
        f'{{"items":[{{"id":"{INCARNATION}.2.5","ticker":"AAPL","direction":"bullish","price":12.25,"sma":10.583333,'
        '"ts":"2026-02-14T14:30:05.000+00:00","seq":5,"window":[10,9.5,12.25],"previous_sma":9.833333,"previous_price":9.5}],"next":null}'
    )


async def test_evidence_follows_the_order_of_commits_not_that_of_event_times(api: Api) -> None:
    await api.store("enriched", [enriched(1, "1"), enriched(2, "2", ts=at(9)), enriched(3, "9", "4", "bullish")])
    ((item),) = (await api.json("/api/alerts"))["items"]
    assert (item["window"], item["previous_price"]) == ([1, 2, 9], 2)


async def test_evidence_goes_back_into_the_incarnation_before_but_not_into_what_that_one_lost(api: Api) -> None:
    lost = [enriched(3, "50", "20")]
    await api.store("enriched", [enriched(1, "1"), enriched(2, "2"), *lost, enriched(3, "9", "4", "bullish", incarnation=LATER)])
    ((item),) = (await api.json("/api/alerts"))["items"]
    assert (item["window"], item["previous_sma"], item["previous_price"]) == ([1, 2, 9], None, 2)


async def test_evidence_that_is_not_the_average_is_not_shown(api: Api) -> None:
    await api.store(
        "enriched",
        [enriched(1, "1"), enriched(2, "2", "3"), enriched(3, "9", "5", "bullish"), enriched(9, "1", "1", "bearish", ticker="A")],
    )
    items = (await api.json("/api/alerts"))["items"]
    assert [(item["window"], item["previous_sma"], item["previous_price"]) for item in items] == [(None, None, None)] * 2


async def test_alerts_are_selected_by_ticker_direction_and_span(api: Api) -> None:
    rows = [enriched(n, str(n), "5", ["bullish", "bearish", None][n % 3], ticker=["AAPL", "MSFT"][n % 2]) for n in range(1, 31)]
    await api.store("enriched", rows)

    async def seqs(**parameters: object) -> list[object]:
        return [item["seq"] for item in await walk(api, "/api/alerts", limit=3, **parameters)]

    assert await seqs() == [n for n in range(30, 0, -1) if n % 3 != 2]
    assert await seqs(ticker="MSFT") == [n for n in range(30, 0, -1) if n % 3 != 2 and n % 2]
    assert await seqs(direction="bearish", ticker="AAPL") == [n for n in range(30, 0, -1) if n % 3 == 1 and not n % 2]
    assert await seqs(direction="bullish", start=at(6).isoformat(), end=at(18).isoformat()) == [15, 12, 9, 6]


async def test_numbers_survive_a_client_that_reads_decimals(api: Api) -> None:
    prices = ["0.1", "123456789012.00000001", "7"]
    await api.store("ticks", [tick(seq, price) for seq, price in enumerate(prices, 1)])
    text = (await api.get("/api/stocks/AAPL/ticks")).text
    found = json.loads(text, parse_float=Decimal, parse_int=Decimal)["items"]
    assert [str(item["price"]) for item in reversed(found)] == prices


async def test_pages_of_the_newest_come_in_order(api: Api) -> None:
    await api.store("ticks", [tick(seq) for seq in range(1, 300)])
    times = [str(item["ts"]) for item in await walk(api, "/api/stocks/AAPL/ticks")]
    assert all(newer > older for newer, older in pairwise(times))
