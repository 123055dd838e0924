"""Who is sent what by a flush, and what a cursor stands for."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from services.gateway.alert_index import AlertIndex
from services.gateway.frames import Frame
from services.gateway.hub import History, Hub
from services.gateway.outbox import Limits
from services.gateway.protocol import ALL, Position, Subscription
from shared.events import Enriched, Market
from shared.incarnations import Head
from tests.unit.gateway.reading import ReadOutbox, text_of

NOW_MS = 1771105102104
LIFE = "1795346662034123-3fa9c1d2"


def enriched(ticker: str, seq: int, price: str = "1", alert: str = "") -> Enriched:
    return Enriched(str(seq), ticker, price, "1771105101950", "simulated", "1-0", "2", alert)


class Bench:
    """A hub with two partitions (A… in 0, Z… in 1) and clients that read when they are told to."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.changes = 0
        self.hub = Hub(2, lambda: self.now_ms, self._on_change)

    def _on_change(self) -> None:
        self.changes += 1

    def load(self, partition: int, seq: int, *events: Enriched, lost: str | None = None) -> None:
        self.hub.load(partition, Position(LIFE, seq), events, History(Head(LIFE, (), {}), AlertIndex()), lost)

    def apply(self, *events: Enriched) -> None:
        for event in events:
            partition = 0 if event.ticker[0] < "N" else 1
            self.hub.apply(partition, Position(LIFE, int(event.seq)), [event], lambda _: LIFE)

    def client(self, *tickers: str, since: str | None = None) -> "Client":
        return Client(self.hub, frozenset(tickers) or ALL, since)


class Client:
    def __init__(self, hub: Hub, wanted: Subscription, since: str | None = None) -> None:
        self.frames: list[Frame] = []
        self.outbox = ReadOutbox(hub.encode_pending, self.frames.append, Limits())
        hub.join(self.outbox, wanted, since)

    def read(self) -> list[dict[str, Any]]:
        """Everything there is to read; the client keeps up from now on."""
        if self.outbox.is_busy:
            self.outbox.on_drained()
        return [json.loads(text_of(frame)) for frame in self.take()]

    def take(self) -> list[Frame]:
        taken = self.frames.copy()
        self.frames.clear()
        return taken

    def read_one(self) -> None:
        """The first message; the client counts as busy until it reads on."""
        self.outbox.on_paused(0.0)
        assert len(self.take()) == 1


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.load(0, 10, enriched("AAPL", 9), enriched("MSFT", 10))
    bench.load(1, 20, enriched("TSLA", 20))
    return bench


def seqs(message: dict[str, Any]) -> dict[str, int]:
    return {stock["ticker"]: stock["seq"] for stock in message["stocks"]}


def reached(cursor: str) -> list[int]:
    positions = msgspec.msgpack.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=list[Position])
    return [position.seq for position in positions]


def alert_ids(messages: Iterable[dict[str, Any]]) -> list[str]:
    return [alert["id"] for message in messages for alert in message["alerts"]]


def test_hub_is_loaded_when_every_partition_is() -> None:
    bench = Bench()
    bench.load(1, 0)
    assert not bench.hub.is_loaded
    bench.load(0, 0)
    assert bench.hub.is_loaded


def test_first_message_is_a_snapshot_of_what_is_subscribed(bench: Bench) -> None:
    (message,) = bench.client("AAPL", "TSLA", "UNKNOWN").read()
    assert (message["snapshot"], message["alerts"], seqs(message)) == (True, [], {"AAPL": 9, "TSLA": 20})
    assert "recovered" not in message
    assert reached(message["cursor"]) == [10, 20]


def test_flush_sends_the_newest_of_each_ticker_and_every_alert(bench: Bench) -> None:
    client = bench.client()
    client.read()
    bench.apply(enriched("AAPL", 11, "5", "bullish"), enriched("AAPL", 12, "6", "bearish"), enriched("AAPL", 13, "7"))
    bench.hub.flush()
    (message,) = client.read()
    assert (message["snapshot"], seqs(message), message["stocks"][0]["price"]) == (False, {"AAPL": 13}, 7)
    assert alert_ids([message]) == [f"{LIFE}.0.11", f"{LIFE}.0.12"]
    assert [alert["direction"] for alert in message["alerts"]] == ["bullish", "bearish"]
    assert reached(message["cursor"]) == [13, 20]


def test_nothing_is_sent_before_the_flush_nor_twice_after_it(bench: Bench) -> None:
    client = bench.client()
    client.read()
    bench.apply(enriched("AAPL", 11))
    assert client.read() == []
    bench.hub.flush()
    bench.hub.flush()
    assert len(client.read()) == 1


def test_client_hears_only_of_its_own_tickers(bench: Bench) -> None:
    client = bench.client("AAPL")
    client.read()
    bench.apply(enriched("MSFT", 11, alert="bullish"), enriched("TSLA", 21))
    bench.hub.flush()
    assert client.read() == []
    bench.apply(enriched("AAPL", 12), enriched("MSFT", 13, alert="bearish"))
    bench.hub.flush()
    (message,) = client.read()
    assert (seqs(message), message["alerts"]) == ({"AAPL": 12}, [])
    assert reached(message["cursor"]) == [13, 21]


def test_clients_with_the_same_set_get_the_same_bytes(bench: Bench) -> None:
    clients = [bench.client("AAPL", "MSFT"), bench.client("MSFT", "AAPL")]
    for client in clients:
        client.read()
    bench.apply(enriched("AAPL", 11))
    bench.hub.flush()
    (first,), (second,) = (client.take() for client in clients)
    assert first is second


def test_clients_that_come_at_once_get_the_same_snapshot_until_something_changes(bench: Bench) -> None:
    first, second, other = bench.client(), bench.client(), bench.client("AAPL")
    assert first.frames == second.frames
    assert other.frames != first.frames
    bench.apply(enriched("AAPL", 11))
    assert bench.client().frames == first.frames
    bench.hub.flush()
    (snapshot,) = bench.client().read()
    assert (seqs(snapshot)["AAPL"], reached(snapshot["cursor"])) == (11, [11, 20])
    bench.load(1, 30, enriched("TSLA", 30))
    (snapshot,) = bench.client().read()
    assert (seqs(snapshot)["TSLA"], reached(snapshot["cursor"])) == (30, [11, 30])


def test_snapshot_says_the_time_it_was_made_at_and_is_not_kept_for_long(bench: Bench) -> None:
    bench.client()
    bench.now_ms += 1000
    bench.hub.watch(0.0)
    (snapshot,) = bench.client().read()
    assert snapshot["timestamp"] == "2026-02-14T21:38:23.104+00:00"


def test_ticker_that_was_unknown_arrives_when_it_first_trades(bench: Bench) -> None:
    client = bench.client("NEW")
    (snapshot,) = client.read()
    assert snapshot["stocks"] == []
    bench.apply(enriched("NEW", 21))
    bench.hub.flush()
    assert seqs(client.read()[0]) == {"NEW": 21}


def test_snapshot_does_not_show_what_the_next_flush_will_send(bench: Bench) -> None:
    bench.apply(enriched("AAPL", 11, alert="bullish"))
    client = bench.client("AAPL")
    (snapshot,) = client.read()
    assert (seqs(snapshot), reached(snapshot["cursor"])) == ({"AAPL": 9}, [10, 20])
    bench.hub.flush()
    (update,) = client.read()
    assert (seqs(update), alert_ids([update])) == ({"AAPL": 11}, [f"{LIFE}.0.11"])


def test_busy_client_gets_one_message_of_its_own_with_all_alerts_and_what_it_skipped(bench: Bench) -> None:
    client = bench.client()
    client.read_one()
    for seq in (11, 12, 13):
        bench.apply(enriched("AAPL", seq, alert="bullish"))
        bench.hub.flush()
    (message,) = client.read()
    assert (seqs(message), message["skipped"]) == ({"AAPL": 13}, 2)
    assert alert_ids([message]) == [f"{LIFE}.0.{seq}" for seq in (11, 12, 13)]
    assert reached(message["cursor"]) == [13, 20]


def test_busy_client_delays_nobody(bench: Bench) -> None:
    stalled, quick = bench.client(), bench.client()
    stalled.read_one()
    quick.read()
    for seq in range(11, 111):
        bench.apply(enriched("AAPL", seq))
        bench.hub.flush()
        assert seqs(quick.read()[0]) == {"AAPL": seq}


def test_subscribing_answers_the_whole_set_then_the_new_ones(bench: Bench) -> None:
    client = bench.client("AAPL")
    client.read()
    bench.hub.change(client.outbox, frozenset(("AAPL", "MSFT", "NEW")))
    answer, snapshot = client.read()
    assert answer == {"type": "subscribed", "tickers": ["AAPL", "MSFT", "NEW"]}
    assert (snapshot["snapshot"], seqs(snapshot), snapshot["alerts"]) == (True, {"MSFT": 10}, [])
    bench.apply(enriched("MSFT", 11))
    bench.hub.flush()
    assert seqs(client.read()[0]) == {"MSFT": 11}


def test_subscribing_to_all_shows_all_but_what_was_held(bench: Bench) -> None:
    client = bench.client("AAPL")
    client.read()
    bench.hub.change(client.outbox, ALL)
    answer, snapshot = client.read()
    assert (answer["tickers"], seqs(snapshot)) == (["*"], {"MSFT": 10, "TSLA": 20})


def test_unsubscribing_answers_the_rest_and_ends_the_updates(bench: Bench) -> None:
    client = bench.client("AAPL", "MSFT")
    client.read()
    bench.hub.change(client.outbox, frozenset(("AAPL",)))
    assert client.read() == [{"type": "subscribed", "tickers": ["AAPL"]}]
    bench.apply(enriched("MSFT", 11, alert="bullish"))
    bench.hub.flush()
    assert client.read() == []


def test_busy_client_is_sent_what_it_missed_before_the_answer_to_its_subscription(bench: Bench) -> None:
    client = bench.client("AAPL")
    client.read_one()
    bench.apply(enriched("AAPL", 11, alert="bullish"), enriched("MSFT", 12, alert="bullish"))
    bench.hub.flush()
    bench.hub.change(client.outbox, frozenset(("AAPL", "MSFT")))
    bench.apply(enriched("MSFT", 13))
    bench.hub.flush()
    missed, answer, snapshot, later = client.read()
    assert (alert_ids([missed]), reached(missed["cursor"])) == ([f"{LIFE}.0.11"], [12, 20])
    assert answer["type"] == "subscribed"
    assert (seqs(snapshot), reached(snapshot["cursor"])) == ({"MSFT": 12}, [12, 20])
    assert (seqs(later), later["alerts"], reached(later["cursor"])) == ({"MSFT": 13}, [], [13, 20])


def test_client_that_left_is_sent_nothing_and_may_leave_again(bench: Bench) -> None:
    client, other = bench.client("AAPL"), bench.client("AAPL")
    client.read()
    other.read()
    bench.hub.leave(client.outbox)
    bench.hub.leave(client.outbox)
    bench.apply(enriched("AAPL", 11))
    bench.hub.flush()
    assert client.read() == []
    assert len(other.read()) == 1


def test_nothing_is_encoded_for_a_set_that_nobody_holds_any_more(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    client = bench.client("AAPL")
    client.read()
    bench.hub.change(client.outbox, frozenset(("MSFT",)))
    bench.hub.leave(client.outbox)
    encoded = []
    monkeypatch.setattr("services.gateway.protocol.encode_update", lambda *args, **_: encoded.append(args))
    bench.apply(enriched("AAPL", 11), enriched("MSFT", 12))
    bench.hub.flush()
    assert encoded == []


def test_rewind_replaces_everything_and_seqs_may_fall(bench: Bench) -> None:
    client = bench.client()
    client.read()
    bench.load(0, 7, enriched("AAPL", 7), lost="rewind")
    (message,) = client.read()
    assert (message["snapshot"], message["recovered"], message["reason"]) == (True, False, "rewind")
    assert seqs(message) == {"TSLA": 20, "AAPL": 7}
    assert reached(message["cursor"]) == [7, 20]


def test_events_of_a_lost_history_that_were_not_flushed_are_never_sent(bench: Bench) -> None:
    client = bench.client()
    client.read()
    bench.apply(enriched("AAPL", 11, alert="bullish"), enriched("TSLA", 21, alert="bearish"))
    bench.load(0, 7, enriched("AAPL", 7), lost="rewind")
    bench.hub.flush()
    loss, update = client.read()
    assert (seqs(loss), reached(loss["cursor"])) == ({"TSLA": 20, "AAPL": 7}, [7, 20])
    assert (seqs(update), alert_ids([update]), reached(update["cursor"])) == ({"TSLA": 21}, [f"{LIFE}.1.21"], [7, 21])


def test_busy_client_gets_one_snapshot_for_two_losses_with_the_alerts_it_missed(bench: Bench) -> None:
    client = bench.client()
    client.read_one()
    bench.apply(enriched("TSLA", 21, alert="bullish"))
    bench.hub.flush()
    bench.load(0, 7, enriched("AAPL", 7), lost="rewind")
    bench.load(1, 0, lost="reset")
    (message,) = client.read()
    assert (message["recovered"], message["reason"], seqs(message)) == (False, "reset", {"AAPL": 7})
    assert alert_ids([message]) == [f"{LIFE}.1.21"]
    assert reached(message["cursor"]) == [7, 0]


def test_first_load_is_no_loss(bench: Bench) -> None:
    client = bench.client()
    client.read()
    bench.load(0, 10, enriched("AAPL", 9))
    assert client.read() == []


def test_idle_update_is_empty_and_has_the_newest_cursor(bench: Bench) -> None:
    client = bench.client("NEW")
    (first,) = client.read()
    bench.apply(enriched("AAPL", 11))
    bench.hub.flush()
    client.outbox.put(*bench.hub.encode_idle())
    (message,) = client.read()
    assert (message["snapshot"], message["stocks"], message["alerts"]) == (False, [], [])
    assert (reached(first["cursor"]), reached(message["cursor"])) == ([10, 20], [11, 20])


def test_clients_are_told_once_that_redis_is_silent_and_once_that_it_is_back(bench: Bench) -> None:
    client = bench.client("NEW")
    client.read()
    bench.hub.hear(0, 100.0)
    bench.hub.hear(1, 100.0)
    bench.hub.watch(101.9)
    assert client.read() == []
    bench.hub.hear(0, 101.9)
    bench.now_ms += 3000
    bench.hub.watch(102.0)
    bench.hub.watch(103.0)
    assert client.read() == [{"type": "status", "stale": True, "since": "2026-02-14T21:38:22.104+00:00"}]
    bench.hub.hear(1, 104.0)
    bench.hub.hear(0, 104.0)
    bench.hub.watch(104.0)
    assert client.read() == [{"type": "status", "stale": False, "since": "2026-02-14T21:38:25.104+00:00"}]


def test_client_that_comes_while_redis_is_silent_is_told_after_its_snapshot(bench: Bench) -> None:
    bench.hub.hear(0, 100.0)
    bench.hub.watch(110.0)
    snapshot, status = bench.client().read()
    assert (snapshot["snapshot"], status["stale"]) == (True, True)


def test_clients_hear_whether_the_exchange_trades_and_who_comes_later_after_the_snapshot(bench: Bench) -> None:
    client = bench.client("NEW")
    client.read()
    bench.hub.tell_market(Market("XNYS", "closed", "weekend", "1771252200000", "", "1771105101950"))
    (told,) = client.read()
    assert told == {
        "type": "market_status",
        "exchange": "XNYS",
        "status": "closed",
        "reason": "weekend",
        "next_open": "2026-02-16T14:30:00.000+00:00",
        "next_close": None,
        "ts": "2026-02-14T21:38:21.950+00:00",
    }
    snapshot, same = bench.client().read()
    assert snapshot["snapshot"]
    assert same == told


def test_market_of_a_stale_gateway_is_told_beside_the_status(bench: Bench) -> None:
    bench.hub.tell_market(Market("XNYS", "open", "regular", "", "", "1771105101950"))
    bench.hub.hear(0, 100.0)
    bench.hub.watch(110.0)
    assert sorted(message["type"] for message in bench.client().read()) == ["market_status", "status", "stock_update"]
    bench.hub.hear(0, 111.0)
    bench.hub.watch(111.0)
    assert sorted(message["type"] for message in bench.client().read()) == ["market_status", "stock_update"]


def test_hub_says_that_there_is_something_to_flush(bench: Bench) -> None:
    before = bench.changes
    bench.apply(enriched("AAPL", 11))
    assert bench.changes == before + 1


def test_snapshot_of_many_tickers_comes_in_parts() -> None:
    bench = Bench()
    bench.load(0, 0, *(enriched(f"A{n}", n + 1) for n in range(2500)))
    bench.load(1, 0)
    messages = bench.client().read()
    assert [message.get("more") for message in messages] == [True, True, None]
    assert len({stock["ticker"] for message in messages for stock in message["stocks"]}) == 2500
