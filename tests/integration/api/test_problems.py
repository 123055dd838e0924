"""Whatever is wrong with a request is told in a problem document."""

import pytest

from services.api.keyset import Place, encode_cursor
from services.api.latest import Latest
from tests.integration.api.conftest import Api
from tests.integration.api.rows import at

TICKS = "/api/stocks/AAPL/ticks"


BAD = [
    ("/api/stocks/aapl", "ticker"),
    ("/api/stocks/aapl/ticks", "ticker"),
    (f"/api/stocks/{'A' * 33}", "ticker"),
    ("/api/stocks/AAPL%0A", "ticker"),
    ("/api/stocks/%00/bars", "ticker"),
    (f"{TICKS}?limit=0", "limit"),
    (f"{TICKS}?limit=1001", "limit"),
    (f"{TICKS}?limit=ten", "limit"),
    (f"{TICKS}?start=yesterday", "start"),
    (f"{TICKS}?end=2026-13-01", "end"),
    (f"{TICKS}?start=", "start"),
    (f"{TICKS}?start=999999999999999", "start"),
    (f"{TICKS}?cursor=x", "cursor"),
    (f"{TICKS}?cursor=", "cursor"),
    (f"{TICKS}?cursor={'A' * 300}", "cursor"),
    (f"{TICKS}?cursor={encode_cursor(Place(at(0), 'a', 1, 1))}AA", "cursor"),
    (f"{TICKS}?format=xml", "format"),
    ("/api/stocks/AAPL/bars?interval=2m", "interval"),
    ("/api/alerts?direction=up", "direction"),
    ("/api/alerts?ticker=x", "ticker"),
    ("/api/days", "tickers"),
    ("/api/days?tickers=", "tickers"),
    ("/api/days?tickers=aapl", "tickers"),
    ("/api/days?tickers=AAPL,", "tickers"),
    ("/api/days?tickers=AAPL%0A", "tickers"),
    (f"/api/days?tickers={','.join(['A'] * 101)}", "tickers"),
    ("/api/days?tickers=AAPL&points=-1", "points"),
    ("/api/days?tickers=AAPL&points=101", "points"),
    ("/api/days?tickers=AAPL&points=x", "points"),
]


async def test_a_bad_parameter_is_named(api: Api) -> None:
    for path, parameter in BAD:
        response = await api.get(path)
        assert (path, response.status_code, response.headers["content-type"]) == (path, 422, "application/problem+json")
        body = response.json()
        assert (path, {error["parameter"] for error in body["errors"]}) == (path, {parameter})
        assert all(error["message"] for error in body["errors"])
        assert parameter in body["detail"]


async def test_all_bad_parameters_are_named_at_once(api: Api) -> None:
    body = (await api.get(f"{TICKS}?limit=0&start=x&end=y")).json()
    assert [error["parameter"] for error in body["errors"]] == ["start", "end", "limit"]


async def test_an_unknown_path_is_a_404_problem(api: Api) -> None:
    for path in ("/nowhere", "/api", "/api/stocks/", "/static/nothing.js", "/static/", "/docs/", "/openapi.json/"):
        response = await api.get(path)
        assert (response.status_code, response.json()["instance"]) == (404, path)
        assert response.headers["content-type"] == "application/problem+json"


async def test_other_methods_are_a_405_problem_that_says_which_there_are(api: Api) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        response = await api.client.request(method, "/api/stocks")
        assert (method, response.status_code, response.headers["allow"]) == (method, 405, "GET, HEAD")
        assert response.headers["content-type"] == "application/problem+json"


async def test_a_fault_tells_the_client_nothing_but_where_to_look(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: Latest) -> None:
        raise ZeroDivisionError("hunter22")

    monkeypatch.setattr(Latest, "all", broken)
    response = await api.get("/api/stocks", headers={"X-Request-Id": "mine"})
    assert (response.status_code, response.json()["request_id"]) == (500, "mine")
    assert response.headers["x-request-id"] == "mine"
    assert "hunter22" not in response.text
    assert "Zero" not in response.text
    assert (await api.get("/healthz")).status_code == 200


async def test_a_cursor_of_any_possible_content_is_answered(api: Api) -> None:
    for place in (Place(at(0), "", 0, 0), Place(at(0), "x" * 50, 2**15 - 1, 2**63 - 1)):
        assert (await api.get(TICKS, params={"cursor": encode_cursor(place)})).json() == {"items": [], "next": None}
