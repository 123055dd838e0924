"""The session by itself: whatever is cut, repeated or reordered by reconnecting, each alert is given once and no price goes back."""

import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tickstream_client import Gap, Refused, Status, Update
from tickstream_client.messages import NotAMessage
from tickstream_client.parting import Parting, judge_close
from tickstream_client.session import (
    ANSWER_SECONDS,
    MOST_JOINED,
    QUIET_SECONDS,
    REMEMBERED_ALERTS,
    TICKERS_PER_COMMAND,
    Listener,
    Session,
)

from tests.clients.scripted import AT, alert, stock
from tests.keys import sign

URL = "ws://127.0.0.1:8001"


def text(**fields: Any) -> str:
    return json.dumps({"type": "stock_update", "timestamp": AT, "snapshot": False, "stocks": [], "alerts": []} | fields)


def asked(session: Session) -> tuple[set[str], str]:
    """Tickers and cursor of the URL that the session connects to next."""
    query = parse_qs(urlsplit(session.next_url()).query)
    return set(",".join(query.get("tickers", [])).split(",")) - {""}, "".join(query.get("since", []))


def given_by(session: Session, message: str) -> list[Update]:
    """What the user is given when a message comes."""
    session.on_message(message, 0)
    updates = []
    while session.has_update:
        updates.append(session.take_update())
    return updates


class Pipeline:
    """A gateway in a few lines: alerts and prices of one ticker in the order of their seq, cut off wherever the test says."""

    def __init__(self, events: int, most_per_message: int) -> None:
        self.events = range(1, events + 1)
        self._most = most_per_message

    def first(self, cursor: str, reached: int) -> list[str]:
        """The messages that answer a connection at the moment when `reached` events have happened."""
        alerts = [alert(str(seq), seq=seq) for seq in self.events[int(cursor) : reached]] if cursor else []
        return self._parts(reached, alerts, snapshot=True, **({"recovered": True} if cursor else {}))

    def later(self, passed: int, reached: int) -> list[str]:
        """The messages of a flush."""
        return self._parts(reached, [alert(str(seq), seq=seq) for seq in self.events[passed:reached]])

    def _parts(self, reached: int, alerts: Sequence[object], **fields: Any) -> list[str]:
        cuts = range(0, max(len(alerts), 1), self._most)
        parts = [{"alerts": alerts[cut : cut + self._most], "more": True, **fields} for cut in cuts]
        del parts[-1]["more"]
        parts[-1] |= {"cursor": str(reached), "stocks": [stock("AAPL", reached)] if reached else []}
        return [text(**part) for part in parts]


@given(
    rounds=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.booleans()), max_size=30),
    most_per_message=st.integers(1, 3),
)
def test_each_alert_is_given_once_and_in_order_wherever_connections_are_cut(
    rounds: list[tuple[int, int, bool]], most_per_message: int
) -> None:
    """Each round: so many events happen, then so many of the messages that tell of them arrive, then the connection is cut or not."""
    pipeline = Pipeline(sum(happened for happened, _, _ in rounds), most_per_message)
    gaps: list[Gap] = []
    session = Session(URL, listener=Listener(on_gap=gaps.append))
    updates: list[Update] = []
    reached, passed, is_open = 0, 0, False
    start = 0

    def hear(messages: Sequence[str]) -> None:
        for message in messages:
            updates.extend(given_by(session, message))

    for happened, arriving, is_cut in [*rounds, (0, 10**6, False)]:
        reached += happened
        if is_open:
            messages = pipeline.later(passed, reached)
        else:
            _, cursor = asked(session)
            start = start if cursor else reached
            messages = pipeline.first(cursor, reached)
            session.on_open(0)
        hear(messages[:arriving])
        # A connection delivers all or ends.
        is_open, passed = not is_cut and arriving >= len(messages), reached
        if not is_open:
            session.on_parting(Parting("cut"), 0)
    assert [found.seq for update in updates for found in update.alerts] == list(pipeline.events[start:])
    seqs = [found.seq for update in updates for found in update.stocks]
    assert seqs == sorted(seqs)
    assert session.cursor == str(reached)
    assert not gaps


def test_prices_are_the_characters_of_the_message() -> None:
    session = Session(URL)
    (update,) = given_by(
        session,
        f'{{"type":"stock_update","timestamp":"{AT}","cursor":"c","snapshot":true,"alerts":[],"stocks":['
        f'{{"ticker":"AAPL","price":0.10000001,"sma":999999999999.123456,"alert":null,"ts":"{AT}","seq":7}},'
        f'{{"ticker":"KO","price":7,"sma":0,"alert":"bullish","ts":"{AT}","seq":9007199254740993}}]}}',
    )
    apple, cola = update.stocks
    assert (apple.price, apple.sma, apple.ts) == (Decimal("0.10000001"), Decimal("999999999999.123456"), datetime.fromisoformat(AT))
    assert (cola.price, cola.sma, cola.alert, cola.seq) == (Decimal(7), Decimal(0), "bullish", 9007199254740993)


@pytest.mark.parametrize(
    "strange",
    ["", "no JSON", "7", "[]", "{}", b"{}", '{"type":"stock_update"}', '{"type":"status","stale":true}', "[" * 100_000,
     '{"type":["stock_update"]}', text(stocks=[stock("\x1b[2J", 1)]), text(stocks=[stock("AAPL", 1) | {"price": "abc"}])],
)  # fmt: skip
def test_what_no_gateway_sends_is_refused(strange: str | bytes) -> None:
    with pytest.raises(NotAMessage):
        Session(URL).on_message(strange, 0)


def test_remembered_alerts_are_bounded() -> None:
    session = Session(URL)
    for start in range(0, 3 * REMEMBERED_ALERTS, 1000):
        given_by(session, text(alerts=[alert(str(n)) for n in range(start, start + 1000)], cursor="c"))
    assert len(session._alert_ids) == REMEMBERED_ALERTS
    (again,) = given_by(session, text(alerts=[alert(str(3 * REMEMBERED_ALERTS - 1))], cursor="c"))
    assert again.alerts == ()


def test_gap_says_between_which_moments_something_may_be_missing() -> None:
    gaps: list[Gap] = []
    session = Session(URL, since="stored", listener=Listener(on_gap=gaps.append))
    later = "2026-02-14T21:39:00.000+00:00"
    session.on_message(text(snapshot=True, recovered=False, cursor="c1"), 0)
    session.on_message(text(snapshot=True, recovered=False, reason="rewind", cursor="c2", timestamp=later), 0)
    at = datetime.fromisoformat(AT)
    assert gaps == [Gap("resume", "stored", None, at), Gap("rewind", "c1", at, datetime.fromisoformat(later))]


def test_part_that_a_cut_left_behind_is_no_part_of_what_comes_next() -> None:
    gaps: list[Gap] = []
    session = Session(URL, listener=Listener(on_gap=gaps.append))
    given_by(session, text(snapshot=True, cursor="c1", stocks=[stock("AAPL", 7)]))
    given_by(session, text(more=True, alerts=[alert("a1")]))
    session.on_parting(Parting("connection lost"), 0)
    session.on_open(0)
    (update,) = given_by(session, text(snapshot=True, recovered=False, cursor="c2", stocks=[stock("AAPL", 1)]))
    assert (update.is_replaced, update.alerts, [gap.reason for gap in gaps]) == (True, (), ["resume"])


def test_silent_gateway_is_asked_and_then_given_up() -> None:
    session = Session(URL)
    session.on_open(100)
    assert session.patience_seconds(100) == QUIET_SECONDS
    assert session.on_silence(100 + QUIET_SECONDS)
    assert session.patience_seconds(100 + QUIET_SECONDS) == ANSWER_SECONDS
    assert not session.on_silence(101 + QUIET_SECONDS)
    with pytest.raises(TimeoutError):
        session.on_silence(100 + QUIET_SECONDS + ANSWER_SECONDS)


def test_any_message_is_a_sign_of_life() -> None:
    session = Session(URL)
    session.on_open(0)
    session.on_silence(QUIET_SECONDS)
    session.on_message('{"type":"weather"}', QUIET_SECONDS + 1)
    assert session.patience_seconds(QUIET_SECONDS + 1) == QUIET_SECONDS


def test_gateway_that_dies_after_a_pong_is_given_up_no_later_than_any_other() -> None:
    session = Session(URL)
    session.on_open(0)
    assert session.on_silence(QUIET_SECONDS)
    session.on_pong()
    looked_at = QUIET_SECONDS + ANSWER_SECONDS
    assert session.on_silence(looked_at), "to be asked again"
    with pytest.raises(TimeoutError):
        session.on_silence(looked_at + ANSWER_SECONDS)


def test_loop_that_was_busy_for_long_takes_what_has_come_before_it_judges() -> None:
    session = Session(URL)
    session.on_open(0)
    assert session.patience_seconds(1000) > 0
    assert session.on_silence(1000)
    assert session.patience_seconds(1000) == ANSWER_SECONDS


def test_waits_are_random_and_their_bound_doubles_until_something_comes() -> None:
    session = Session(URL, jitter=lambda: 0.5)
    waits = []
    for _ in range(7):
        session.on_parting(Parting("connection refused"), 0)
        waits.append(session.rest_seconds(0))
    assert waits == [0.5, 1, 2, 4, 8, 15, 15]
    session.on_open(0)
    session.on_message(text(snapshot=True, cursor="c"), 0)
    session.on_parting(Parting("connection lost"), 10)
    assert session.rest_seconds(10.2) == pytest.approx(0.3)


def test_hint_takes_the_place_of_chance() -> None:
    session = Session(URL, jitter=lambda: 1.0)
    session.on_parting(judge_close(1001, "going away; reconnect in 3.2 s"), 100)
    assert session.rest_seconds(101) == pytest.approx(2.2)
    assert session.rest_seconds(200) == 0


def test_gateways_take_turns() -> None:
    session = Session(["http://a", "wss://b:1/elsewhere?x=1", "ws://c/"], ["AAPL"], since="a+b")
    urls = [session.next_url() for _ in range(4)]
    assert urls == [
        "ws://a/ws/stocks/?tickers=AAPL&since=a%2Bb",
        "wss://b:1/elsewhere?x=1&tickers=AAPL&since=a%2Bb",
        "ws://c/ws/stocks/?tickers=AAPL&since=a%2Bb",
        "ws://a/ws/stocks/?tickers=AAPL&since=a%2Bb",
    ]


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8001", "ftp://x", "ws://", "ws://x?token=geheim", "ws://x/?a=1&Access_Token=geheim", "ws://["]
)
def test_what_is_no_url_of_a_gateway_is_refused_at_once_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match="URL") as refused:
        Session(url)
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("tickers", ["AAPL", ["aapl"], [""], ["A B"], ["AÄ"], [], [f"T{n}" for n in range(1001)], ["AAPL", "?"]])
def test_tickers_that_no_gateway_accepts_are_refused_at_once(tickers: Any) -> None:
    with pytest.raises(ValueError, match="ticker"):
        Session(URL, tickers)


def test_longest_url_stays_below_what_servers_read() -> None:
    session = Session(f"{URL}/ws/stocks/", [f"T{n:03}" for n in range(1000)], since="x" * 3100)
    assert len(f"GET {session.next_url()[len(URL) :]} HTTP/1.1\r\n") < 8192


def test_changes_while_nothing_is_connected_are_part_of_the_next_url() -> None:
    session = Session(URL, ["AAPL", "KO"])
    session.add(["MSFT"])
    session.remove(["KO"])
    assert asked(session)[0] == {"AAPL", "MSFT"}
    session.add(["TSLA"])
    session.remove(["AAPL"])
    assert [json.loads(command) for command in session.on_open(0)] == [
        {"action": "subscribe", "tickers": ["TSLA"]},
        {"action": "unsubscribe", "tickers": ["AAPL"]},
    ]


def test_everything_can_be_added_and_nothing_taken_from_everything() -> None:
    session = Session(URL, ["AAPL"])
    assert session.add(["*"]) == ['{"action": "subscribe", "tickers": ["*"]}']
    assert asked(session)[0] == set()
    assert session.add(["KO"]) == ()
    with pytest.raises(ValueError, match="every ticker"):
        session.remove(["AAPL"])


def test_last_ticker_cannot_be_removed() -> None:
    session = Session(URL, ["AAPL"])
    with pytest.raises(ValueError, match="no ticker is left"):
        session.remove(["AAPL"])
    assert asked(session)[0] == {"AAPL"}


def test_command_for_many_tickers_stays_below_4_kib() -> None:
    session = Session(URL, ["AAPL"])
    commands = session.add([f"{n:03}{'X' * 29}" for n in range(TICKERS_PER_COMMAND + 1)])
    assert len(commands) == 2
    assert max(map(len, commands)) <= 4096


def test_what_was_unsubscribed_is_not_given_any_more() -> None:
    session = Session(URL, ["AAPL", "KO"])
    session.remove(["KO"])
    (update,) = given_by(session, text(stocks=[stock("AAPL", 1), stock("KO", 1)], alerts=[alert("a", "KO")], cursor="c"))
    assert [found.ticker for found in update.stocks] == ["AAPL"]
    assert update.alerts == ()


def test_status_is_told_when_it_changes() -> None:
    told: list[Status] = []
    session = Session(URL, listener=Listener(on_status=told.append))
    session.on_parting(Parting("connection refused"), 0)
    session.on_parting(Parting("connection refused"), 0)
    session.on_open(0)
    session.on_message(text(snapshot=True, cursor="c"), 0)
    session.on_message(text(cursor="c"), 0)
    session.on_message('{"type":"error","code":"bad_ticker","message":"not a ticker\\u001b"}', 0)
    assert told == [
        Status(reason="connection refused"),
        Status(is_connected=True),
        Status(is_connected=True, complaint="not a ticker·"),
    ]


@pytest.mark.parametrize(("token", "is_final"), [(None, True), ("fixed", True), (lambda: "another", False)])
def test_refused_token_ends_it_unless_another_can_be_had(token: object, is_final: bool) -> None:
    session = Session(URL, token=token)
    unauthorized = judge_close(4401, "unauthorized")
    if is_final:
        with pytest.raises(Refused, match="unauthorized") as refused:
            session.on_parting(unauthorized, 0)
        assert refused.value.code == 4401
    else:
        session.on_parting(unauthorized, 0)


def test_token_that_was_refused_is_not_shown_again() -> None:
    session = Session(URL, token=lambda: "bad")
    session.on_token("bad", 0, 0)
    session.on_parting(judge_close(4401, "unauthorized"), 0)
    with pytest.raises(ConnectionError):
        session.on_token("bad", 1, 1)
    assert session.on_token("good", 1, 1) == "good"


def test_gateway_that_takes_no_tokens_is_shown_none_again() -> None:
    session = Session(URL, token=lambda: "")
    session.on_token(sign({"exp": 1000}), 0, 0)
    session.on_open(0)
    assert session.wants_token(1000)
    session.on_message('{"type":"error","code":"not_supported","message":"this gateway takes no token"}', 0)
    assert not session.wants_token(10**9)


def test_what_came_while_the_loop_was_busy_is_given_as_one() -> None:
    session = Session(URL)
    session.on_message(text(snapshot=True, stocks=[stock("AAPL", 1)], cursor="c1"), 0)
    session.on_message(text(stocks=[stock("AAPL", 2), stock("KO", 1)], alerts=[alert("a1")], cursor="c2", skipped=3), 0)
    session.on_message(text(stocks=[stock("AAPL", 3)], alerts=[alert("a2")], cursor="c3"), 0)
    session.on_message(text(snapshot=True, recovered=False, reason="gap", cursor="c4"), 0)
    first, second, third = (session.take_update() for _ in range(3))
    assert (first.is_snapshot, second.is_snapshot, third.is_replaced) == (True, False, True)
    assert {(found.ticker, found.seq) for found in second.stocks} == {("AAPL", 3), ("KO", 1)}
    assert [found.id for found in second.alerts] == ["a1", "a2"]
    assert (second.skipped, second.cursor) == (4, "c3")
    assert not session.has_update


def test_cursor_is_that_of_what_was_given_and_the_next_connection_asks_from_what_was_reached() -> None:
    session = Session(URL)
    session.on_message(text(snapshot=True, cursor="c1"), 0)
    session.on_message('{"type":"pong","cursor":"c2"}', 0)
    assert (session.cursor, asked(session)[1]) == ("", "c2")
    session.take_update()
    assert session.cursor == "c1"
    session.on_message('{"type":"pong","cursor":"c3"}', 0)
    assert session.cursor == "c3"


def test_who_sends_without_end_does_not_keep_the_user_waiting() -> None:
    session, messages = Session(URL), 0
    while not session.has_update or session.wants_more:
        messages += 1
        session.on_message(text(cursor="c"), 0)
    assert messages == MOST_JOINED + 1
