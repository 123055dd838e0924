"""What a slow client is sent, and when it is given up."""

from services.gateway.outbox import Limits, Outbox, Pending, Update, Verdict
from services.gateway.protocol import Parts, Subscription

LIMITS = Limits(alerts=3, stall_seconds=10.0, idle_seconds=60.0)


class Bench:
    """An outbox whose messages tell what they were made of."""

    def __init__(self) -> None:
        self.encoded: list[Pending] = []
        self.wakes = 0
        self.outbox = Outbox(self._encode, self._wake, LIMITS, 0.0)

    def _encode(self, _wanted: Subscription, pending: Pending) -> Parts:
        self.encoded.append(pending)
        return (b"own",)

    def _wake(self) -> None:
        self.wakes += 1

    def make_busy(self) -> None:
        self.outbox.put(b"first")
        assert self.outbox.take(0.0) == b"first"

    def drain(self, now: float = 0.0) -> list[bytes]:
        return list(iter(lambda: self.outbox.take(now), None))


def update(*names: str, alerts: tuple[str, ...] = (), value: str = "") -> Update:
    return Update((b"shared",), {name: f"{name}{value}" for name in names}, alerts)


def test_idle_client_gets_the_shared_message_and_is_woken() -> None:
    bench = Bench()
    bench.outbox.offer(update("A"))
    assert bench.wakes == 1
    assert bench.drain() == [b"shared"]
    assert bench.encoded == []


def test_busy_client_keeps_the_newest_of_each_ticker_and_every_alert() -> None:
    bench = Bench()
    bench.make_busy()
    bench.outbox.offer(update("A", "B", alerts=("x",), value="1"))
    bench.outbox.offer(update("B", "C", alerts=("y",), value="2"))
    assert bench.drain() == [b"own"]
    assert bench.encoded == [Pending({"A": "A1", "B": "B2", "C": "C2"}, ["x", "y"], skipped=1)]


def test_client_that_drained_gets_the_shared_message_again() -> None:
    bench = Bench()
    bench.make_busy()
    bench.outbox.offer(update("A"))
    bench.drain()
    bench.outbox.offer(update("A"))
    assert bench.drain() == [b"shared"]


def test_update_that_comes_before_the_sender_woke_waits_in_the_slots() -> None:
    bench = Bench()
    bench.outbox.offer(update("A", value="1"))
    bench.outbox.offer(update("A", value="2"))
    assert bench.drain() == [b"shared", b"own"]
    assert bench.encoded == [Pending({"A": "A2"})]


def test_reply_stands_behind_what_was_offered_before_and_ahead_of_what_comes_after() -> None:
    bench = Bench()
    bench.make_busy()
    bench.outbox.offer(update("A", value="1"))
    bench.outbox.put(b"reply")
    bench.outbox.offer(update("A", value="2"))
    assert bench.drain() == [b"own", b"reply", b"own"]
    assert [pending.stocks["A"] for pending in bench.encoded] == ["A1", "A2"]
    assert [pending.skipped for pending in bench.encoded] == [0, 0]


def test_loss_makes_slots_pointless_but_keeps_alerts() -> None:
    bench = Bench()
    bench.make_busy()
    bench.outbox.offer(update("A", alerts=("x",)))
    bench.outbox.replace((b"snapshot",), "reset")
    bench.outbox.replace((b"snapshot",), "rewind")
    bench.outbox.offer(update("B", alerts=("y",)))
    assert bench.drain() == [b"own"]
    assert bench.encoded == [Pending({}, ["x", "y"], lost="reset")]


def test_idle_client_gets_the_snapshot_of_a_loss_at_once() -> None:
    bench = Bench()
    bench.outbox.replace((b"one", b"two"), "rewind")
    assert bench.drain() == [b"one", b"two"]


def test_busy_client_hears_only_the_newest_status() -> None:
    bench = Bench()
    bench.make_busy()
    bench.outbox.tell("status", b"stale")
    bench.outbox.tell("market_status", b"open")
    bench.outbox.tell("status", b"fresh")
    assert bench.drain() == [b"own"]
    assert bench.encoded == [Pending(notices={"status": b"fresh", "market_status": b"open"})]
    bench.outbox.tell("status", b"stale")
    assert bench.drain() == [b"stale"]


def test_memory_of_a_client_that_never_reads_is_bounded_by_tickers() -> None:
    bench = Bench()
    bench.make_busy()
    for value in range(10_000):
        bench.outbox.offer(update("A", "B", value=str(value)))
        bench.outbox.tell("status", b"status")
        bench.outbox.replace((b"snapshot",), "rewind")
    bench.outbox.offer(update("A", "B"))
    assert bench.drain() == [b"own"]
    assert len(bench.encoded) == 1


def test_full_alert_queue_gives_the_client_up_and_keeps_nothing() -> None:
    bench = Bench()
    bench.make_busy()
    bench.outbox.offer(update("A", alerts=("1", "2", "3")))
    assert bench.outbox.judge(0.0, 0) is Verdict.FINE
    bench.outbox.offer(update("A", alerts=("4",)))
    assert bench.outbox.judge(0.0, 0) is Verdict.SLOW
    bench.outbox.offer(update("A", alerts=("5",)))
    assert bench.drain() == []


def test_client_of_whom_no_byte_leaves_for_the_stall_time_is_slow() -> None:
    bench = Bench()
    bench.make_busy()
    assert bench.outbox.judge(1.0, 500) is Verdict.FINE
    assert bench.outbox.judge(9.9, 500) is Verdict.FINE
    assert bench.outbox.judge(10.0, 500) is Verdict.SLOW


def test_client_that_drains_a_little_is_not_slow() -> None:
    bench = Bench()
    bench.make_busy()
    for second in range(100):
        assert bench.outbox.judge(second * 9.0, 1000 - second) is Verdict.FINE


def test_bytes_that_wait_count_also_when_the_message_was_taken_for_sent() -> None:
    bench = Bench()
    bench.make_busy()
    bench.drain()
    assert bench.outbox.judge(5.0, 0) is Verdict.FINE
    assert bench.outbox.judge(14.0, 20) is Verdict.FINE
    assert bench.outbox.judge(15.0, 20) is Verdict.SLOW


def test_client_that_was_sent_nothing_for_the_idle_time_is_idle() -> None:
    bench = Bench()
    bench.outbox.put(b"first")
    assert bench.drain(now=5.0) == [b"first"]
    assert bench.outbox.judge(64.9, 0) is Verdict.FINE
    assert bench.outbox.judge(65.0, 0) is Verdict.IDLE
    bench.outbox.put(b"empty update")
    assert bench.outbox.judge(65.1, 0) is Verdict.FINE
    bench.drain(now=65.2)
    assert bench.outbox.judge(125.1, 0) is Verdict.FINE
