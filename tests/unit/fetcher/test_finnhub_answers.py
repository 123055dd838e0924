"""What Finnhub may answer, and what of it is a price: everything else is refused with its reason."""

import pytest

from services.fetcher.providers.finnhub import Outcome, Quote, Refusal, read_answer

NOW = 1_771_105_101.0
JSON = {"content-type": "application/json; charset=utf-8"}


def quote(c: str = "255.78", t: str = "1771105100", d: str = "1.5") -> bytes:
    return f'{{"c":{c},"d":{d},"dp":0.59,"h":256,"l":250,"o":251,"pc":254.28,"t":{t}}}'.encode()


def read(body: bytes, status: int = 200, headers: dict[str, str] = JSON) -> Quote | Refusal:
    return read_answer(status, headers, body, NOW)


def refusal(body: bytes, status: int = 200, headers: dict[str, str] = JSON) -> Refusal:
    answer = read(body, status, headers)
    assert isinstance(answer, Refusal)
    return answer


def test_quote_is_the_price_as_canonical_text_and_the_providers_time_in_milliseconds() -> None:
    assert read(quote()) == Quote("255.78", "1771105100000")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("255", "255"),
        ("255.50", "255.5"),
        ("2.5578e2", "255.78"),
        ("0.00000001", "0.00000001"),
        ("999999999999", "999999999999"),
        ("255.78000000000003", "255.78"),
        ("0.123456785", "0.12345678"),
        ("0.123456775", "0.12345678"),
        ("12345678901.123456789", "12345678901.12345679"),
    ],
)
def test_price_keeps_its_digits_and_loses_the_noise_of_binary_floats(number: str, text: str) -> None:
    assert read(quote(number)) == Quote(text, "1771105100000")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (quote("null"), "c is no number"),
        (quote('"12"'), "c is no number"),
        (quote("true"), "c is no number"),
        (quote("[1]"), "c is no number"),
        (b'{"t":1771105100}', "c is missing"),
        (b'{"c":255.78}', "t is missing"),
        (quote(t='"1771105100"'), "t is no number"),
        (quote(t="1771105100.5"), "no time in whole seconds"),
        (quote(t="-5"), "no time in whole seconds"),
        (quote(t="1771105100000"), "no time in whole seconds"),
        (quote(t="1771109999"), "is in the future"),
        (quote("NaN"), "not JSON"),
        (quote("Infinity"), "not JSON"),
        (quote("-1.5"), "not a number from 0"),
        (quote("1e309"), "not a number from 0"),
        (quote("1e999999999999999999999"), "is no price"),
        (quote("1000000000000"), "not a number from 0"),
        (quote("0.000000001"), "more than 8 decimals"),
        (quote("1." + "1" * 70), "is not a number"),
        (quote()[:40], "not JSON"),
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[255.78]", "not a JSON object"),
        (b"255.78", "not a JSON object"),
    ],
)
def test_answer_that_is_no_quote_is_malformed_and_kept_as_evidence(body: bytes, reason: str) -> None:
    found = refusal(body)
    assert found.outcome is Outcome.MALFORMED
    assert reason in found.reason
    assert found.payload == body.decode("utf-8", "backslashreplace")


@pytest.mark.parametrize("kind", ["text/html", "text/plain; charset=utf-8", "", "application/jsonp"])
def test_quote_of_another_content_type_is_malformed(kind: str) -> None:
    found = refusal(quote(), headers={"content-type": kind})
    assert (found.outcome, found.reason) == (Outcome.MALFORMED, f"content type {kind.partition(';')[0]!r} instead of JSON")


def test_page_with_status_200_is_malformed() -> None:
    assert refusal(b"<html>Maintenance</html>", headers={"content-type": "text/html"}).outcome is Outcome.MALFORMED


def test_unknown_symbol_is_told_from_a_known_one_that_answers_zeros() -> None:
    assert refusal(quote("0", t="0", d="null")).outcome is Outcome.UNKNOWN
    assert refusal(quote("0", t="0", d="0")).outcome is Outcome.ZERO
    assert refusal(quote("0.0", t="1771105100")).outcome is Outcome.ZERO
    assert refusal(quote("-0e5", t="1771105100")).outcome is Outcome.ZERO
    assert refusal(quote("255.78", t="0")).outcome is Outcome.ZERO


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (401, Outcome.UNAUTHORIZED),
        (403, Outcome.FORBIDDEN),
        (429, Outcome.LIMITED),
        (500, Outcome.SERVER_ERROR),
        (503, Outcome.SERVER_ERROR),
        (302, Outcome.UNEXPECTED),
        (404, Outcome.UNEXPECTED),
        (204, Outcome.UNEXPECTED),
    ],
)
def test_status_decides_whatever_the_body_says(status: int, outcome: Outcome) -> None:
    assert refusal(quote(), status=status).outcome is outcome


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("API limit reached. Please try again later. Remaining Limit: 0", Outcome.LIMITED),
        ("Invalid API key.", Outcome.UNAUTHORIZED),
        ("You don't have access to this resource.", Outcome.FORBIDDEN),
    ],
)
def test_error_that_comes_with_status_200_is_known_by_its_words(text: str, outcome: Outcome) -> None:
    assert refusal(text.encode(), headers={"content-type": "text/plain"}).outcome is outcome
    assert refusal(b'{"error":"%b"}' % text.encode()).outcome is outcome


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [("1771105131", 30.0), ("1771105100", None), ("1771109999", None), ("soon", None), ("30", None), ("", None), ("1771105131.5", None)],
)
def test_time_of_the_next_call_is_taken_from_the_header_if_it_can_be(reset: str, seconds: float | None) -> None:
    assert refusal(b"", 429, {"x-ratelimit-reset": reset}).retry_after_seconds == seconds
    assert refusal(b"API limit reached", headers={"x-ratelimit-reset": reset}).retry_after_seconds == seconds


def test_without_the_header_nothing_is_known_of_the_next_call() -> None:
    assert refusal(b"", 429).retry_after_seconds is None
