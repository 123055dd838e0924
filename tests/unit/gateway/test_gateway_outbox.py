"""What a slow client is sent, and when it is given up."""

from services.gateway.frames import Frame, Frames
from services.gateway.outbox import Limits, Pending, Update
from services.gateway.protocol import Subscription
from tests.unit.gateway.reading import ReadOutbox, text_of

LIMITS = Limits(alerts=3, stall_seconds=10.0, idle_seconds=60.0)
SHARED = Frame(b"shared")


class Bench:
    """An outbox whose messages tell what they were made of, before a transport that takes `room` more messages."""

    def __init__(self) -> None:
        self.encoded: list[Pending] = []
        self.sent: list[bytes] = []
        self.room = 1_000_000
        self.own: tuple[bytes, ...] = (b"own",)
        self.outbox = ReadOutbox(self._encode, self._write, LIMITS)

    def _encode(self, _wanted: Subscription, pending: Pending) -> Frames:
        self.encoded.append(pending)
        return tuple(Frame(text) for text in self.own)

    def _write(self, frame: Frame) -> None:
        assert not self.outbox.is_busy, "written while bytes wait"
        self.sent.append(text_of(frame))
        self.room -= 1
        if self.room < 0:
            self.outbox.on_paused(0.0)

    def make_busy(self) -> None:
        self.room = 0
        self.outbox.put(Frame(b"first"))
        assert self.outbox.is_busy
        self.read()

    def read(self) -> list[bytes]:
        sent, self.sent = self.sent, []
        return sent

    def drain(self, room: int = 1_000_000) -> list[bytes]:
        """Let everything go, and then `room` messages before the next one waits."""
        self.room = room
        self.outbox.on_drained()
        return self.read()


def update(*names: str, alerts: tuple[str, ...] = (), value: str = "") -> Update:
    return Update((SHARED,), {name: f"{name}{value}" for name in names}, alerts)


def test_client_that_keeps_up_is_written_the_shared_message_at_once() -> None:
    bench = Bench()
    bench.outbox.offer(update("A"))
    bench.outbox.offer(update("A"))
    assert bench.read() == [b"shared", b"shared"]
    assert bench.encoded == []


def test_busy_client_keeps_the_newest_of_each_ticker_and_every_alert() -> None:
    bench = Bench()
    bench.make_busy()
    bench.outbox.offer(update("A", "B", alerts=("x",), value="1"))
    bench.outbox.offer(update("B", "C", alerts=("y",), value="2"))
    assert bench.read() == []
    assert bench.outbox.waiting == 5
    assert bench.drain() == [b"own"]
    assert bench.encoded == [Pending({"A": "A1", "B": "B2", "C": "C2"}, ["x", "y"], skipped=1)]
    assert bench.outbox.waiting == 0


def test_client_that_drained_gets_the_shared_message_again() -> None:
    bench = Bench()
    bench.make_busy()
    bench.outbox.offer(update("A"))
    bench.drain()
    bench.outbox.offer(update("A"))
    assert bench.read() == [b"shared"]


def test_client_that_drained_and_missed_nothing_is_sent_nothing() -> None:
    bench = Bench()
    bench.make_busy()
    assert bench.drain() == []
    assert bench.encoded == []
    assert not bench.outbox.is_busy


def test_parts_that_do_not_fit_go_one_by_one_as_the_client_drains() -> None:
    bench = Bench()
    bench.room = 1
    bench.outbox.put(*(Frame(text) for text in (b"1", b"2", b"3", b"4")))
    assert bench.read() == [b"1", b"2"]
    assert bench.outbox.waiting == 2
    assert bench.drain(room=0) == [b"3"]
    assert bench.drain(room=0) == [b"4"]
    assert bench.drain() == []


def test_what_is_offered_between_two_parts_comes_behind_the_last() -> None:
    bench = Bench()
    bench.room = 0
    bench.outbox.put(Frame(b"1"), Frame(b"2"))
    bench.outbox.offer(update("A"))
    assert bench.drain(room=0) == [b"1", b"2"]
    bench.outbox.offer(update("A"))
    assert bench.drain() == [b"own"]


def test_message_of_its_own_in_parts_waits_for_room_as_well() -> None:
    bench = Bench()
    bench.make_busy()
    bench.own = (b"own 1", b"own 2")
    bench.outbox.offer(update("A"))
    assert bench.drain(room=0) == [b"own 1"]
    bench.outbox.tell("status", Frame(b"status"))
    bench.own = (b"status",)
    assert bench.drain() == [b"own 2", b"status"]


def test_reply_stands_behind_what_was_offered_before_and_ahead_of_what_comes_after() -> None:
    bench = Bench()
    bench.make_busy()
    bench.outbox.offer(update("A", value="1"))
    bench.outbox.put(Frame(b"reply"))
    bench.outbox.offer(update("A", value="2"))
    assert bench.drain() == [b"own", b"reply", b"own"]
    assert [pending.stocks["A"] for pending in bench.encoded] == ["A1", "A2"]
    assert [pending.skipped for pending in bench.encoded] == [0, 0]


def test_loss_makes_slots_pointless_but_keeps_alerts() -> None:
    bench = Bench()
    bench.make_busy()
    bench.outbox.offer(update("A", alerts=("x",)))
    bench.outbox.replace((Frame(b"snapshot"),), "reset")
    bench.outbox.replace((Frame(b"snapshot"),), "rewind")
    bench.outbox.offer(update("B", alerts=("y",)))
    assert bench.drain() == [b"own"]
    assert bench.encoded == [Pending({}, ["x", "y"], lost="reset")]


def test_client_that_keeps_up_gets_the_snapshot_of_a_loss_at_once() -> None:
    bench = Bench()
    bench.outbox.replace((Frame(b"one"), Frame(b"two")), "rewind")
    assert bench.read() == [b"one", b"two"]


def test_busy_client_hears_only_the_newest_status() -> None:
    bench = Bench()
    stale, fresh, opened = Frame(b"stale"), Frame(b"fresh"), Frame(b"open")
    bench.make_busy()
    bench.outbox.tell("status", stale)
    bench.outbox.tell("market_status", opened)
    bench.outbox.tell("status", fresh)
    assert bench.drain() == [b"own"]
    assert bench.encoded == [Pending(notices={"status": fresh, "market_status": opened})]
    bench.outbox.tell("status", stale)
    assert bench.read() == [b"stale"]


def test_memory_of_a_client_that_never_reads_is_bounded_by_tickers() -> None:
    bench = Bench()
    bench.make_busy()
    for value in range(10_000):
        bench.outbox.offer(update("A", "B", value=str(value)))
        bench.outbox.tell("status", Frame(b"status"))
    assert bench.outbox.waiting == 2
    bench.outbox.replace((Frame(b"snapshot"),), "rewind")
    bench.outbox.offer(update("A", "B"))
    assert bench.outbox.waiting == 0
    assert bench.drain() == [b"own"]
    assert len(bench.encoded) == 1


def test_full_alert_queue_gives_the_client_up_and_keeps_nothing() -> None:
    bench = Bench()
    bench.make_busy()
    bench.outbox.offer(update("A", alerts=("1", "2", "3")))
    assert not bench.outbox.is_slow(0.0, 0)
    bench.outbox.offer(update("A", alerts=("4",)))
    assert bench.outbox.is_slow(0.0, 0)
    bench.outbox.offer(update("A", alerts=("5",)))
    assert bench.outbox.waiting == 0


def test_client_that_was_given_up_is_sent_nothing_when_it_drains_before_it_is_closed() -> None:
    bench = Bench()
    bench.make_busy()
    bench.outbox.offer(update("A", alerts=("1", "2", "3", "4")))
    assert bench.drain() == []
    bench.outbox.offer(update("B"))
    assert bench.read() == []
    assert bench.outbox.is_slow(0.0, 0), "an alert of its is missing, so it must come again"


def test_client_of_whom_no_byte_leaves_for_the_stall_time_is_slow() -> None:
    bench = Bench()
    bench.make_busy()
    assert not bench.outbox.is_slow(1.0, 500)
    assert not bench.outbox.is_slow(9.9, 500)
    assert bench.outbox.is_slow(10.0, 500)


def test_client_that_drains_a_little_is_not_slow() -> None:
    bench = Bench()
    bench.make_busy()
    assert not any(bench.outbox.is_slow(second * 9.0, 1000 - second) for second in range(100))


def test_stall_time_begins_with_the_pause() -> None:
    bench = Bench()
    bench.make_busy()
    assert not bench.outbox.is_slow(9.0, 500)
    bench.drain()
    bench.outbox.on_paused(1000.0)
    assert not bench.outbox.is_slow(1009.9, 900)
    assert bench.outbox.is_slow(1010.0, 900)


def test_client_that_was_sent_nothing_for_the_idle_time_is_quiet() -> None:
    bench = Bench()
    bench.outbox.put(Frame(b"first"))
    assert not bench.outbox.is_quiet(5.0)
    assert not bench.outbox.is_quiet(64.9)
    assert bench.outbox.is_quiet(65.0)
    bench.outbox.put(Frame(b"empty update"))
    assert not bench.outbox.is_quiet(66.0)
    assert not bench.outbox.is_quiet(125.9)
    assert bench.outbox.is_quiet(126.0)


def test_busy_client_is_not_quiet() -> None:
    bench = Bench()
    bench.make_busy()
    assert not bench.outbox.is_quiet(5.0)
    assert not bench.outbox.is_quiet(500.0)
