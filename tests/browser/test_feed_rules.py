"""What feed.js decides, run where it runs: seq never backwards, alerts once, gaps told, ends, waits, signs of life and tokens."""

import base64
import json
from typing import Any

import pytest

from services.gateway.close_codes import CLOSE_CODES, CloseCode, Reconnect, reason
from tests.browser.visit import Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROGRESS = """async (steps) => {
  const { Progress, parse } = await import("/static/feed.js");
  const progress = new Progress();
  return steps.map((step) => step === "connect" ? progress.onConnect() : progress.take(parse(step)));
}"""
LIVENESS = """async (steps) => {
  const { Liveness } = await import("/static/feed.js");
  const liveness = new Liveness(0);
  return steps.map(([what, ...arguments]) => liveness[what](...arguments.map((seconds) => seconds * 1000)));
}"""
CALL = """async ([name, ...arguments]) => (await import("/static/feed.js"))[name](...arguments)"""


def stock(seq: int, ticker: str = "AAPL", price: str = "1") -> str:
    return f'{{"ticker":"{ticker}","price":{price},"sma":null,"alert":null,"ts":"2026-01-02T15:00:00.000+00:00","seq":{seq}}}'


def alert(number: int) -> str:
    ts = "2026-01-02T15:00:00.000+00:00"
    return f'{{"id":"i.0.{number}","ticker":"V","direction":"bullish","price":1,"sma":1,"ts":"{ts}","seq":{number}}}'


def update(*stocks: str, more: str = "", alerts: str = "", cursor: str = "c", second: int = 0) -> str:
    head = f'{{"type":"stock_update","timestamp":"2026-01-02T15:00:{second:02d}.000+00:00"'
    head += f',"cursor":"{cursor}"' if cursor else ',"more":true'
    return f'{head},"stocks":[{",".join(stocks)}],"alerts":[{alerts}]{more}}}'


SNAPSHOT = ',"snapshot":true'
RECOVERED = ',"snapshot":true,"recovered":true'
NOT_RECOVERED = ',"snapshot":true,"recovered":false'
REWOUND = ',"snapshot":true,"recovered":false,"reason":"rewind"'


async def taken(modules: Visit, *steps: str) -> list[dict[str, Any]]:
    """What comes of messages of one connection, and of more after `connect`."""
    return [each for each in await modules.run(PROGRESS, list(steps)) if each]


def seqs(taken: dict[str, Any]) -> list[int]:
    return [stock["seq"] for stock in taken["update"]["stocks"]]


def ids(taken: dict[str, Any]) -> list[str]:
    return [alert["id"] for alert in taken["update"]["alerts"]]


async def test_an_older_seq_is_no_news(modules: Visit) -> None:
    found = await taken(modules, update(stock(8), more=SNAPSHOT), update(stock(7)), update(stock(9)))
    assert [seqs(each) for each in found] == [[8], [], [9]]


async def test_the_first_message_replaces_everything_and_is_no_gap(modules: Visit) -> None:
    (found,) = await taken(modules, update(stock(8), more=SNAPSHOT))
    assert (found["update"]["isReplaced"], found["update"]["isSnapshot"], found["gap"]) == (True, True, None)


async def test_a_snapshot_of_added_tickers_replaces_nothing(modules: Visit) -> None:
    _, added = await taken(modules, update(stock(8), more=SNAPSHOT), update(stock(3, "KO"), more=SNAPSHOT))
    assert (added["update"]["isReplaced"], added["update"]["isSnapshot"], added["gap"]) == (False, True, None)


async def test_what_was_lost_is_told_and_forgets_the_seqs(modules: Visit) -> None:
    _, lost = await taken(modules, update(stock(8), more=SNAPSHOT, cursor="a"), update(stock(1), more=REWOUND, cursor="b", second=5))
    assert lost["gap"] == {
        "reason": "rewind",
        "cursor": "a",
        "since": "2026-01-02T15:00:00.000+00:00",
        "until": "2026-01-02T15:00:05.000+00:00",
    }
    assert lost["update"]["isReplaced"]
    assert seqs(lost) == [1]


async def test_a_resume_that_recovered_keeps_what_is_newer(modules: Visit) -> None:
    _, back = await taken(modules, update(stock(8), more=SNAPSHOT), "connect", update(stock(7), stock(4, "V"), more=RECOVERED))
    assert (back["update"]["isReplaced"], back["gap"]) == (False, None)
    assert seqs(back) == [4]


async def test_a_resume_that_did_not_recover_is_a_gap(modules: Visit) -> None:
    _, back = await taken(modules, update(stock(8), more=SNAPSHOT), "connect", update(stock(2), more=NOT_RECOVERED))
    assert back["gap"]["reason"] == "resume"
    assert seqs(back) == [2]


async def test_the_parts_of_one_message_are_given_as_one(modules: Visit) -> None:
    parts = [update(stock(1), alerts=alert(1), more=REWOUND, cursor=""), update(stock(2, "V"), alerts=alert(2), more=REWOUND, cursor="b")]
    _, found = await taken(modules, update(stock(9), more=SNAPSHOT, cursor="a"), *parts)
    assert (seqs(found), ids(found)) == ([1, 2], ["i.0.1", "i.0.2"])
    assert (found["gap"]["cursor"], found["update"]["cursor"]) == ("a", "b")


async def test_parts_without_the_last_one_are_not_given_and_come_again(modules: Visit) -> None:
    begun, whole = (update(stock(9), alerts=alert(1), more=RECOVERED, cursor=cursor) for cursor in ("", "b"))
    _, back = await taken(modules, update(stock(1), more=SNAPSHOT, cursor="a"), "connect", begun, "connect", whole)
    assert (seqs(back), ids(back)) == ([9], ["i.0.1"])


async def test_an_alert_that_comes_again_is_dropped(modules: Visit) -> None:
    first = update(alerts=f"{alert(1)},{alert(2)}", more=SNAPSHOT)
    found = await taken(modules, first, "connect", update(alerts=f"{alert(2)},{alert(3)}", more=RECOVERED))
    assert [ids(each) for each in found] == [["i.0.1", "i.0.2"], ["i.0.3"]]


async def test_the_last_ten_thousand_alerts_are_remembered_and_not_every_one_for_ever(modules: Visit) -> None:
    steps = """async (message) => {
      const { Progress } = await import("/static/feed.js");
      const progress = new Progress();
      const given = (...numbers) => progress.take({ ...message, alerts: numbers.map((id) => ({ id, ticker: "V" })) }).update.alerts.length;
      const newest = (count, from) => Array.from({ length: count }, (_, place) => from + place);
      const before = [given(...newest(10_001, 0)), given(1)];
      return [...before, given(...newest(9_998, 10_001)), given(10_001), given(...newest(20_000, 30_000)), given(1)];
    }"""
    message = {"type": "stock_update", "timestamp": "t", "cursor": "c", "stocks": []}
    assert await modules.run(steps, message) == [10_001, 0, 9_998, 0, 20_000, 1]


async def test_what_is_not_wanted_is_left_out(modules: Visit) -> None:
    steps = """async (message) => {
      const { Progress, parse } = await import("/static/feed.js");
      return new Progress().take(parse(message), (name) => name !== "V");
    }"""
    found = await modules.run(steps, update(stock(8), stock(9, "V"), alerts=alert(9)))
    assert (seqs(found), ids(found)) == ([8], [])


async def test_updates_that_wait_become_one_with_the_newest_price_and_every_alert(modules: Visit) -> None:
    merge = """async (messages) => {
      const { Progress, merged, parse } = await import("/static/feed.js");
      const progress = new Progress();
      return messages.map((message) => progress.take(parse(message)).update).reduce(merged);
    }"""
    messages = [
        update(stock(1), stock(1, "V"), more=SNAPSHOT),
        update(stock(2), alerts=alert(2), more=',"skipped":3'),
        update(stock(3), alerts=alert(3), cursor="z"),
    ]
    found = await modules.run(merge, messages)
    assert {each["ticker"]: each["seq"] for each in found["stocks"]} == {"AAPL": 3, "V": 1}
    assert [each["id"] for each in found["alerts"]] == ["i.0.2", "i.0.3"]
    assert (found["skipped"], found["cursor"], found["isSnapshot"], found["isReplaced"]) == (5, "z", True, True)


async def test_of_updates_that_wait_none_from_before_a_loss_is_left_but_its_alerts(modules: Visit) -> None:
    merge = """async (messages) => {
      const { Progress, merged, parse } = await import("/static/feed.js");
      const progress = new Progress();
      return messages.map((message) => progress.take(parse(message)).update).reduce(merged);
    }"""
    found = await modules.run(merge, [update(stock(8), stock(8, "V"), alerts=alert(8), more=SNAPSHOT), update(stock(1), more=REWOUND)])
    assert {each["ticker"]: each["seq"] for each in found["stocks"]} == {"AAPL": 1}
    assert [each["seq"] for each in found["alerts"]] == [8]
    assert (found["isReplaced"], found["skipped"]) == (True, 0)


async def test_a_price_keeps_all_its_digits(modules: Visit) -> None:
    (found,) = await taken(modules, update(stock(1, price="999999999999.99999901"), more=SNAPSHOT))
    assert found["update"]["stocks"][0]["price"] == "999999999999.99999901"


@pytest.mark.parametrize("close", CLOSE_CODES, ids=lambda close: str(close.code))
async def test_each_close_code_is_heeded_with_its_hint(modules: Visit, close: CloseCode) -> None:
    end = await modules.run(CALL, ["judgeClose", close.code, reason(close, lambda: 0.5)])
    assert end["isFinal"] == (close.reconnect is not Reconnect.AFTER_HINT)
    assert end["hintSeconds"] == (None if end["isFinal"] else 3)
    assert end["reason"] == f"{close.meaning} (code {close.code})"
    with_tokens = await modules.run(CALL, ["judgeClose", close.code, reason(close, lambda: 0.5), True])
    assert with_tokens["isFinal"] == (close.reconnect is Reconnect.NEVER)


async def test_nobody_is_sent_away_for_longer_than_a_minute(modules: Visit) -> None:
    assert (await modules.run(CALL, ["judgeClose", 1001, "going away; reconnect in 86400.0 s"]))["hintSeconds"] == 60


async def test_a_wait_is_anything_up_to_a_bound_that_doubles(modules: Visit) -> None:
    waits = """async () => {
      const { Backoff } = await import("/static/feed.js");
      const [low, half, high] = [0, 0.5, 1].map((random) => new Backoff(1, 8, () => random));
      const found = [1, 2, 3, 4, 5].map(() => [low.nextSeconds(), half.nextSeconds(), high.nextSeconds()]);
      high.reset();
      return [...found, high.nextSeconds()];
    }"""
    assert await modules.run(waits) == [[0, 0.5, 1], [0, 1, 2], [0, 2, 4], [0, 4, 8], [0, 4, 8], 1]


async def test_a_try_that_does_not_open_is_given_up(modules: Visit) -> None:
    assert await modules.run(LIVENESS, [["isDead", 9.9], ["isQuiet", 9.9], ["isDead", 10]]) == [False, False, True]


async def test_who_is_quiet_is_asked_once_and_dead_only_after_that(modules: Visit) -> None:
    asked = [["onHeard", 1], ["isQuiet", 20.9], ["isQuiet", 21], ["isDead", 500], ["onAsked", 500, 15], ["isQuiet", 514]]
    steps = [*asked, ["isDead", 514.9], ["isDead", 515]]
    assert (await modules.run(LIVENESS, steps))[1:] == [False, True, False, None, False, False, True]


async def test_who_answers_lives_on(modules: Visit) -> None:
    steps = [["onHeard", 0], ["onAsked", 20, 15], ["onHeard", 34], ["isDead", 36], ["isQuiet", 53], ["isQuiet", 54]]
    assert (await modules.run(LIVENESS, steps))[3:] == [False, False, True]


async def test_a_doubt_shortens_the_patience_and_never_lengthens_it(modules: Visit) -> None:
    steps = [["onHeard", 0], ["onAsked", 20, 15], ["onAsked", 25, 5], ["isDead", 30], ["onAsked", 29, 50], ["isDead", 30]]
    assert [each for each in await modules.run(LIVENESS, steps) if each is not None] == [True, True]


def jwt(**claims: object) -> str:
    """An unsigned one."""
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{body}.c2ln"


@pytest.mark.parametrize(
    ("token", "renewed_at"),
    [
        (jwt(exp=2000, sub="ÿþ~?"), 1910),
        (jwt(exp=1100), 1050),
        (jwt(exp=1000), None),
        (jwt(exp=10), None),
        (jwt(), None),
        (jwt(exp="2000"), None),
        ("opaque", None),
        ("a.%.c", None),
    ],
)
async def test_a_token_is_replaced_ahead_of_its_end(modules: Visit, token: str, renewed_at: int | None) -> None:
    when = """async ([token, now]) => (await import("/static/feed.js")).renewalOf(token, now)"""
    found = await modules.run(when, [token, 1000_000])
    assert found == (float("inf") if renewed_at is None else renewed_at * 1000)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ws://h:1", "ws://h:1/ws/stocks/"),
        ("http://h:1/", "ws://h:1/ws/stocks/"),
        ("https://h/feed?x=1#top", "wss://h/feed?x=1"),
        ("/ws/stocks/", "ws://page.test/ws/stocks/"),
    ],
)
async def test_an_address_is_completed(modules: Visit, url: str, address: str) -> None:
    assert await modules.run(CALL, ["addressOf", url]) == address


@pytest.mark.parametrize(
    ("tickers", "cursor", "query"),
    [
        (["AAPL", "BRK.B"], "a-_b", "?tickers=AAPL%2CBRK.B&since=a-_b"),
        (["*"], "", ""),
        (["*", "AAPL"], "", ""),
    ],
)
async def test_the_query_asks_for_tickers_and_for_what_came_since(modules: Visit, tickers: list[str], cursor: str, query: str) -> None:
    assert await modules.run(CALL, ["asking", "ws://h/ws/stocks/", tickers, cursor]) == f"ws://h/ws/stocks/{query}"


@pytest.mark.parametrize(
    ("url", "tickers", "words"),
    [
        ("ws://h", "AAPL", 'tickers are a list of names: ["AAPL"]'),
        ("ws://h", ["AAPL", "aapl", "A,B"], "not a ticker, such as AAPL or BRK.B: aapl, A,B"),
        ("ws://h", [], "no ticker is left: close it instead"),
        ("ws://h", [f"T{number}" for number in range(1001)], "1001 tickers; a connection has 1000 at most, or all with *"),
        ("ws://h?token=secret", ["AAPL"], "a token does not belong into a URL, which proxies log: pass it as `token`"),
    ],
)
async def test_what_no_gateway_would_accept_is_told_at_once(modules: Visit, url: str, tickers: object, words: str) -> None:
    attempt = """async ([url, tickers]) => {
      const { subscribe } = await import("/static/feed.js");
      try {
        subscribe(url, { tickers });
      } catch (error) {
        return `${error}`;
      }
    }"""
    assert await modules.run(attempt, [url, tickers]) == f"TypeError: {words}"


TEXTS_OF_PRICES = [
    ('{"price":1.10,"sma": 2.50 }', {"price": "1.10", "sma": "2.50"}),
    ('{ "sma" : -0.5e+3 , "price" :\n7}', {"price": "7", "sma": "-0.5e+3"}),
    ('{"price":0,"sma":null},{"price":9999999.12345678,"sma":0}', {"price": "0", "sma": None}, {"price": "9999999.12345678", "sma": "0"}),
    ('{"price":"3","sma":null,"seq":4,"prices":5}', {"price": "3", "sma": None, "seq": 4, "prices": 5}),
    (r'{"id":"{\"price\":1,\"sma\":2}","price":3,"sma":4}', {"id": '{"price":1,"sma":2}', "price": "3", "sma": "4"}),
    (r'{"x\"price":1,"a":",","b":"{\\","price":2,"sma":3}', {'x"price': 1, "a": ",", "b": "{\\", "price": "2", "sma": "3"}),
]
NO_JSON = [
    '{"price":01}',
    '{"price":1.}',
    '{"price":.5}',
    '{"price":+1}',
    '{"price":1 2}',
    '{"price":1',
    '["price":1]',
    '{"a":"{"price":1}',
]


@pytest.mark.parametrize("name", ["stocks", "alerts"])
async def test_a_price_is_its_characters_and_nothing_else_is_touched(modules: Visit, name: str) -> None:
    for text, *entries in TEXTS_OF_PRICES:
        assert await modules.run(CALL, ["parse", f'{{"type":"a \\"b","{name}":[{text}]}}']) == {"type": 'a "b', name: entries}


async def test_what_has_no_prices_is_read_as_it_is(modules: Visit) -> None:
    for text in ('{"type":"pong","cursor":" a "}', "3", "null", "[]"):
        assert await modules.run(CALL, ["parse", text]) == json.loads(text)


async def test_what_is_no_json_is_not_made_json(modules: Visit) -> None:
    attempt = """async (text) => {
      const { parse } = await import("/static/feed.js");
      try { return parse(text); } catch (error) { return error.name; }
    }"""
    assert [await modules.run(attempt, text) for text in NO_JSON] == ["SyntaxError"] * len(NO_JSON)
