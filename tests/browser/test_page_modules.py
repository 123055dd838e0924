"""The pure modules of the page, run where they run: prices and their direction, alerts once, history and live joined."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.browser.visit import Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")

BOARD = """async (updates) => {
  const { Board } = await import("/static/dashboard/board.js");
  const board = new Board();
  const fresh = updates.map((update) => board.onUpdate(update, 0));
  const prices = [...board.prices].map(([ticker, stock]) => [ticker, { ...stock, at: stock.at, direction: stock.direction }]);
  return { prices: Object.fromEntries(prices), alerts: board.alerts.newest, fresh };
}"""

SERIES = """async (steps) => {
  const { TickSeries } = await import("/static/dashboard/chart/ticks.js");
  const series = new TickSeries();
  const joined = steps.map(([what, argument]) => (series[what](argument), series.isJoined));
  const [ticks, stored] = [series.ticks.map(({ at, price }) => [at, price]), series.ticks.map(({ isStored }) => isStored)];
  return { joined, ticks, stored, points: series.points(2) };
}"""


def update(*stocks: dict[str, object], is_replaced: bool = False, alerts: Sequence[dict[str, object]] = ()) -> dict[str, object]:
    return {"timestamp": "2026-01-02T15:00:00.000+00:00", "stocks": stocks, "alerts": alerts, "isReplaced": is_replaced}


def stock(price: str, seq: int, ticker: str = "AAPL") -> dict[str, object]:
    return {"ticker": ticker, "price": price, "sma": None, "alert": None, "ts": "2026-01-02T15:00:00.000+00:00", "seq": seq}


def alert(number: int, second: int) -> dict[str, object]:
    ts = f"2026-01-02T15:00:{second:02d}.000+00:00"
    return {"id": f"i.0.{number}", "ticker": "V", "direction": "bullish", "price": "1", "sma": "1", "ts": ts, "seq": number}


def row(ms: int, price: str) -> dict[str, str]:
    return {"ts": f"1970-01-01T00:00:{ms // 1000:02d}.{ms % 1000:03d}+00:00", "price": price}


def live(ms: int, price: str) -> dict[str, object]:
    return {"at": ms, "price": price, "sma": None}


async def test_a_price_tells_in_which_direction_it_moved_last(modules: Visit) -> None:
    prices = ["2", "3", "3", "2.99"]
    boards = [await modules.run(BOARD, [update(stock(price, seq)) for seq, price in enumerate(prices[:end])]) for end in range(1, 5)]
    assert [board["prices"]["AAPL"]["direction"] for board in boards] == [0, 1, 1, -1]
    assert [board["prices"]["AAPL"]["at"] for board in boards] == [1767366000000] * 4


async def test_an_update_that_replaces_everything_leaves_no_other_ticker(modules: Visit) -> None:
    seen = await modules.run(BOARD, [update(stock("3", 8), stock("5", 9, "V")), update(stock("2", 1), is_replaced=True)])
    assert list(seen["prices"]) == ["AAPL"]
    assert seen["prices"]["AAPL"]["seq"] == 1
    assert seen["prices"]["AAPL"]["direction"] == -1


async def test_an_alert_that_comes_again_is_listed_once_and_the_newest_stands_first(modules: Visit) -> None:
    seen = await modules.run(BOARD, [update(alerts=each) for each in ([alert(1, 10), alert(2, 20)], [alert(2, 20), alert(3, 15)])])
    assert [each["seq"] for each in seen["alerts"]] == [2, 3, 1]
    assert [[each["seq"] for each in fresh] for fresh in seen["fresh"]] == [[1, 2], [3]]


async def test_history_is_not_joined_before_it_reached_the_first_live_tick(modules: Visit) -> None:
    early, late = [row(2000, "2"), row(1000, "1")], [row(4500, "4"), row(3000, "3"), row(2000, "2")]
    steps = [["add", live(4500, "4")], ["settle", early], ["add", live(5200, "5")], ["settle", late]]
    series = await modules.run(SERIES, steps)
    assert series["joined"] == [False, False, False, True]
    assert series["ticks"] == [[1000, "1"], [2000, "2"], [3000, "3"], [4500, "4"], [5200, "5"]]


async def test_what_live_entries_left_out_comes_with_the_history(modules: Visit) -> None:
    steps = [["add", live(1100, "1")], ["add", live(1900, "3")], ["settle", [row(1900, "3"), row(1500, "2"), row(1100, "1")]]]
    assert (await modules.run(SERIES, steps))["ticks"] == [[1100, "1"], [1500, "2"], [1900, "3"]]


async def test_a_live_tick_that_history_has_already_is_no_second_one(modules: Visit) -> None:
    steps = [["settle", [row(2000, "2"), row(1000, "1")]], ["add", live(2000, "2")], ["add", live(1000, "1")]]
    series = await modules.run(SERIES, steps)
    assert series["ticks"] == [[1000, "1"], [2000, "2"]]
    assert series["stored"] == [True, True]


async def test_of_two_live_ticks_of_one_moment_the_later_holds(modules: Visit) -> None:
    assert (await modules.run(SERIES, [["add", live(1000, "1")], ["add", live(1000, "2")]]))["ticks"] == [[1000, "2"]]


async def test_after_a_break_history_has_to_reach_the_next_live_tick(modules: Visit) -> None:
    joined = [["settle", [row(1000, "1")]], ["add", live(2000, "2")], ["settle", [row(2000, "2")]]]
    steps = [*joined, ["break", None], ["add", live(9000, "9")]]
    assert (await modules.run(SERIES, steps))["joined"] == [True, False, True, True, False]


async def test_a_second_is_drawn_as_its_last_tick_with_the_average_of_the_ticks(modules: Visit) -> None:
    rows = [row(2100, "8"), row(1900, "4"), row(1100, "2")]
    points = (await modules.run(SERIES, [["settle", rows]]))["points"]
    assert points == [{"time": 1, "price": 4, "sma": 3}, {"time": 2, "price": 8, "sma": 6}]


async def test_a_live_tick_changes_the_last_point_alone(modules: Visit) -> None:
    seconds = """async () => {
      const { TickSeries } = await import("/static/dashboard/chart/ticks.js");
      const series = new TickSeries();
      for (let second = 0; second < 9; second++) series.add({ at: second * 1000, price: "1", sma: null });
      const before = series.points(2);
      series.add({ at: 8500, price: "2", sma: null });
      series.add({ at: 9500, price: "3", sma: null });
      const points = series.points(2);
      return { same: points.map((point, index) => point === before[index]), last: points.slice(-2) };
    }"""
    seen = await modules.run(seconds)
    assert seen["same"] == [True] * 8 + [False] * 2
    assert seen["last"] == [{"time": 8, "price": 2, "sma": None}, {"time": 9, "price": 3, "sma": None}]


async def test_points_made_bit_by_bit_are_those_made_at_once(modules: Visit) -> None:
    first, then = [row(3500, "3"), row(2500, "5"), row(2000, "2")], [row(5000, "6"), row(4100, "4"), row(3900, "9"), row(3500, "3")]
    lives = [["add", live(4100, "4")], ["add", live(2700, "7")]]
    steps = [["settle", first], *lives, ["settle", then], ["prepend", [row(2000, "2"), row(1000, "1")]]]
    bit_by_bit = """async (steps) => {
      const { TickSeries } = await import("/static/dashboard/chart/ticks.js");
      const series = new TickSeries();
      for (const [what, argument] of steps) (series[what](argument), series.points(2));
      return series.points(2);
    }"""
    points = await modules.run(bit_by_bit, steps)
    assert points == (await modules.run(SERIES, steps))["points"]
    assert [point["time"] for point in points] == [1, 2, 3, 4, 5]


async def test_the_volume_of_a_second_is_that_of_its_ticks(modules: Visit) -> None:
    rows = [row(2100, "8"), {**row(1900, "4"), "volume": "1.5"}, {**row(1100, "2"), "volume": "2"}]
    points = (await modules.run(SERIES, [["settle", rows]]))["points"]
    assert [point.get("volume") for point in points] == [3.5, None]


GAPS = """async ([gaps, times, length]) => {
  const { placed } = await import("/static/dashboard/chart/gaps.js");
  const points = times.map((time) => ({ time }));
  return placed(gaps, points, (ms) => Math.floor(ms / 1000 / length) * length).map(({ from, to, text }) => [from, to, text]);
}"""


def gap(after: int | None, before: int | None, kind: str = "gap", ticks: int | None = 12) -> dict[str, object]:
    ends = [moment and f"1970-01-01T00:{moment // 60:02d}:{moment % 60:02d}.500Z" for moment in (after, before)]
    return {"kind": kind, "ticks": ticks, "after": ends[0], "before": ends[1]}


@pytest.mark.parametrize(
    ("gaps", "length", "shown"),
    [
        ([gap(2, 5)], 1, [[1, 2, "up to 12 ticks lost (gap)"]]),
        ([gap(2, 5, ticks=1)], 1, [[1, 2, "up to 1 tick lost (gap)"]]),
        ([gap(5, 5, "rewind")], 1, [[2, 2, "Redis came back without 12 ticks (rewind)"]]),
        ([gap(2, 5, "reset", None)], 1, [[1, 2, "Redis came back empty (reset)"]]),
        ([gap(None, 1), gap(6, None), gap(6, 9)], 1, []),
        ([gap(1, 2)], 60, []),
        ([gap(61, 62), gap(63, 150)], 60, [[0, 0, "up to 12 ticks lost (gap)"], [0, 1, "up to 12 ticks lost (gap)"]]),
    ],
)
async def test_a_gap_lies_between_the_points_on_its_two_sides(modules: Visit, gaps: list[Any], length: int, shown: list[Any]) -> None:
    times = [1, 2, 5, 6] if length == 1 else [60, 120]
    assert await modules.run(GAPS, [gaps, times, length]) == shown


async def test_the_words_of_a_crossover_tell_the_evidence(modules: Visit) -> None:
    told = """async (alert) => (await import("/static/dashboard/chart/evidence.js")).told(alert)"""
    crossed = {"ticker": "V", "direction": "bullish", "price": "12.5", "sma": "12.25", "previous_price": "12", "previous_sma": "12.1"}
    assert await modules.run(told, crossed) == (
        "V crossed bullish: price 12.50, average 12.25. The price was below its average, it is above since. "
        "Before, the price was 12.00 and the average 12.10."
    )


async def test_keys_move_along_the_chart_and_those_of_the_browser_stay_its_own(modules: Visit) -> None:
    keys = """async (keys) => {
      const { actionOf } = await import("/static/dashboard/chart/keys.js");
      return keys.map((key) => actionOf(key) ?? null);
    }"""
    pressed = [
        {"key": "ArrowLeft"},
        {"key": "ArrowRight", "shiftKey": True},
        {"key": "+", "shiftKey": True},
        {"key": "ArrowLeft", "altKey": True},
        {"key": "x"},
    ]
    assert await modules.run(keys, pressed) == [["step", -1], ["jump", 1], ["zoom", 1], None, None]


LEGEND = """async ([price, bar]) => {
  const { partsOfTick, partsOfBar } = await import("/static/dashboard/chart/legend.js");
  const told = (parts) => parts.map(([, label, text]) => `${label} ${text}`.trim());
  return [told(partsOfTick(price, "now", 3)), told(partsOfBar(bar, "then", 5, 1))];
}"""


async def test_the_legend_says_how_many_prices_an_average_waits_for_and_what_that_of_bars_is(modules: Visit) -> None:
    bar = {"open": "1", "high": "2.5", "low": "0.75", "close": "2", "sma": "1.9", "volume": None}
    told = await modules.run(LEGEND, [{"price": "7.125", "sma": None}, bar])
    assert told[0] == ["7.125", "SMA after 3 more prices", "now"]
    assert told[1] == ["O 1.00", "H 2.50", "L 0.75", "C 2.00", "SMA 5 of closes 1.90", "then", "Vol –"]


async def test_an_answer_that_is_no_json_is_told_like_one_that_does_not_come(modules: Visit) -> None:
    asked = """async () => {
      const { RestError, read } = await import("/static/rest.js");
      return read("/a/page/of/a/proxy").catch((error) => [error instanceof RestError, error.message]);
    }"""
    assert await modules.run(asked) == [True, "what answers in place of the REST service sends no JSON"]
