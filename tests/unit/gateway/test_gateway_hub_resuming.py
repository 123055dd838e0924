"""What a client that comes back with a cursor is told: the state of one flush, and every alert since, or the honest no."""

import pytest

from services.gateway.protocol import Position, encode_cursor
from shared.incarnations import End, Ended, Head
from tests.unit.gateway.test_gateway_hub import LIFE, Bench, alert_ids, enriched, reached, seqs

NEXT_LIFE = "1795346662034124-0c4e9b77"


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.load(0, 10, enriched("AAPL", 9), enriched("MSFT", 10))
    bench.load(1, 20, enriched("TSLA", 20))
    return bench


def resumed(bench: Bench, since: str, *tickers: str) -> tuple[bool, list[str]]:
    messages = bench.client(*tickers, since=since).read()
    recovered: bool = messages[0]["recovered"]
    assert {(message["snapshot"], message["recovered"]) for message in messages} == {(True, recovered)}
    return recovered, alert_ids(messages)


def ids(partition: int, *alert_seqs: int) -> list[str]:
    return [f"{LIFE}.{partition}.{seq}" for seq in alert_seqs]


def test_client_that_resumes_gets_every_alert_of_its_tickers_since_its_cursor(bench: Bench) -> None:
    bench.apply(enriched("AAPL", 11, alert="bullish"), enriched("TSLA", 21, alert="bullish"))
    bench.hub.flush()
    since = bench.hub.cursor
    assert resumed(bench, since) == (True, [])
    bench.apply(enriched("AAPL", 12, alert="bearish"), enriched("MSFT", 13, alert="bullish"), enriched("TSLA", 22, alert="bearish"))
    assert resumed(bench, since) == (True, []), "what is not flushed yet comes with the flush"
    bench.hub.flush()
    assert resumed(bench, since) == (True, ids(0, 12, 13) + ids(1, 22))
    assert resumed(bench, since, "TSLA", "MSFT", "NEW") == (True, ids(0, 13) + ids(1, 22))


def test_client_that_resumes_within_a_window_gets_its_alerts_once(bench: Bench) -> None:
    bench.apply(enriched("AAPL", 11, alert="bullish"))
    client = bench.client(since=bench.hub.cursor)
    bench.hub.flush()
    first, update = client.read()
    assert (first["alerts"], alert_ids([update])) == ([], ids(0, 11))
    assert (reached(first["cursor"]), reached(update["cursor"])) == ([10, 20], [11, 20])


def test_client_that_resumes_is_shown_all_its_tickers(bench: Bench) -> None:
    (message,) = bench.client("AAPL", "TSLA", "UNKNOWN", since=bench.hub.cursor).read()
    assert (message["recovered"], seqs(message)) == (True, {"AAPL": 9, "TSLA": 20})


@pytest.mark.parametrize("since", ["", "nonsense", encode_cursor([Position(LIFE, 10)]), encode_cursor([Position(LIFE, 10)] * 3)])
def test_client_with_a_cursor_that_is_none_of_ours_is_told_so_at_once(bench: Bench, since: str) -> None:
    assert not bench.hub.is_behind(since)
    assert resumed(bench, since) == (False, [])


def test_alerts_that_were_trimmed_are_forgotten_but_none_that_was_not_flushed(bench: Bench) -> None:
    since = bench.hub.cursor
    bench.apply(enriched("AAPL", 11, alert="bullish"))
    bench.hub.flush()
    later = bench.hub.cursor
    bench.apply(enriched("AAPL", 12, alert="bearish"))
    bench.hub.forget_up_to(0, 12)
    assert (bench.hub.indexed_alerts, resumed(bench, since), resumed(bench, later)) == (0, (False, []), (True, []))
    bench.hub.flush()
    assert resumed(bench, later) == (True, ids(0, 12))


def test_gateway_that_is_behind_a_cursor_reaches_it_with_a_flush(bench: Bench) -> None:
    since = encode_cursor([Position(LIFE, 11), Position(LIFE, 20)])
    bench.apply(enriched("AAPL", 11, alert="bullish"))
    assert bench.hub.is_behind(since)
    assert resumed(bench, since) == (False, [])
    bench.hub.flush()
    assert not bench.hub.is_behind(since)
    assert resumed(bench, since) == (True, [])


def test_gateway_goes_on_in_a_life_in_which_nothing_was_lost_and_begins_anew_in_another(bench: Bench) -> None:
    since = bench.hub.cursor
    end = End(20, "1-0", 20)
    bench.hub.go_on(0, Head(NEXT_LIFE, (Ended(LIFE, end, end, end),), {}))
    bench.apply(enriched("AAPL", 11, alert="bullish"))
    bench.hub.flush()
    assert resumed(bench, since) == (True, ids(0, 11))
    bench.load(0, 9, lost="rewind")
    assert (bench.hub.indexed_alerts, resumed(bench, since)) == (0, (False, []))


def test_clients_that_come_back_together_share_one_answer_that_no_later_one_gets(bench: Bench) -> None:
    since = bench.hub.cursor
    first, second = (bench.client("AAPL", "MSFT", since=since).outbox.take(0.0) for _ in range(2))
    assert first is second
    bench.apply(enriched("AAPL", 11, alert="bullish"))
    bench.hub.flush()
    assert resumed(bench, since, "AAPL", "MSFT") == (True, ids(0, 11))
    before = bench.client("AAPL", since=since).outbox.take(0.0)
    bench.now_ms += 1000
    bench.hub.watch(0.0)
    assert bench.client("AAPL", since=since).outbox.take(0.0) != before, "a message says when it was made"


def test_crowd_of_different_cursors_is_answered_and_not_kept(bench: Bench) -> None:
    bench.apply(*(enriched("AAPL", seq, alert="bullish") for seq in range(11, 111)))
    bench.hub.flush()
    for seq in range(10, 111):
        since = encode_cursor([Position(LIFE, seq), Position(LIFE, 20)])
        assert resumed(bench, since) == (True, ids(0, *range(seq + 1, 111)))
    assert len(bench.hub._answers) == 64


def test_many_alerts_come_in_parts_that_all_say_recovered() -> None:
    bench = Bench()
    bench.load(0, 0)
    bench.load(1, 0)
    since = bench.hub.cursor
    bench.apply(*(enriched("AAPL", seq, alert="bullish") for seq in range(1, 2502)))
    bench.hub.flush()
    messages = bench.client(since=since).read()
    assert [message.get("more") for message in messages] == [True, True, None]
    assert ["cursor" in message for message in messages] == [False, False, True]
    assert {(message["snapshot"], message["recovered"]) for message in messages} == {(True, True)}
    assert alert_ids(messages) == ids(0, *range(1, 2502))
    assert [seqs(message) for message in messages] == [{"AAPL": 2501}, {}, {}]
