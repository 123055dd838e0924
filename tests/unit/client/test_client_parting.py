"""Whether a client comes back, and when: the contract's table from the client's side."""

import pytest
from tickstream_client.endings import error_numbers, parting_of
from tickstream_client.parting import Parting, judge_answer, judge_close, printable
from websockets.exceptions import ConnectionClosedError


@pytest.mark.parametrize("code", [1002, 1007, 1009, 4400, 4403])
def test_some_codes_are_final(code: int) -> None:
    assert judge_close(code, "bad messages") == Parting(f"bad messages, code {code}", code, is_final=True)


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, 1012, 1013, 4401, 4408, 4429])
def test_after_all_others_it_comes_back(code: int) -> None:
    assert not judge_close(code, "going away").is_final


@pytest.mark.parametrize(
    ("text", "reason", "seconds"),
    [
        ("going away; reconnect in 3.2 s", "going away, code 1001", 3.2),
        ("reconnect in 5 s", "closed, code 1001", 5.0),
        ("restart", "restart, code 1001", None),
        ("", "closed, code 1001", None),
        ("reconnect in 99999.9 s", "closed, code 1001", 60.0),
        ("reconnect in -3 s", "reconnect in -3 s, code 1001", None),
    ],
)
def test_hint_in_the_reason_is_heeded(text: str, reason: str, seconds: float | None) -> None:
    assert judge_close(1001, text) == Parting(reason, 1001, hint_seconds=seconds)


@pytest.mark.parametrize(
    ("status", "is_final"), [(401, True), (403, True), (404, True), (408, False), (429, False), (502, False), (503, False), (200, False)]
)
def test_http_answers_that_another_try_may_change_are_waited_out(status: int, is_final: bool) -> None:
    assert judge_answer(status, "", "").is_final is is_final


def test_http_answer_is_told_with_its_words_and_its_hint() -> None:
    assert judge_answer(503, "full\n", "7") == Parting("HTTP 503, full", 503, hint_seconds=7.0)
    assert judge_answer(429, "", "Wed, 21 Oct 2026 07:28:00 GMT").hint_seconds is None


def test_error_of_a_name_with_several_addresses_is_taken_apart() -> None:
    text = "Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 113] Connect call failed ('127.0.0.1', 1)"
    assert error_numbers(text) == [111, 113]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 8001)"), "connection refused"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 111] Connect call failed"), "connection refused"),
        (ConnectionResetError(104, "Connection reset by peer"), "Connection reset by peer"),
        (TimeoutError("timed out during opening handshake"), "timed out during opening handshake"),
        (TimeoutError(), "TimeoutError"),
        (ConnectionClosedError(None, None), "connection lost"),
    ],
)
def test_what_the_system_says_is_told_in_words(error: Exception, reason: str) -> None:
    assert parting_of(error) == Parting(reason)


def test_strange_text_steers_no_terminal() -> None:
    assert printable("a\x1b[31mb\n\x07é") == "a·[31mb··é"
    assert judge_close(1011, "fault\x1b[2J; reconnect in 1 s").reason == "fault·[2J, code 1011"
