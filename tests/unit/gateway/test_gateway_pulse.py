"""When a peer is asked whether it lives, and when it is taken for dead."""

from services.gateway.pulse import Pulse, Sign


def look(pulse: Pulse, now: float, was_heard: bool = False) -> Sign:
    return pulse.look(now, was_heard, ask_seconds=20.0, mute_seconds=40.0)


def test_peer_that_speaks_is_not_asked() -> None:
    pulse = Pulse(0.0)
    assert {look(pulse, now, was_heard=True) for now in range(0, 1000, 5)} == {Sign.ALIVE}


def test_silent_peer_is_asked_and_lives_if_it_answers() -> None:
    pulse = Pulse(0.0)
    assert look(pulse, 19.9) is Sign.ALIVE
    assert look(pulse, 20.0) is Sign.ASK
    assert look(pulse, 25.0, was_heard=True) is Sign.ALIVE
    assert look(pulse, 44.9) is Sign.ALIVE
    assert look(pulse, 45.0) is Sign.ASK


def test_peer_that_never_answers_is_mute() -> None:
    pulse = Pulse(0.0)
    signs = [look(pulse, now) for now in range(5, 45, 5)]
    assert signs == [Sign.ALIVE] * 3 + [Sign.ASK] * 4 + [Sign.MUTE]


def test_peer_that_speaks_in_the_last_moment_lives() -> None:
    pulse = Pulse(0.0)
    assert look(pulse, 39.9) is Sign.ASK
    assert look(pulse, 45.0, was_heard=True) is Sign.ALIVE
