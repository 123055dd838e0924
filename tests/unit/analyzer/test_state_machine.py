"""The analyzer's state machine against the oracle, cut into batches and restarts at any place."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from services.analyzer.state_machine import StateMachine
from shared.commits import Digest, Entries, State
from shared.events import decimal_text
from shared.testing.entries import tick_entry
from shared.testing.oracle import Judged, expect

PRICES = st.one_of(
    st.sampled_from(["1", "2", "3"]),  # equality and flat stretches are common
    st.decimals(min_value=Decimal("0.00000001"), max_value=Decimal("999999999999.99999999"), places=8).map(decimal_text),
)
TICKS = st.lists(st.tuples(st.sampled_from(["AAPL", "BRK.B"]), PRICES), max_size=60)
PERIODS = st.one_of(st.integers(2, 6), st.integers(2, 500))


def entries_of(ticks: list[tuple[str, str]], first_seq: int = 1) -> Entries:
    """Entries as `append` writes them, with ids 1-0, 2-0, …"""
    return [
        (f"{seq}-0", tick_entry(seq=str(seq), ticker=ticker, price=price, ts="1700000000000", source="replay"))
        for seq, (ticker, price) in enumerate(ticks, first_seq)
    ]


class Committed:
    """What Redis would hold: applies digests as `commit` does, and gives the state as `load` does."""

    def __init__(self, period: int) -> None:
        self.period = period
        self.windows: dict[str, list[str]] = {}
        self.sides: dict[str, int] = {}
        self.judged: list[Judged] = []
        self.cursor, self.seq, self.passed = "0-0", 0, 0

    def apply(self, digest: Digest) -> None:
        assert digest.previous == self.cursor
        self.cursor, self.seq, self.passed = digest.last, digest.seq, digest.passed
        outcome = digest.outcome
        for ticker, prices in outcome.prices.items():
            assert len(prices) <= self.period
            self.windows[ticker] = [*self.windows.get(ticker, []), *prices][-self.period :]
        self.sides |= dict(zip(outcome.sides[::2], map(int, outcome.sides[1::2]), strict=True))
        rows = [outcome.events[i : i + 8] for i in range(0, len(outcome.events), 8)]
        self.judged += [Judged(ticker, price, sma, alert) for _, ticker, price, _, _, _, sma, alert in rows]

    def state(self) -> State:
        return State("1-a", self.period, self.cursor, self.passed, self.seq, dict(self.sides), dict(self.windows))


@settings(max_examples=300)
@given(ticks=TICKS, period=PERIODS, data=st.data())
def test_any_batches_and_restarts_give_what_the_oracle_gives(ticks: list[tuple[str, str]], period: int, data: st.DataObject) -> None:
    committed = Committed(period)
    machine = StateMachine(committed.state())
    entries = entries_of(ticks)
    while entries:
        size = data.draw(st.integers(1, len(entries)), label="batch")
        committed.apply(machine.digest(entries[:size], len(ticks)))
        entries = entries[size:]
        if data.draw(st.booleans(), label="restart"):
            machine = StateMachine(committed.state())
    expected = expect(ticks, period)
    assert committed.judged == expected.judged
    assert committed.windows == expected.windows
    assert committed.sides == expected.sides


def test_a_flat_stretch_cut_by_a_restart_keeps_the_side_it_came_from() -> None:
    committed = Committed(period=3)
    ticks = [("AAPL", price) for price in ("3", "2", "1", "1", "1", "1", "2")]
    for entry in entries_of(ticks):
        committed.apply(StateMachine(committed.state()).digest([entry], len(ticks)))
    assert [judged.alert for judged in committed.judged] == ["", "", "", "", "", "", "bullish"]


def test_the_first_side_of_a_ticker_is_no_alert() -> None:
    digest = StateMachine(Committed(period=2).state()).digest(entries_of([("AAPL", "1"), ("AAPL", "2"), ("AAPL", "1")]), 3)
    assert digest.outcome.events[7::8] == ["", "", "bearish"]
    assert digest.outcome.sides == ["AAPL", "-1"]


def test_a_batch_longer_than_the_period_commits_only_the_last_prices_of_a_ticker() -> None:
    digest = StateMachine(Committed(period=2).state()).digest(entries_of([("AAPL", str(n)) for n in range(1, 10)]), 9)
    assert digest.outcome.prices == {"AAPL": ["8", "9"]}


def test_a_malformed_entry_is_dead_lettered_with_its_reason_and_the_rest_goes_on() -> None:
    entries = entries_of([("AAPL", "1"), ("AAPL", "2"), ("AAPL", "3")])
    entries[1][1][5] = "NaN"
    del entries[2][1][6:8]
    digest = StateMachine(Committed(period=2).state()).digest(entries, 3)
    assert digest.outcome.deadletters[:2] == ["2-0", "price 'NaN' is not allowed"]
    assert digest.outcome.deadletters[3:5] == ["3-0", "field ts is missing"]
    assert '"price":"NaN"' in digest.outcome.deadletters[2]
    assert digest.outcome.events[0] == "1"
    assert (digest.last, digest.passed) == ("3-0", 3)


def test_a_seq_that_was_never_assigned_is_dead_lettered_and_hides_nothing() -> None:
    forged = entries_of([("AAPL", "9")], first_seq=1000)[0]
    entries = [*entries_of([("AAPL", "1")]), ("1-1", forged[1]), *entries_of([("AAPL", "2")], first_seq=2)]
    digest = StateMachine(Committed(period=2).state()).digest(entries, 2)
    assert digest.outcome.deadletters[1] == "seq 1000 was never assigned, the newest is 2"
    assert digest.outcome.events[::8] == ["1", "2"]
    assert digest.missing == ()


def test_a_tick_that_cannot_be_read_keeps_its_place_and_is_no_gap() -> None:
    entries = entries_of([("AAPL", "1"), ("AAPL", "2"), ("AAPL", "3")])
    entries[1][1][5] = "NaN"
    digest = StateMachine(Committed(period=2).state()).digest(entries, 3)
    assert digest.outcome.deadletters[1::3] == ["price 'NaN' is not allowed"]
    assert digest.outcome.events[::8] == ["1", "3"]
    assert (digest.missing, digest.passed, digest.seq) == ((), 3, 3)


def test_what_is_missing_before_a_tick_that_cannot_be_read_is_reported() -> None:
    entries = [*entries_of([("AAPL", "1")]), *entries_of([("AAPL", "2"), ("AAPL", "3")], first_seq=5)]
    entries[1][1][5] = "NaN"
    digest = StateMachine(Committed(period=2).state()).digest(entries, 6)
    assert digest.missing == ((2, 4),)
    assert (digest.passed, digest.seq) == (6, 6)


def test_a_hole_in_the_seqs_is_reported_and_counted_as_passed() -> None:
    entries = [*entries_of([("AAPL", "1")]), *entries_of([("AAPL", "2")], first_seq=5)]
    digest = StateMachine(Committed(period=2).state()).digest(entries, 5)
    assert digest.missing == ((2, 4),)
    assert digest.passed == 5
    assert digest.seq == 5


def test_latest_holds_the_last_event_of_each_ticker_as_json_with_the_streams_own_characters() -> None:
    digest = StateMachine(Committed(period=2).state()).digest(entries_of([("AAPL", "1.1"), ("AAPL", "0.2"), ("KO", "7")]), 3)
    assert dict(zip(digest.outcome.latest[::2], digest.outcome.latest[1::2], strict=True)) == {
        "AAPL": '{"ticker":"AAPL","price":0.2,"sma":0.65,"alert":null,"ts":1700000000000,"source":"replay","seq":2}',
        "KO": '{"ticker":"KO","price":7,"sma":null,"alert":null,"ts":1700000000000,"source":"replay","seq":3}',
    }
