"""What is made once for a crowd: shared by those who ask the same, forgotten soon, and never much of it."""

from itertools import count

from services.gateway.remembered import MOST, Remembered


def test_it_is_made_once_for_those_who_ask_the_same_and_again_once_it_is_forgotten() -> None:
    numbers, remembered = count(), Remembered[str, int]()
    assert [remembered.get(key, lambda: next(numbers)) for key in ("one", "other", "one")] == [0, 1, 0]
    remembered.forget()
    assert remembered.get("one", lambda: next(numbers)) == 2


def test_of_a_crowd_without_any_two_alike_only_the_last_are_remembered() -> None:
    numbers, remembered = count(), Remembered[int, int]()
    for key in range(MOST + 1):
        remembered.get(key, lambda: next(numbers))
    assert remembered.get(1, lambda: next(numbers)) == 1
    assert remembered.get(0, lambda: next(numbers)) == MOST + 1
