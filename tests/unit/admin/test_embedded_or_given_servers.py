import pytest

from tests.servers import Choice, choose, redis_database_of_worker, root_cause, why_no_container


def not_to_be_asked() -> str | None:
    raise AssertionError("nobody looks for an engine when a URL is given")


def test_given_url_wins_and_no_engine_is_looked_for() -> None:
    assert choose("REDIS_URL", "redis://:secret@db", not_to_be_asked) == Choice("given", "REDIS_URL is set")


@pytest.mark.parametrize("given", [None, ""])
def test_engine_that_answers_gives_containers(given: str | None) -> None:
    assert choose("REDIS_URL", given, lambda: None).how == "container"


def test_without_an_engine_servers_are_embedded_and_the_header_says_why() -> None:
    choice = choose("DATABASE_URL", None, lambda: "no container engine answers (No such file)")
    assert str(choice) == "embedded (DATABASE_URL is not set, and no container engine answers (No such file))"


def test_engine_that_does_not_answer_is_a_reason_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    assert str(why_no_container("redis:7.0")).startswith("no container engine answers (")


@pytest.mark.parametrize(
    ("url", "worker", "expected"),
    [
        ("redis://h:1", "alone", "redis://h:1/0"),
        ("redis://h:1", "gw0", "redis://h:1/0"),
        ("redis://h:1", "gw3", "redis://h:1/3"),
        ("redis://:p@h:1/5", "gw1", "redis://:p@h:1/6"),
        ("redis://h:1/5?ssl=1", "alone", "redis://h:1/5?ssl=1"),
    ],
)
def test_each_worker_has_its_own_database_of_a_given_redis(url: str, worker: str, expected: str) -> None:
    assert redis_database_of_worker(url, worker) == expected


def test_root_cause_is_the_first_error_in_one_line() -> None:
    wrapped = RuntimeError("wrapped")
    wrapped.__cause__ = FileNotFoundError("no\nsocket")
    assert root_cause(wrapped) == "no socket"
