"""The pure modules of the watch list, run where they run: changes are exact, orders the same whenever made, days asked for in turn."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.browser.visit import Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHANGES = """async (pairs) => {
  const { changeOf } = await import("/static/dashboard/watchlist/change.js");
  return pairs.map(([price, open]) => Object.values(changeOf(price, open)));
}"""
ORDER = """async ({ values, find, sort, pinned }) => {
  const { ordered, parseSort } = await import("/static/dashboard/watchlist/order.js");
  const valueOf = (ticker) => values[ticker];
  return ordered(Object.keys(values), { find, sort: parseSort(sort), pinned: new Set(pinned), valueOf });
}"""
CLICKS = """async (keys) => {
  const { clicked, parseSort } = await import("/static/dashboard/watchlist/order.js");
  let sort = "ticker";
  return keys.map((key) => (sort = clicked(key, parseSort(sort))));
}"""
REARRANGING = """async (cases) => {
  const { mayRearrange, parseSort } = await import("/static/dashboard/watchlist/order.js");
  return cases.map(([sort, sinceMs, isPointedAt, isFocused]) => mayRearrange({ sort: parseSort(sort), sinceMs, isPointedAt, isFocused }));
}"""
SPARK = """async ({ stored, open, live }) => {
  const { Spark, placed } = await import("/static/dashboard/watchlist/spark.js");
  const spark = new Spark(stored.map(([at, value]) => ({ at, value })), open);
  for (const [at, value] of live) spark.add(at, value);
  return { points: spark.points.map(({ at, value }) => [at, value]), direction: spark.direction, ...placed(spark, 100, 10) };
}"""
DAYS = """async (steps) => {
  const { Days } = await import("/static/dashboard/watchlist/days.js");
  const days = new Days();
  const open = ([ticker, at]) => days.openOf(ticker, at);
  const all = { next: ([inView, others, at, now]) => days.next(inView, others, () => at, now), open };
  const line = (ticker) => days.sparkOf(ticker)?.points.map(({ value }) => value) ?? null;
  return steps.map(([what, ...given]) =>
    what === "line" ? line(...given) : what in all ? all[what](given) : (days[what](...given), null));
}"""
RANGES = """async (views) => {
  const { rangeInView } = await import("/static/dashboard/watchlist/range.js");
  return views.map(([top, height, count]) => rangeInView({ top, height, rowHeight: 10, count }));
}"""
SHOWN = """async (places) => {
  const { topShowing } = await import("/static/dashboard/watchlist/range.js");
  return places.map((place) => topShowing(place, { top: 100, height: 50, rowHeight: 10 }));
}"""
PINS = """async (texts) => {
  const { parsePins } = await import("/static/dashboard/watchlist/pins.js");
  return texts.map((text) => [...parsePins(text)]);
}"""

FLASHES = """async ([isBusy, prices]) => {
  const { Row } = await import("/static/dashboard/watchlist/row.js");
  const row = new Row();
  row.assign("AAPL");
  for (const price of prices) row.show({ ticker: "AAPL", price, sma: null, at: 0, direction: -1 }, null, { isSeen: true, isBusy });
  return row.element.querySelector(".price").dataset.flash ?? null;
}"""

FLASHES_IN_SIGHT = """async (wasSeen) => {
  const { Row } = await import("/static/dashboard/watchlist/row.js");
  const { now } = performance;
  let ms = now.call(performance);
  const row = new Row();
  const show = (price, how) => row.show({ ticker: "AAPL", price, sma: null, at: 0, direction: -1 }, null, how);
  try {
    performance.now = () => ms;
    row.assign("AAPL");
    show("3", { isSeen: wasSeen, isBusy: true });
    ms += 5_000;
    show("2", { isSeen: false });
    ms += 250;
    show("1", { isSeen: true, isBusy: true });
  } finally {
    performance.now = now;
  }
  return row.element.querySelector(".price").dataset.flash ?? null;
}"""

WRITTEN = """async (isBusy) => {
  const { Row } = await import("/static/dashboard/watchlist/row.js");
  const row = new Row();
  row.assign("AAPL");
  const stock = (price, sma, direction) => ({ ticker: "AAPL", price, sma, at: 0, direction });
  row.show(stock("10", "10", 0), "8", { isSeen: true, isBusy: false });
  row.show(stock("12", "11", 1), "8", { isSeen: true, isBusy });
  const text = (name) => row.element.querySelector(`.${name}`).textContent;
  return [text("price"), row.element.querySelector(".move").dataset.direction, text("percent"), text("sma")];
}"""

MIDNIGHT = 1_771_027_200_000
DAY_MS = 86_400_000
TOLD = "2026-02-14T00:00:00.000+00:00"


async def test_a_row_that_comes_into_view_flashes_with_its_next_price_unless_much_of_the_list_changes(modules: Visit) -> None:
    assert await modules.run(FLASHES, [False, ["2"]]) is None
    assert await modules.run(FLASHES, [False, ["2", "1"]]) == "down 1"
    assert await modules.run(FLASHES, [False, ["2", "1", "0.5"]]) == "down 1", "not again at once"
    assert await modules.run(FLASHES, [True, ["2", "1"]]) is None


async def test_a_row_that_moved_beside_sight_comes_into_a_list_in_which_much_changes_without_a_flash(modules: Visit) -> None:
    assert await modules.run(FLASHES_IN_SIGHT, True) is None
    assert await modules.run(FLASHES_IN_SIGHT, False) is None


async def test_where_much_of_the_list_changes_a_price_and_its_arrow_do_not_wait_and_the_rest_does(modules: Visit) -> None:
    assert await modules.run(WRITTEN, False) == ["12.00", "up", "+50.00%", "11.00"]
    assert await modules.run(WRITTEN, True) == ["12.00", "up", "+25.00%", "10.00"]


async def test_a_change_is_exact_to_the_last_digit_and_has_a_sign(modules: Visit) -> None:
    pairs = [["255.78", "254.5"], ["0.3", "0.1"], ["9", "10"], ["10", "10.0"], ["999999999999.12345678", "999999999999.12345679"]]
    assert await modules.run(CHANGES, pairs) == [
        ["+1.28", "+0.50%", 1],
        ["+0.20", "+200.00%", 1],
        ["−1.00", "−10.00%", -1],
        ["0.00", "0.00%", 0],
        ["−0.00000001", "−0.00%", -1],
    ]


async def test_a_percentage_is_rounded_half_away_from_zero(modules: Visit) -> None:
    pairs = [["200.01", "200"], ["199.99", "200"], ["200.00999", "200"], ["30000", "2"]]
    assert [percent for _, percent, _ in await modules.run(CHANGES, pairs)] == ["+0.01%", "−0.01%", "+0.00%", "+1\u202f499\u202f900.00%"]


async def ordered(modules: Visit, values: Mapping[str, float | None], *, find: str = "", sort: str = "ticker", pinned: str = "") -> str:
    """The tickers as they stand."""
    order: Sequence[str] = await modules.run(ORDER, {"values": values, "find": find, "sort": sort, "pinned": pinned.split()})
    return " ".join(order)


async def test_tickers_stand_as_they_are_sorted_and_unknown_values_last_either_way(modules: Visit) -> None:
    values = {"B": 2, "D": None, "A": 1, "C": 2, "E": -1}
    assert await ordered(modules, values) == "A B C D E"
    assert await ordered(modules, values, sort="-ticker") == "E D C B A"
    assert await ordered(modules, values, sort="change") == "E A B C D"
    assert await ordered(modules, values, sort="-change") == "B C A E D"


async def test_what_cannot_be_sorted_by_is_sorted_by_ticker(modules: Visit) -> None:
    for sort in ("", "-", "volume", "-constructor", "toString"):
        assert await ordered(modules, {"B": 1, "A": 2}, sort=sort) == "A B"


async def test_pinned_tickers_stand_first_and_in_the_same_order(modules: Visit) -> None:
    assert await ordered(modules, {"A": 1, "B": 2, "C": 3, "D": 4}, sort="-change", pinned="A C NOSUCH") == "C A D B"


async def test_a_search_finds_parts_of_a_ticker_in_any_case(modules: Visit) -> None:
    values = {"AAPL": 1, "BRK.B": 2, "MSFT": 3, "JPM": 4}
    assert await ordered(modules, values, find="m") == "JPM MSFT"
    assert await ordered(modules, values, find=" brk. ") == "BRK.B"
    assert await ordered(modules, values, find="x", pinned="AAPL") == ""


async def test_a_click_puts_the_greatest_first_and_the_next_one_turns_the_order(modules: Visit) -> None:
    clicks = ["change", "change", "price", "age", "alert", "ticker", "ticker"]
    assert await modules.run(CLICKS, clicks) == ["-change", "change", "-price", "age", "-alert", "ticker", "-ticker"]


async def spark(
    modules: Visit, stored: Sequence[Sequence[float]], live: Sequence[Sequence[float]] = (), open_: float = 5
) -> dict[str, Any]:
    """The points of a line, and where they lie."""
    found: dict[str, Any] = await modules.run(SPARK, {"stored": stored, "open": open_, "live": live})
    return found


async def test_a_line_lies_in_its_box_with_its_open(modules: Visit) -> None:
    drawn = await spark(modules, [[0, 5], [50, 10], [200, 7.5]])
    assert drawn["line"] == [[0, 10], [25, 0], [100, 5]]
    assert (drawn["baseline"], drawn["direction"]) == (10, 1)


async def test_a_price_that_is_told_again_changes_nothing_and_a_later_one_of_its_moment_holds(modules: Visit) -> None:
    stored = [[0, 5], [10_000, 6]]
    once = await spark(modules, stored, live=[[20_000, 7]])
    assert (await spark(modules, stored, live=[[20_000, 7], [20_000, 7]]))["points"] == once["points"] == [[0, 5], [10_000, 6], [20_000, 7]]
    assert (await spark(modules, stored, live=[[20_000, 7], [20_000, 8]]))["points"][-2:] == [[10_000, 6], [20_000, 8]]


async def test_a_line_of_one_price_or_of_none_has_its_place(modules: Visit) -> None:
    assert (await spark(modules, [[7, 5]]))["line"] == [[0, 5]]
    assert (await spark(modules, [[0, 5], [10, 5]]))["line"] == [[0, 5], [100, 5]]
    nothing = await spark(modules, [])
    assert (nothing["line"], nothing["direction"]) == ([], 0)


async def test_live_prices_continue_a_line_and_move_its_end_where_they_come_close(modules: Visit) -> None:
    stored = [[0, 5], [3200, 6]]  # continued at most every 100 ms
    drawn = await spark(modules, stored, [[3250, 7], [3299, 8], [3350, 9]])
    assert drawn["points"] == [[0, 5], [3200, 6], [3299, 8], [3350, 9]]


async def test_a_price_that_comes_late_does_not_bend_a_line_back(modules: Visit) -> None:
    assert (await spark(modules, [[0, 5], [3200, 6]], [[3100, 1]]))["points"] == [[0, 5], [3200, 6]]


async def test_a_line_that_is_never_read_again_stays_bounded_and_keeps_both_ends(modules: Visit) -> None:
    points = (await spark(modules, [[0, 5], [1, 6]], [[10 * n, n] for n in range(1, 5000)]))["points"]
    assert len(points) <= 64
    assert (points[0], points[-1]) == ([0, 5], [49_990, 4999])


def day(ticker: str, open_: str = "5", told: str = TOLD, points: Sequence[str] = ()) -> dict[str, object]:
    stamps = [f"2026-02-14T00:00:{second:02d}.000+00:00" for second in range(len(points))]
    return {"ticker": ticker, "day": told, "open": open_, "points": [{"ts": ts, "price": p} for ts, p in zip(stamps, points, strict=True)]}


def asked(*tickers: str, points: int = 32) -> dict[str, object]:
    return {"tickers": list(tickers), "points": points}


NOON = MIDNIGHT + DAY_MS // 2


async def test_rows_in_view_are_asked_for_with_their_lines_before_the_opens_of_others(modules: Visit) -> None:
    steps = [
        ["next", ["B"], ["A", "B", "C"], NOON, 0],
        ["take", asked("B"), [day("B", points=["5", "6"])], 0],
        ["next", ["B"], ["A", "B", "C"], NOON, 0],
        ["take", asked("A", "C", points=0), [day("A"), day("C")], 0],
        ["next", ["B"], ["A", "B", "C"], NOON, 59_999],
        ["next", ["C"], ["A", "B", "C"], NOON, 0],
    ]
    seen = await modules.run(DAYS, steps)
    assert [each for each in seen if each] == [asked("B"), asked("A", "C", points=0), asked("C")]


async def test_a_line_is_asked_for_again_after_a_minute_and_an_open_is_not(modules: Visit) -> None:
    steps = [
        ["take", asked("A", "B"), [day("A", points=["5"]), day("B", points=["5"])], 0],
        ["next", ["A"], ["A", "B"], NOON, 59_999],
        ["next", ["A"], ["A", "B"], NOON, 60_000],
        ["next", [], ["A", "B"], NOON, 600_000],
    ]
    assert (await modules.run(DAYS, steps))[1:] == [None, asked("A"), None]


async def test_no_more_than_a_hundred_are_asked_for_at_once(modules: Visit) -> None:
    many = [f"T{n:03d}" for n in range(150)]
    (found,) = await modules.run(DAYS, [["next", [], many, NOON, 0]])
    assert found == asked(*many[:100], points=0)


async def test_an_open_of_yesterday_is_not_shown_today_and_asked_for_again_soon(modules: Visit) -> None:
    steps = [
        ["take", asked("A"), [day("A")], 0],
        ["open", "A", MIDNIGHT + DAY_MS - 1],
        ["open", "A", MIDNIGHT + DAY_MS],
        ["next", ["A"], ["A"], MIDNIGHT + DAY_MS, 4_999],
        ["next", ["A"], ["A"], MIDNIGHT + DAY_MS, 5_000],
        ["take", asked("A"), [day("A", "7", "2026-02-15T00:00:00.000+00:00")], 5_000],
        ["open", "A", MIDNIGHT + DAY_MS],
    ]
    assert (await modules.run(DAYS, steps))[1:] == ["5", None, None, asked("A"), None, "7"]


async def test_a_ticker_that_has_no_row_yet_is_asked_for_again_soon(modules: Visit) -> None:
    steps = [["take", asked("A"), [], 0], ["open", "A", NOON], ["next", ["A"], ["A"], NOON, 4_999], ["next", ["A"], ["A"], NOON, 5_000]]
    assert (await modules.run(DAYS, steps))[1:] == [None, None, asked("A")]


async def test_after_a_failure_nothing_is_asked_for_a_while_and_what_is_known_stays(modules: Visit) -> None:
    steps = [
        ["take", asked("A"), [day("A", points=["5", "6"])], 0],
        ["fail", 1_000],
        ["next", ["A", "B"], ["A", "B"], NOON, 15_999],
        ["next", ["A", "B"], ["A", "B"], NOON, 16_000],
        ["open", "A", NOON],
        ["line", "A"],
    ]
    assert (await modules.run(DAYS, steps))[2:] == [None, asked("B"), "5", [5, 6]]


async def test_live_prices_continue_the_line_of_their_own_day_only(modules: Visit) -> None:
    live = {"ticker": "A", "price": "9", "at": MIDNIGHT + 60_000}
    tomorrow = {"ticker": "A", "price": "1", "at": MIDNIGHT + DAY_MS}
    unknown = {"ticker": "B", "price": "1", "at": NOON}
    steps = [["take", asked("A"), [day("A", points=["5", "6"])], 0], ["add", live], ["add", tomorrow], ["add", unknown], ["line", "A"]]
    assert (await modules.run(DAYS, steps))[-1] == [5, 6, 9]


async def test_only_rows_in_view_and_a_few_beside_them_are_to_exist(modules: Visit) -> None:
    views = [[0, 100, 1000], [5000, 100, 1000], [5005, 100, 1000], [9900, 100, 1000], [0, 100, 3], [0, 100, 0]]
    assert await modules.run(RANGES, views) == [[0, 16], [494, 516], [494, 517], [984, 1000], [0, 3], [0, 0]]
    assert await modules.run(RANGES, [[9000, 100, 20]]) == [[4, 20]], "a list that became shorter than it is scrolled to shows its end"


async def test_a_row_is_scrolled_to_only_if_it_is_not_wholly_in_view(modules: Visit) -> None:
    assert await modules.run(SHOWN, [10, 14, 9, 15, 0, 99]) == [100, 100, 90, 110, 0, 950]


async def test_pins_are_read_from_any_text_that_somebody_left_there(modules: Visit) -> None:
    texts = ['["B","A"]', "[]", "", "null", '{"A":1}', '["A",7,null]', "[", None]
    assert await modules.run(PINS, texts) == [["B", "A"], [], [], [], [], ["A"], [], []]
