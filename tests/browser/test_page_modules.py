"""The pure modules of the page, run where they run: seq never backwards, alerts once, history and live joined, ends of connections."""

import pytest

from services.gateway.close_codes import CLOSE_CODES, CloseCode, Reconnect, reason
from tests.browser.visit import Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")

BOARD = """async (messages) => {
  const { Board, parse } = await import("/static/state.js");
  const board = new Board();
  const news = messages.map((message) => board.onMessage(parse(message), 0));
  return { prices: Object.fromEntries(board.prices), alerts: board.alerts.newest, news, cursor: board.cursor };
}"""

SERIES = """async (steps) => {
  const { TickSeries } = await import("/static/ticks.js");
  const series = new TickSeries();
  const joined = steps.map(([what, argument]) => (series[what](argument), series.isJoined));
  const [ticks, stored] = [series.ticks.map(({ at, price }) => [at, price]), series.ticks.map(({ isStored }) => isStored)];
  return { joined, ticks, stored, points: series.points(2) };
}"""


def stock(price: str, seq: int, ticker: str = "AAPL") -> str:
    return f'{{"ticker":"{ticker}","price":{price},"sma":null,"alert":null,"ts":"2026-01-02T15:00:00.000+00:00","seq":{seq}}}'


def update(*stocks: str, more: str = "", alerts: str = "") -> str:
    head = '{"type":"stock_update","timestamp":"2026-01-02T15:00:00.000+00:00","cursor":"c"'
    return f'{head},"stocks":[{",".join(stocks)}],"alerts":[{alerts}]{more}}}'


def alert(number: int, second: int) -> str:
    ts = f"2026-01-02T15:00:{second:02d}.000+00:00"
    return f'{{"id":"i.0.{number}","ticker":"V","direction":"bullish","price":1,"sma":1,"ts":"{ts}","seq":{number}}}'


def row(ms: int, price: str) -> dict[str, str]:
    return {"ts": f"1970-01-01T00:00:{ms // 1000:02d}.{ms % 1000:03d}+00:00", "price": price}


def live(ms: int, price: str) -> dict[str, object]:
    return {"at": ms, "price": price, "sma": None}


async def test_an_older_seq_changes_nothing(modules: Visit) -> None:
    seen = await modules.run(BOARD, [update(stock("3", 8)), update(stock("2", 7)), update(stock("2", 8))])
    assert seen["prices"]["AAPL"]["price"] == "3"
    assert [len(news["stocks"]) for news in seen["news"]] == [1, 0, 0]


async def test_a_snapshot_that_did_not_recover_replaces_everything_and_forgets_the_seqs(modules: Visit) -> None:
    lost = ',"snapshot":true,"recovered":false,"reason":"rewind"'
    seen = await modules.run(BOARD, [update(stock("3", 8), stock("5", 9, "V")), update(stock("2", 1), more=lost)])
    assert list(seen["prices"]) == ["AAPL"]
    assert seen["prices"]["AAPL"]["seq"] == 1
    assert seen["news"][1]["isReplaced"]
    assert seen["news"][1]["isLost"]


async def test_a_snapshot_that_recovered_keeps_what_is_newer(modules: Visit) -> None:
    seen = await modules.run(BOARD, [update(stock("3", 8)), update(stock("2", 7), more=',"snapshot":true,"recovered":true')])
    assert seen["prices"]["AAPL"]["price"] == "3"
    assert not seen["news"][1]["isReplaced"]


async def test_the_parts_of_one_snapshot_add_up(modules: Visit) -> None:
    parts = [
        update(stock("1", 1), more=',"snapshot":true,"recovered":false,"more":true'),
        update(stock("2", 2, "V"), more=',"snapshot":true,"recovered":false'),
    ]
    seen = await modules.run(BOARD, [update(stock("9", 9, "KO")), *parts])
    assert sorted(seen["prices"]) == ["AAPL", "V"]


async def test_an_alert_that_comes_again_is_listed_once_and_the_newest_stands_first(modules: Visit) -> None:
    alerts = [f"{alert(1, 10)},{alert(2, 20)}", f"{alert(2, 20)},{alert(3, 15)}"]
    seen = await modules.run(BOARD, [update(alerts=each) for each in alerts])
    assert [each["seq"] for each in seen["alerts"]] == [2, 3, 1]
    assert [[each["seq"] for each in news["alerts"]] for news in seen["news"]] == [[1, 2], [3]]


async def test_a_price_keeps_all_its_digits(modules: Visit) -> None:
    seen = await modules.run(BOARD, [update(stock("999999999999.99999901", 1))])
    assert seen["prices"]["AAPL"]["price"] == "999999999999.99999901"


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


@pytest.mark.parametrize("close", CLOSE_CODES, ids=lambda close: str(close.code))
async def test_each_close_code_is_heeded_with_its_hint(modules: Visit, close: CloseCode) -> None:
    judge = """async ([code, text]) => (await import("/static/parting.js")).judgeClose(code, text)"""
    parting = await modules.run(judge, [close.code, reason(close, lambda: 0.5)])
    assert parting["isFinal"] == (close.reconnect is not Reconnect.AFTER_HINT)
    assert parting["hintSeconds"] == (None if parting["isFinal"] else 3)
    assert parting["reason"] == f"{close.meaning} (code {close.code})"


async def test_waits_grow_and_no_two_pages_wait_alike(modules: Visit) -> None:
    waits = """async () => {
      const { Backoff } = await import("/static/parting.js");
      const [low, high] = [new Backoff(0.5, 4, () => 0), new Backoff(0.5, 4, () => 1)];
      return [1, 2, 3, 4, 5].map(() => [low.nextSeconds(), high.nextSeconds()]);
    }"""
    assert await modules.run(waits) == [[0.25, 0.5], [0.5, 1], [1, 2], [2, 4], [2, 4]]
