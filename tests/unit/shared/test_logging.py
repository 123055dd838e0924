"""Logs: one line per event, JSON or text, and no secret in any of them, whoever logs and however."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from shared.logging import NOISY_LIBRARIES, configure_logging, redact, secrets_of
from shared.settings import PostgresqlUrl, Settings


class Terminal(io.StringIO):
    """An output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class TwoSecrets(Settings):
    """Settings with more than one secret."""

    database_url: PostgresqlUrl
    token: SecretStr = SecretStr("tok-en-77")


REDIS_URL = "redis://user:hunter22@redis.example:6379/0"
DATABASE_URL = "postgresql://ticks:p%40ss-word@db.example/ticks"

Start = Callable[..., io.StringIO]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Configure logging onto a buffer; what the tests' runner configured is put back afterwards."""
    root = logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in NOISY_LIBRARIES}
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)

    def configure(output: io.StringIO | None = None, **fields: Any) -> io.StringIO:
        output = output or io.StringIO()
        configure_logging("tests", TwoSecrets(**{"redis_url": REDIS_URL, "database_url": DATABASE_URL, **fields}), output)
        return output

    yield configure
    structlog.reset_defaults()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def lines(output: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


def test_an_event_is_one_json_object_with_time_level_logger_and_service(start: Start) -> None:
    output = start()
    structlog.get_logger("a.module").info("lease taken", partition=3)
    (line,) = lines(output)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "lease taken", "partition": 3, "level": "info", "logger": "a.module", "service": "tests"}


def test_a_library_that_logs_by_the_standard_library_gets_the_same_shape(start: Start) -> None:
    output = start()
    logging.getLogger("a.library").warning("lost %s of %d", "one", 2)
    (line,) = lines(output)
    assert (line["event"], line["level"], line["logger"], line["service"]) == ("lost one of 2", "warning", "a.library", "tests")


def test_a_traceback_stays_within_its_json_line(start: Start) -> None:
    output = start()
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        structlog.get_logger("a").exception("first")
        logging.getLogger("b").exception("second")
    assert ["RuntimeError: broken" in line["exception"] for line in lines(output)] == [True, True]


@pytest.mark.parametrize(
    ("is_terminal", "log_format", "is_json"), [(False, None, True), (True, None, False), (True, "json", True), (False, "text", False)]
)
def test_logs_are_json_unless_a_terminal_reads_them_or_the_format_is_given(
    start: Start, is_terminal: bool, log_format: str | None, is_json: bool
) -> None:
    output = start(Terminal() if is_terminal else io.StringIO(), log_format=log_format)
    structlog.get_logger("a").info("hello", partition=3)
    assert output.getvalue().startswith("{") is is_json
    assert "hello" in output.getvalue()


def test_text_that_no_terminal_reads_has_no_colours(start: Start) -> None:
    output = start(log_format="text")
    structlog.get_logger("a").warning("hello", partition=3)
    assert "partition=3" in output.getvalue()
    assert "\x1b" not in output.getvalue()


def test_what_is_below_the_level_is_not_logged(start: Start) -> None:
    output = start(log_level="warning")
    structlog.get_logger("a").info("hello")
    logging.getLogger("b").info("hello")
    assert output.getvalue() == ""


def test_libraries_that_log_urls_are_heard_from_warning_on(start: Start) -> None:
    output = start(log_level="debug")
    for name in NOISY_LIBRARIES:
        logging.getLogger(name).info("GET https://example/?x=1")
        logging.getLogger(name).warning("trouble")
    assert [line["event"] for line in lines(output)] == ["trouble"] * len(NOISY_LIBRARIES)


SHOWN = ["hunter22", "p%40ss-word", "p@ss-word", "tok-en-77"]


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("secret", SHOWN)
def test_no_secret_gets_into_a_log_whoever_writes_it_and_wherever(start: Start, log_format: str, secret: str) -> None:
    output = start(log_format=log_format)
    structlog.get_logger("a").info(f"event {secret}", key=secret, nested={"deep": [secret]}, **{secret: 1})
    logging.getLogger("b").error("argument %s %r", secret, {"url": secret})
    structlog.get_logger("c").bind(bound=secret).warning("bound")
    with structlog.contextvars.bound_contextvars(context=secret):
        logging.getLogger("d").warning("context")
    assert secret not in output.getvalue()
    assert "***" in output.getvalue()


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("secret", SHOWN)
def test_no_secret_gets_into_a_traceback(start: Start, log_format: str, secret: str) -> None:
    output = start(log_format=log_format)
    try:
        try:
            raise OSError(f"no way to redis://user:{secret}@example")
        except OSError as cause:
            raise ExceptionGroup(f"group {secret}", [ValueError(secret)]) from cause
    except ExceptionGroup as error:
        structlog.get_logger("a").exception("failed")
        structlog.get_logger("a").error("failed", exc_info=error)
        logging.getLogger("b").exception("failed")
        logging.getLogger("b").error("failed", exc_info=error)
    assert "ValueError" in output.getvalue()
    assert secret not in output.getvalue()


def test_a_traceback_shows_no_local_variables(start: Start) -> None:
    output = start(Terminal())
    local = "-".join(["loc", "al"])
    try:
        raise RuntimeError
    except RuntimeError:
        structlog.get_logger("a").exception("failed")
    assert local not in output.getvalue()


@pytest.mark.parametrize("password", ["quo\"te'd", "back\\slash", "umläut", "new\nline", "p@ss@word", "<&>;$"])
@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_password_is_hidden_also_where_its_signs_are_escaped(start: Start, log_format: str, password: str) -> None:
    output = start(log_format=log_format, token=SecretStr(password), redis_url=f"redis://:{password}@h")
    structlog.get_logger("a").info("event", value=password, text=[password])
    logging.getLogger("b").warning("%r", password)
    logging.getLogger("b").warning("%r", f"redis://:{password}@h")
    shown = repr(password)[1:-1]
    for form in (password, shown, json.dumps(password)[1:-1], json.dumps(shown)[1:-1]):
        assert form not in output.getvalue()


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://u:pw@h:1/0", "redis://***@h:1/0"),
        ("to redis://:a@b@h:1/0 and postgresql://u@h/d.", "to redis://***@h:1/0 and postgresql://***@h/d."),
        ("https://h/path?who=a@b", "https://h/path?who=a@b"),
        ("https://h?who=a@b", "https://h?who=a@b"),
        ("wss://ws.finnhub.io?token=abc123&x=1", "wss://ws.finnhub.io?token=***&x=1"),
        ("X API_KEY=abc api-key=def Password=ghi", "X API_KEY=*** api-key=*** Password=***"),
        ("mail me@example.com", "mail me@example.com"),
    ],
)
def test_users_of_urls_and_tokens_in_queries_are_hidden_even_if_nobody_named_them(text: str, redacted: str) -> None:
    assert redact(text) == redacted


def test_of_a_url_only_the_password_is_a_secret() -> None:
    found = secrets_of({"redis_url": SecretStr("redis://user:hunter22@host:6379/0"), "partitions": 4, "name": "hunter33"})
    assert found == ("hunter22",)


@pytest.mark.parametrize("url", ["redis://host:6379/0", "postgresql://postgres@host/db", "postgresql:///db", "redis://[::1]:6379"])
def test_a_url_without_a_password_hides_no_word(url: str) -> None:
    assert secrets_of({"url": SecretStr(url)}) == ()


def test_a_password_in_a_urls_query_is_a_secret() -> None:
    assert secrets_of({"url": SecretStr("postgresql://h/db?user=u&password=hunter22&sslmode=on")}) == ("hunter22",)


@given(st.text("abc", min_size=4, max_size=6), st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=3))
def test_a_secret_within_another_leaves_no_rest_of_the_longer_one(password: str, tails: list[str]) -> None:
    passwords = [password, *(password + tail for tail in tails)]
    secrets = secrets_of({str(number): SecretStr(secret) for number, secret in enumerate(passwords)})
    for secret in passwords:
        assert redact(f"<{secret}>", secrets) == "<***>"
