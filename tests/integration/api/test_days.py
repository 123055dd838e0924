"""The days of many tickers at once: opened by their first ticks, drawn by few points, and the same days that bars are of."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.integration.api.conftest import Api
from tests.integration.api.rows import INCARNATION, at, tick

EARLIER, LATER = "1795346660000000-bbbbbbbb", "1795346662099999-aaaaaaaa"
MIDNIGHT = datetime(2026, 2, 14, tzinfo=UTC)


async def one(api: Api, **parameters: object) -> dict[str, Any]:
    """The day of AAPL."""
    (found,) = await api.json("/api/days", tickers="AAPL", **parameters)
    return dict(found)


def prices(day: dict[str, Any]) -> list[float]:
    return [point["price"] for point in day["points"]]


async def test_a_day_is_the_characters_that_were_stored(api: Api) -> None:
    await api.store("ticks", [tick(1, "255.780000"), tick(2, "999999999999.12345678", ticker="BRK.B"), tick(3, "255.9")])
    response = await api.get("/api/days?tickers=BRK.B,AAPL&points=2")
    assert response.text == (
        '[{"ticker":"AAPL","day":"2026-02-14T00:00:00.000+00:00","open":255.78,"open_ts":"2026-02-14T14:30:01.000+00:00","points":['
        '{"ts":"2026-02-14T14:30:01.000+00:00","price":255.78},{"ts":"2026-02-14T14:30:03.000+00:00","price":255.9}]},'
        '{"ticker":"BRK.B","day":"2026-02-14T00:00:00.000+00:00","open":999999999999.12345678,'
        '"open_ts":"2026-02-14T14:30:02.000+00:00","points":[{"ts":"2026-02-14T14:30:02.000+00:00","price":999999999999.12345678}]}]'
    )


async def test_a_ticker_without_a_tick_is_left_out_and_one_that_is_named_twice_comes_once(api: Api) -> None:
    await api.store("ticks", [tick(1)])
    found = await api.json("/api/days", tickers="IBM,AAPL,AAPL")
    assert [(day["ticker"], day["points"]) for day in found] == [("AAPL", [])]
    assert await api.json("/api/days", tickers="IBM") == []


async def test_one_tick_is_open_and_only_point(api: Api) -> None:
    await api.store("ticks", [tick(1, "7")])
    day = await one(api, points=32)
    assert (day["open"], prices(day)) == (7, [7])


async def test_points_are_the_prices_that_held_at_evenly_spaced_moments(api: Api) -> None:
    moments = {0: "1", 11: "2", 19: "3", 21: "4", 39: "5", 40: "6"}
    await api.store("ticks", [tick(n, price, ts=at(second)) for n, (second, price) in enumerate(moments.items(), 1)])
    assert prices(await one(api, points=5)) == [1, 3, 4, 6]  # held at 0; at 10 still; at 20; at 30; at 40
    assert prices(await one(api, points=2)) == [1, 6]
    assert prices(await one(api, points=1)) == [6]
    assert prices(await one(api, points=100)) == [1, 2, 3, 4, 5, 6]


async def test_a_day_begins_at_midnight_in_utc_and_its_first_instant_is_within(api: Api) -> None:
    await api.store("ticks", [tick(1, "1", ts=MIDNIGHT - timedelta(milliseconds=1)), tick(2, "2", ts=MIDNIGHT)])
    day = await one(api, points=9)
    assert (day["day"], day["open"], prices(day)) == ("2026-02-14T00:00:00.000+00:00", 2, [2])


async def test_the_day_is_that_of_the_newest_tick_however_long_ago(api: Api) -> None:
    await api.store("ticks", [tick(1, "1", ts=MIDNIGHT - timedelta(hours=1)), tick(2, "2", ts=MIDNIGHT - timedelta(milliseconds=1))])
    assert (await one(api))["day"] == "2026-02-13T00:00:00.000+00:00"


async def test_a_tick_of_this_moment_hides_what_is_older(api: Api) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    await api.store("ticks", [tick(1, "1", ts=now - timedelta(days=40)), tick(2, "2", ts=now)])
    day = await one(api, points=3)
    assert (day["open"], day["open_ts"], prices(day)) == (2, now.isoformat(timespec="milliseconds"), [2])


async def test_of_ticks_of_one_instant_the_order_of_incarnation_and_number_decides(api: Api) -> None:
    rows = [
        tick(2, "2", ts=at(0)),
        tick(1, "9", ts=at(0)),
        tick(1, "3", ts=at(0), incarnation=LATER),
        tick(8, "1", ts=at(0), incarnation=EARLIER),
    ]
    await api.store("ticks", rows)
    day = await one(api, points=2)
    assert (day["open"], prices(day)) == (1, [3])


async def test_a_trade_that_came_late_opens_its_own_day_and_no_other(api: Api) -> None:
    late = (INCARNATION, 2, 9, "9-0", "AAPL", Decimal("5"), at(-60), "simulated", None, at(600))
    of_the_day_before = (INCARNATION, 2, 10, "10-0", "AAPL", Decimal("6"), at(-86_400), "simulated", None, at(601))
    await api.store("ticks", [tick(1, "1"), late, of_the_day_before])
    day = await one(api, points=10)
    assert (day["open"], prices(day)) == (5, [5, 1])


async def test_it_is_the_day_of_the_bar(api: Api) -> None:
    rows = [tick(seq, str(1 + seq * 7919 % 50), ts=at(seq * 4001), ticker=("AAPL", "MSFT")[seq % 2]) for seq in range(1, 60)]
    await api.store("ticks", rows)
    for day in await api.json("/api/days", tickers="AAPL,MSFT", points=5):
        bar = (await api.json(f"/api/stocks/{day['ticker']}/bars", interval="1d"))["items"][-1]
        assert (day["day"], day["open"], prices(day)[-1]) == (bar["ts"], bar["open"], bar["close"])


async def test_a_hundred_tickers_are_answered_in_one_call(api: Api) -> None:
    names = [f"T{n:02d}" for n in range(100)]
    await api.store("ticks", [tick(n, str(n + 1), ticker=name) for n, name in enumerate(names, 1)])
    found = json.loads((await api.get(f"/api/days?tickers={','.join(names)}&points=100")).text)
    assert [(day["ticker"], day["open"]) for day in found] == [(name, n + 1) for n, name in enumerate(names, 1)]
