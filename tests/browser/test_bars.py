"""The pure module of bars: REST and live prices joined, so that a bar that ended is exact and no moment is in two bars or in none."""

from typing import Any

import pytest

from tests.browser.visit import Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")

MINUTE = 60_000
DAY = 1440 * MINUTE
MIDNIGHT = 20_000 * DAY
SERIES = """async ([length, steps]) => {
  const { BarSeries } = await import("/static/dashboard/chart/bars.js");
  const series = new BarSeries(length);
  const joined = steps.map(([what, ...given]) => (series[what](...given), series.isJoined));
  const points = series.points(2);
  const bars = points.map(({ time, open, high, low, close }) => [time, open, high, low, close]);
  const [averages, volumes] = [points.map(({ sma }) => sma), points.map(({ volume }) => volume ?? null)];
  const { unsettledFrom, decimals } = series;
  return { joined, bars, averages, volumes, unsettledFrom, decimals };
}"""
SAME_OBJECTS = """async () => {
  const { BarSeries } = await import("/static/dashboard/chart/bars.js");
  const series = new BarSeries(60000);
  for (let minute = 0; minute < 9; minute++) series.add({ at: minute * 60000, price: "1" });
  const before = series.points(2);
  series.add({ at: 8 * 60000 + 1, price: "2" });
  return series.points(2).map((point, index) => point === before[index]);
}"""


async def bars_of(modules: Visit, *steps: tuple[Any, ...], length: int = MINUTE) -> Any:
    return await modules.run(SERIES, [length, steps])


def bar(minute: float, open_: str, high: str, low: str, close: str, volume: str | None = None) -> dict[str, str | None]:
    at = int(minute * MINUTE)
    return {
        "ts": f"1970-01-01T00:{at // MINUTE:02d}:00.000+00:00",
        "open": open_,
        "high": high,
        "low": low,
        "close": close,
        "volume": volume,
    }


def live(minute: float, price: str) -> tuple[str, dict[str, object]]:
    return "add", {"at": int(minute * MINUTE), "price": price}


async def test_the_current_bar_is_made_of_live_prices(modules: Visit) -> None:
    seen = await bars_of(modules, live(1.1, "5"), live(1.2, "7"), live(1.3, "4"), live(1.9, "6"))
    assert seen["bars"] == [[60, 5, 7, 4, 6]]


async def test_a_bar_that_ended_is_as_rest_says_and_the_newest_keeps_what_came_live(modules: Visit) -> None:
    rows = [bar(1, "5", "9", "3", "6"), bar(2, "6", "6.5", "5.5", "6")]
    seen = await bars_of(modules, live(1.5, "5.5"), live(2.1, "7"), live(2.2, "6.8"), ("settle", rows))
    assert seen["bars"] == [[60, 5, 9, 3, 6], [120, 6, 7, 5.5, 6.8]]


async def test_when_rest_knows_a_further_bar_the_extremes_of_live_prices_are_forgotten(modules: Visit) -> None:
    steps = (
        live(2.1, "99"),
        ("settle", [bar(2, "6", "7", "5", "6")]),
        ("settle", [bar(2, "6", "7", "5", "6"), bar(3, "6", "6", "6", "6")], 2 * MINUTE),
    )
    assert (await bars_of(modules, *steps))["bars"] == [[120, 6, 7, 5, 6], [180, 6, 6, 6, 6]]


async def test_bars_are_not_joined_before_rest_reached_the_first_live_one(modules: Visit) -> None:
    steps = (
        live(4.5, "4"),
        ("settle", [bar(1, *"1111"), bar(2, *"2222")]),
        live(5.1, "5"),
        ("settle", [bar(2, *"2222"), bar(3, *"3333"), bar(4, *"4444")], 2 * MINUTE),
    )
    seen = await bars_of(modules, *steps)
    assert seen["joined"] == [False, False, False, True]
    assert [each[0] for each in seen["bars"]] == [60, 120, 180, 240, 300]


async def test_after_a_break_rest_has_to_reach_the_next_live_price(modules: Visit) -> None:
    steps = (
        live(1.1, "1"),
        ("settle", [bar(1, *"1111")]),
        ("break",),
        live(5.5, "5"),
        ("settle", [bar(1, *"1212"), bar(3, *"3333"), bar(5, *"4444")], MINUTE),
    )
    seen = await bars_of(modules, *steps)
    assert seen["joined"] == [False, True, True, False, True]
    assert seen["bars"] == [[60, 1, 2, 1, 2], [180, 3, 3, 3, 3], [300, 4, 5, 4, 5]]


async def test_a_close_from_before_a_break_gives_way_to_what_rest_says(modules: Visit) -> None:
    seen = await bars_of(modules, live(1.1, "7"), ("break",), ("settle", [bar(1, "6", "8", "5", "5")]))
    assert seen["bars"] == [[60, 6, 8, 5, 5]]


async def test_an_interval_without_a_price_has_no_bar(modules: Visit) -> None:
    assert [each[0] for each in (await bars_of(modules, live(1, "1"), live(4, "2")))["bars"]] == [60, 240]


async def test_late_prices_make_no_disorder(modules: Visit) -> None:
    seen = await bars_of(modules, live(1.5, "1"), live(3.5, "3"), live(2.5, "2"), live(3.1, "9"))
    assert seen["bars"] == [[60, 1, 1, 1, 1], [120, 2, 2, 2, 2], [180, 3, 9, 3, 3]]
    settled = await bars_of(modules, ("settle", [bar(1, *"1111"), bar(2, *"2222")]), live(1.5, "9"))
    assert settled["bars"] == [[60, 1, 1, 1, 1], [120, 2, 2, 2, 2]]


async def test_what_rest_does_not_know_any_more_is_gone(modules: Visit) -> None:
    steps = (live(1.5, "1"), live(2.5, "2"), live(3.5, "3"), ("settle", [bar(1, *"1111"), bar(3, *"3333")]))
    assert [each[0] for each in (await bars_of(modules, *steps))["bars"]] == [60, 180]


async def test_state_that_was_replaced_keeps_what_was_stored_alone(modules: Visit) -> None:
    steps = (("settle", [bar(1, *"1111"), bar(2, *"2222")]), live(2.5, "7"), live(3.5, "8"), ("dropLive",))
    seen = await bars_of(modules, *steps)
    assert seen["bars"] == [[60, 1, 1, 1, 1], [120, 2, 2, 2, 2]]
    assert (await bars_of(modules, *steps, ("clear",)))["bars"] == []


async def test_older_bars_come_before_what_is_known(modules: Visit) -> None:
    steps = (("settle", [bar(8, *"8888"), bar(9, *"9999")]), live(10, "10"), ("settle", [bar(5, *"5555"), bar(7, *"7777")], 3 * MINUTE))
    seen = await bars_of(modules, *steps)
    assert [each[0] // 60 for each in seen["bars"]] == [5, 7, 8, 9, 10]
    assert seen["unsettledFrom"] == 8 * MINUTE


async def test_a_day_ends_at_midnight_of_utc(modules: Visit) -> None:
    prices = [("add", {"at": MIDNIGHT + offset, "price": price}) for offset, price in ((-1, "1"), (0, "2"), (DAY - 1, "3"), (DAY, "4"))]
    seen = await bars_of(modules, *prices, length=DAY)
    assert seen["bars"] == [[(MIDNIGHT - DAY) // 1000, 1, 1, 1, 1], [MIDNIGHT // 1000, 2, 3, 2, 3], [(MIDNIGHT + DAY) // 1000, 4, 4, 4, 4]]


async def test_the_average_is_that_of_the_last_closes_and_a_volume_is_shown_where_there_is_one(modules: Visit) -> None:
    rows = [bar(1, "1", "1", "1", "1", "10"), bar(2, "2", "2", "2", "2.25"), bar(3, "4", "4", "4", "4", "2.5")]
    seen = await bars_of(modules, ("settle", rows))
    assert seen["averages"] == [None, 1.625, 3.125]
    assert seen["volumes"] == [10, None, 2.5]
    assert seen["decimals"] == 2


async def test_a_price_changes_the_last_point_alone(modules: Visit) -> None:
    assert await modules.run(SAME_OBJECTS) == [True] * 8 + [False]
