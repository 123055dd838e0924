"""The simulator's prices and when they are due."""

import re
from decimal import Decimal
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fetcher.providers.simulated import BAND, Cycle, Pace, Simulation, Walk, base_price, cents_text, schedule
from shared.events import PRICE, Tick, decimal_text, parse_tick


@given(st.integers(1, 10**13))
def test_cents_are_canonical_text(cents: int) -> None:
    assert cents_text(cents) == decimal_text(Decimal(cents) / 100)
    assert re.fullmatch(PRICE, cents_text(cents))


def test_every_tick_is_a_valid_one() -> None:
    for tick in Simulation(["KO", "NEW", "BRK.B"], None, {}).ticks(300, now_ms=1_700_000_000_000):
        parse_tick(Tick("1", *tick)._asdict())


def test_tickers_take_turns_across_calls() -> None:
    simulation = Simulation(["KO", "V", "PG"], "1", {})
    assert [tick[0] for count in (2, 3, 2) for tick in simulation.ticks(count, 0)] == ["KO", "V", "PG", "KO", "V", "PG", "KO"]


def test_a_seeded_path_does_not_depend_on_who_else_is_simulated() -> None:
    alone = [tick[1] for tick in Simulation(["V"], "7", {"V": 300.0}).ticks(50, 0)]
    together = [tick[1] for tick in Simulation(["KO", "V"], "7", {}).ticks(100, 0) if tick[0] == "V"]
    assert alone == together
    assert alone != [tick[1] for tick in Simulation(["V"], "8", {}).ticks(50, 0)]


def test_without_a_seed_two_runs_differ_but_go_on_from_the_last_price() -> None:
    first, second = (Simulation(["KO"], None, {"KO": 99.0}).ticks(50, 0) for _ in range(2))
    assert first != second
    assert abs(Decimal(first[0][1]) - 99) < 1


@pytest.mark.parametrize("strange", [0.01, 1e9, -1.0, float("nan"), float("inf")])
def test_a_strange_last_price_is_not_gone_on_from(strange: float) -> None:
    assert abs(Walk("KO", Random(1), strange).step() / 100 - base_price("KO")) < 1


def test_prices_move_visibly_and_stay_realistic_for_days_of_seconds() -> None:
    walk = Walk("KO", Random("days"))
    prices = [walk.step() for _ in range(200_000)]
    base = base_price("KO") * 100
    assert base / BAND / 1.5 < min(prices)
    assert max(prices) < base * BAND * 1.5
    assert sum(a != b for a, b in pairwise(prices)) > 0.8 * len(prices)


def test_a_path_beyond_the_band_is_pulled_back() -> None:
    walk = Walk("KO", Random("back"), base_price("KO") * BAND)
    walk._price *= 1.2
    assert min(walk.step() for _ in range(200_000)) < base_price("KO") * BAND * 100


def test_price_is_never_0() -> None:
    walk = Walk("KO", Random(1))
    walk._price = 1e-9
    assert walk.step() == 1


@given(st.floats(0.5, 100_000), st.lists(st.floats(0.0, 0.9), min_size=1, max_size=60))
def test_a_pace_gives_its_rate_however_it_is_asked(rate: float, gaps: list[float]) -> None:
    pace, now, made = Pace(rate), 1000.0, 0
    made += pace.due(now)
    for gap in gaps:
        now += gap
        made += pace.due(now)
    assert abs(made - 1 - (now - 1000.0) * rate) <= 1 + 1e-6 * made


def test_after_a_stall_at_most_a_second_is_made_up() -> None:
    pace = Pace(500)
    pace.due(0)
    assert pace.due(3600) == 500


def test_a_slow_pace_is_not_starved_by_the_bound() -> None:
    pace = Pace(0.1)
    assert [pace.due(now) for now in (0, 5, 10, 15, 20)] == [1, 0, 1, 0, 1]


def test_a_clock_set_back_neither_stops_nor_floods_a_pace() -> None:
    pace = Pace(10)
    pace.due(10_000)
    assert pace.due(5_000) == 0
    assert pace.due(5_000.5) == 5


def test_high_rates_come_in_batches_of_ten_milliseconds() -> None:
    pace = Pace(100_000)
    pace.due(0)
    assert pace.wait_seconds(0) == 0.01
    assert pace.due(0.01) == pytest.approx(1000, abs=1)


def test_a_cycle_gives_every_ticker_once_per_interval_of_the_clock() -> None:
    cycle = Cycle(10, 3)
    assert [cycle.due(now) for now in (1003, 1009.9, 1010, 1010.1, 1055, 1059, 1060)] == [3, 0, 3, 0, 3, 0, 3]
    assert cycle.wait_seconds(1063) == 7


def test_a_clock_set_back_does_not_stop_a_cycle() -> None:
    cycle = Cycle(10, 3)
    assert [cycle.due(now) for now in (5000, 1000)] == [3, 3]


def test_the_rate_is_shared_by_all_tickers() -> None:
    share = schedule(rate=1000, interval_seconds=1, own_tickers=3, all_tickers=15)
    share.due(0)
    assert share.due(1) == pytest.approx(200, abs=1)
    assert isinstance(schedule(0, 1, 3, 15), Cycle)
