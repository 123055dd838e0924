"""Who is let in: the order of the checks, the caps, and counts that never leak."""

from collections import Counter
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.admission import LEAST_SPARE, REPORT_SECONDS, Asked, Caps, Place, Places, Reason, Refusal, Refusals, refuse
from services.gateway.origins import Origins

HERE = Origins(())
HOST = ("example.org",)


def asked(path: str = "/ws/stocks/", query: str = "", hosts: tuple[str, ...] = HOST, origins: tuple[str, ...] = ()) -> Refusal | None:
    return refuse(Asked(path, query, hosts, origins), HERE)


def reason_of(refusal: Refusal | None) -> Reason | None:
    return refusal.reason if refusal else None


def full(connections: int = 0, per_address: int = 0) -> Places:
    """Places, the middle of the hint being 3 s."""
    return Places(Caps(connections, per_address), lambda: 0.5)


def enter(places: Places, client: str = "198.51.100.1") -> Refusal | None:
    place = places.arrive(client)
    assert place is not None
    return places.admit(place, client)


@pytest.mark.parametrize("path", ["/", "/ws", "/ws/stocks//", "/ws/stocksx", "/WS/stocks/", ""])
def test_other_paths_are_not_found_whatever_else_is_wrong(path: str) -> None:
    refusal = asked(path, "token=x", origins=("https://evil.org",))
    assert refusal is not None
    assert (refusal.status, refusal.reason) == (HTTPStatus.NOT_FOUND, Reason.PATH)


@pytest.mark.parametrize("query", ["token=abc", "tickers=KO&access_token=abc", "TOKEN=abc", "%74oken=abc", "token", "token="])
def test_token_in_a_url_is_refused_with_the_way_to_give_it_and_never_repeated(query: str) -> None:
    refusal = asked(query=query)
    assert refusal is not None
    assert (refusal.status, refusal.reason, refusal.detail) == (HTTPStatus.BAD_REQUEST, Reason.TOKEN_IN_URL, "")
    assert "Authorization: Bearer" in refusal.text
    assert "abc" not in refusal.text


def test_page_of_a_stranger_is_forbidden_and_named_in_the_log() -> None:
    refusal = asked(origins=("https://evil.org",))
    assert refusal is not None
    assert (refusal.status, refusal.reason, refusal.detail) == (HTTPStatus.FORBIDDEN, Reason.ORIGIN, "https://evil.org")


def test_two_origins_or_two_hosts_are_a_trick() -> None:
    assert reason_of(asked(origins=("https://example.org", "https://evil.org"))) is Reason.ORIGIN
    assert reason_of(asked(origins=("https://example.org",), hosts=("example.org", "evil.org"))) is Reason.ORIGIN
    assert reason_of(asked(origins=("https://example.org",), hosts=())) is Reason.ORIGIN
    assert reason_of(asked(origins=("https://example.org",))) is None


def test_program_without_an_origin_may_connect() -> None:
    assert asked() is None
    assert asked("/ws/stocks", "tickers=KO&since=x") is None


def test_at_the_cap_there_is_no_place_until_somebody_leaves() -> None:
    places = full(connections=2)
    place = places.arrive("a")
    assert place is not None
    assert places.admit(place, "a") is None
    assert enter(places) is None
    refusal = enter(places)
    assert refusal is not None
    assert (refusal.status, refusal.reason, refusal.retry_after_seconds) == (HTTPStatus.SERVICE_UNAVAILABLE, Reason.FULL, 3)
    places.leave(place)
    assert enter(places) is None


def test_one_client_has_a_cap_of_its_own_which_is_told_first() -> None:
    places = full(connections=3, per_address=2)
    assert [reason_of(enter(places, client)) for client in ("a", "a", "a", "b", "a", "c")] == [
        None, None, Reason.ADDRESS, None, Reason.ADDRESS, Reason.FULL,
    ]  # fmt: skip


def test_zero_is_no_limit() -> None:
    places = full()
    assert [enter(places) for _ in range(20_000)] == [None] * 20_000


def test_silent_connections_take_places_and_are_dropped_above_the_cap_and_some() -> None:
    places = full(connections=2)
    assert [places.arrive(str(n)) is not None for n in range(2 + LEAST_SPARE + 1)] == [True] * (2 + LEAST_SPARE) + [False]
    large = full(connections=1000)
    assert sum(large.arrive(str(n)) is not None for n in range(2000)) == 1100


def test_silent_connections_of_one_address_leave_room_for_others() -> None:
    places = full(connections=1000, per_address=1)
    assert sum(places.arrive("a") is not None for _ in range(1000)) == 1 + LEAST_SPARE
    assert places.arrive("b") is not None


def test_a_proxy_speaks_for_many() -> None:
    places = full(connections=1000, per_address=1)
    assert sum(places.arrive("") is not None for _ in range(1000)) == 1000


def test_who_was_refused_takes_no_capped_place() -> None:
    places = full(connections=1)
    first, second = places.arrive("a"), places.arrive("b")
    assert first is not None
    assert second is not None
    assert places.admit(first, "a") is None
    assert places.admit(second, "b") is not None
    places.leave(second)
    assert (places.admitted.total, places.present.total, places.unfinished) == (1, 1, 0)


@given(st.lists(st.tuples(st.sampled_from(["arrive", "admit", "leave"]), st.integers(0, 9), st.sampled_from("abc")), max_size=200))
def test_counts_are_always_those_who_are_there_and_return_to_zero(steps: list[tuple[str, int, str]]) -> None:
    places, there = full(connections=3, per_address=2), dict[int, Place]()
    for step, number, client in steps:
        if step == "arrive" and number not in there and (place := places.arrive(client)):
            there[number] = place
        elif step == "admit" and number in there and there[number].client is None:
            places.admit(there[number], client)
        elif step == "leave" and number in there:
            place = there.pop(number)
            places.leave(place)
            places.leave(place)
        clients = Counter(place.client for place in there.values() if place.client)
        assert places.present.total == len(there)
        assert places.admitted.by == clients
        assert places.admitted.total == clients.total() <= 3
        assert max(clients.values(), default=0) <= 2
    for place in there.values():
        places.leave(place)
    assert (places.present.total, places.admitted.total, dict(places.present.by), dict(places.admitted.by)) == (0, 0, {}, {})


def test_flood_is_one_report_at_once_and_one_for_the_rest() -> None:
    refusals = Refusals()
    assert refusals.report(0.0) is None
    refusals.note("full", "a")
    assert refusals.report(0.0) == {"full": 1, "last_full": "a"}
    for n in range(1000):
        refusals.note("origin", f"https://{n}.org" + "x" * 1000)
        refusals.note("path")
        assert refusals.report(REPORT_SECONDS * n / 1001) is None
    report = refusals.report(REPORT_SECONDS)
    assert report is not None
    assert {key: value for key, value in report.items() if isinstance(value, int)} == {"origin": 1000, "path": 1000}
    assert str(report["last_origin"]).startswith("https://999.org")
    assert len(str(report["last_origin"])) == 100
    assert refusals.report(10 * REPORT_SECONDS) is None
