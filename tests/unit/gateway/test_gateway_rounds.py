"""Who is looked at when."""

from services.gateway.rounds import Rounds


def test_member_is_due_once_in_a_period() -> None:
    rounds: Rounds[str] = Rounds(5.0)
    rounds.enter("a", 0.0)
    assert [list(rounds.due(now)) for now in (4.9, 5.0, 5.1, 9.9, 10.0)] == [[], ["a"], [], [], ["a"]]


def test_members_are_due_one_by_one_as_they_came() -> None:
    rounds: Rounds[int] = Rounds(10.0)
    for second in range(10):
        rounds.enter(second, second)
    assert [list(rounds.due(now)) for now in range(10, 20)] == [[n] for n in range(10)]


def test_nobody_is_asked_before_the_first_who_is_due() -> None:
    rounds: Rounds[int] = Rounds(10.0)
    for second in range(1000):
        rounds.enter(second, second)
    looks = rounds.due(10.0)
    assert next(looks) == 0
    assert next(looks, None) is None


def test_member_that_left_is_never_due_and_may_leave_again() -> None:
    rounds: Rounds[str] = Rounds(5.0)
    rounds.enter("a", 0.0)
    rounds.enter("b", 0.0)
    rounds.leave("a")
    rounds.leave("a")
    assert list(rounds.due(5.0)) == ["b"]


def test_members_may_leave_while_the_others_are_looked_at() -> None:
    rounds: Rounds[str] = Rounds(5.0)
    for name in "abc":
        rounds.enter(name, 0.0)
    seen = []
    for name in rounds.due(6.0):
        seen.append(name)
        rounds.leave("b")
    assert seen == ["a", "c"]
