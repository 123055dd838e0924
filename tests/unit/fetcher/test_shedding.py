"""What a live source keeps while there is no room: the newest of each ticker, and the count of what it replaced."""

from services.fetcher.shedding import Waiting
from shared.events import TickValues


def tick(ticker: str, price: str) -> TickValues:
    return (ticker, price, "1771105080000", "finnhub", "", "1771105079000", "")


def test_ticks_are_handed_out_in_order_and_only_once() -> None:
    waiting = Waiting()
    assert [waiting.put(tick("A", "1")), waiting.put(tick("B", "2"))] == [0, 0]
    assert waiting.take(1) == [tick("A", "1")]
    assert waiting.take(5) == [tick("B", "2")]
    assert len(waiting) == 0


def test_newer_tick_replaces_the_older_and_says_how_many_were_shed() -> None:
    waiting = Waiting()
    assert [waiting.put(tick("A", price)) for price in ("1", "2", "3")] == [0, 1, 1]
    assert waiting.take(5) == [(*tick("A", "3")[:6], "2")]


def test_tick_that_found_no_room_comes_back_unless_there_is_a_newer_one() -> None:
    waiting = Waiting()
    waiting.put(tick("A", "1"))
    waiting.put(tick("B", "1"))
    on_their_way = waiting.take(5)
    waiting.put(tick("A", "2"))
    assert waiting.give_back(on_their_way) == 1
    assert waiting.take(5) == [(*tick("A", "2")[:6], "1"), tick("B", "1")]


def test_count_goes_on_over_several_refusals() -> None:
    waiting = Waiting()
    for price in ("1", "2", "3"):
        waiting.put(tick("A", price))
        waiting.give_back(waiting.take(5))
    waiting.put(tick("A", "4"))
    assert waiting.take(5) == [(*tick("A", "4")[:6], "3")]


def test_count_is_forgotten_with_the_tick_that_said_it() -> None:
    waiting = Waiting()
    waiting.put(tick("A", "1"))
    waiting.put(tick("A", "2"))
    waiting.take(5)
    waiting.put(tick("A", "3"))
    assert waiting.take(5) == [tick("A", "3")]
