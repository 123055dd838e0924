"""The fake keeps to Finnhub's rules, and the official client gets along with it."""

import asyncio
from contextlib import suppress
from datetime import date, datetime
from typing import Any

import finnhub
import httpx
import pytest

from shared.settings import DEFAULT_TICKERS
from tests.fakes.finnhub import FakeFinnhub, Holiday, Quote, status
from tests.integration.fakes.calling import Clock, connect, new_york, official, request_for

LIMITED = "API limit reached. Please try again later. Remaining Limit: 0"


async def refusal(fake: FakeFinnhub, symbol: str, key: str = "test-key") -> tuple[int, str]:
    """Status and message with which the official client is refused."""
    with pytest.raises(finnhub.FinnhubAPIException) as refused:
        await official(fake, lambda client: client.quote(symbol), key)
    return refused.value.status_code, refused.value.message


# The official client


async def test_official_client_gets_a_quote_with_the_fields_of_the_real_one(fake: FakeFinnhub, clock: Clock) -> None:
    quote = await official(fake, lambda client: client.quote("AAPL"))
    assert list(quote) == ["c", "d", "dp", "h", "l", "o", "pc", "t"]
    assert quote["t"] == clock.now
    assert 0 < quote["l"] <= quote["c"] <= quote["h"]
    assert quote["d"] == pytest.approx(quote["c"] - quote["pc"])
    assert quote["dp"] == pytest.approx(quote["d"] / quote["pc"] * 100, abs=0.0001)


async def test_calls_are_recorded_as_they_arrived(fake: FakeFinnhub, clock: Clock, http: httpx.AsyncClient) -> None:
    await official(fake, lambda client: client.quote("BRK.B"))
    clock.now += 1
    await http.get("/stock/market-status?exchange=US")
    first, second = fake.calls
    assert (first.at, first.symbol, first.key, first.key_in, first.status) == (clock.now - 1, "BRK.B", "test-key", "query", 200)
    assert (second.at, second.symbol, second.key, second.key_in, second.status) == (clock.now, "", "test-key", "header", 200)
    # The official client joins base URL and path with two slashes.
    assert (first.path, second.path) == ("/api/v1//quote", "/api/v1/stock/market-status")


async def test_every_default_ticker_is_known_and_brk_b_keeps_its_dot(fake: FakeFinnhub) -> None:
    def prices(client: Any) -> dict[str, float]:
        return {ticker: client.quote(ticker)["c"] for ticker in DEFAULT_TICKERS.split(",")}

    assert [ticker for ticker, price in (await official(fake, prices)).items() if price <= 0] == []
    assert (await official(fake, lambda client: client.quote("BRK-B")))["c"] == 0


async def test_unknown_symbol_is_answered_with_zeros_and_nulls(fake: FakeFinnhub) -> None:
    quote = await official(fake, lambda client: client.quote("NOSUCH"))
    assert quote == {"c": 0, "d": None, "dp": None, "h": 0, "l": 0, "o": 0, "pc": 0, "t": 0}


async def test_symbols_are_those_that_are_given() -> None:
    async with FakeFinnhub(symbols=["X"]) as fake:
        quotes = await official(fake, lambda client: [client.quote(symbol)["c"] for symbol in ("X", "AAPL")])
    assert quotes[0] > 0
    assert quotes[1] == 0


async def test_wrong_key_is_401_and_takes_nothing_of_the_quota(fake: FakeFinnhub, http: httpx.AsyncClient) -> None:
    assert await refusal(fake, "AAPL", "wrong") == (401, "Invalid API key.")
    assert (await http.get("/quote?symbol=AAPL")).headers["X-Ratelimit-Remaining"] == "59"


async def test_empty_key_is_told_to_be_over_its_quota(fake: FakeFinnhub) -> None:
    assert (await refusal(fake, "AAPL", ""))[0] == 429
    assert (fake.calls[0].key, fake.calls[0].key_in) == ("", "query")


async def test_symbol_that_is_not_in_the_plan_is_403() -> None:
    async with FakeFinnhub(forbidden=["SAP.DE"]) as fake:
        assert await refusal(fake, "SAP.DE") == (403, "You don't have access to this resource.")
        assert (await official(fake, lambda client: client.quote("AAPL")))["c"] > 0


# Keys, paths, parameters


async def test_no_key_is_401(fake: FakeFinnhub, http: httpx.AsyncClient) -> None:
    del http.headers["X-Finnhub-Token"]
    response = await http.get("/quote?symbol=AAPL")
    assert (response.status_code, response.json()) == (401, {"error": "Please use an API key."})
    assert (fake.calls[0].key, fake.calls[0].key_in, fake.calls[0].status) == ("", "", 401)


@pytest.mark.parametrize("query", ["", "?symbol="])
async def test_missing_symbol_is_422(http: httpx.AsyncClient, query: str) -> None:
    response = await http.get(f"/quote{query}")
    assert (response.status_code, response.json()) == (422, {"error": "Missing parameter symbol"})


@pytest.mark.parametrize("path", ["/stock/candle?symbol=AAPL", "/quotes?symbol=AAPL", "/quote/?symbol=AAPL"])
async def test_other_path_is_404(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 404


async def test_odd_target_is_404(fake: FakeFinnhub) -> None:
    reader, writer = await connect(fake)
    for target in (b"//[?symbol=AAPL", b"*", b"/api/v1/quote%3Fsymbol=AAPL"):
        writer.write(b"GET %b HTTP/1.1\r\nHost: fake\r\n\r\n" % target)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 404 Not Found\r\n")
        await reader.readexactly(int(head.split(b"Content-Length: ")[1]))
    writer.close()


async def test_what_is_not_a_get_is_404_and_the_connection_stays_in_step(http: httpx.AsyncClient) -> None:
    assert (await http.post("/quote?symbol=AAPL", content=b"x" * 100_000)).status_code == 404
    assert (await http.head("/quote?symbol=AAPL")).status_code == 404
    assert (await http.get("/quote?symbol=AAPL")).status_code == 200


async def test_errors_can_come_as_text() -> None:
    async with FakeFinnhub(errors_as_text=True) as fake:
        assert await refusal(fake, "AAPL", "wrong") == (401, "Invalid API key.")
        async with httpx.AsyncClient(trust_env=False, verify=False) as http:
            response = await http.get(f"{fake.base_url}/quote?symbol=AAPL")
            assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


# Quota


async def test_61st_call_in_a_minute_is_refused_and_all_is_well_60_seconds_later(
    fake: FakeFinnhub, clock: Clock, http: httpx.AsyncClient
) -> None:
    def sixty(client: Any) -> None:
        for _ in range(60):
            client.quote("AAPL")
            clock.now += 0.5

    start = clock.now
    await official(fake, sixty)
    assert await refusal(fake, "AAPL") == (429, LIMITED)
    clock.now = start + 59.9
    assert await refusal(fake, "AAPL") == (429, LIMITED)
    clock.now = start + 60
    assert (await http.get("/quote?symbol=AAPL")).headers["X-Ratelimit-Remaining"] == "0"
    assert await refusal(fake, "AAPL") == (429, LIMITED)
    clock.now = start + 120
    assert (await official(fake, lambda client: client.quote("AAPL")))["c"] > 0


async def test_31st_call_in_a_second_is_refused(fake: FakeFinnhub, clock: Clock) -> None:
    await official(fake, lambda client: [client.quote("AAPL") for _ in range(30)])
    assert await refusal(fake, "AAPL") == (429, LIMITED)
    clock.now += 1
    await official(fake, lambda client: client.quote("AAPL"))
    assert [call.status for call in fake.calls] == [200] * 30 + [429, 200]


async def test_every_answer_tells_what_is_left_and_none_says_retry_after(http: httpx.AsyncClient, clock: Clock) -> None:
    for remaining in ("59", "58"):
        headers = (await http.get("/quote?symbol=AAPL")).headers
        assert (headers["X-Ratelimit-Limit"], headers["X-Ratelimit-Remaining"]) == ("60", remaining)
        assert headers["X-Ratelimit-Reset"] == str(int(clock.now) + 60)
    for path in ("/quote", "/nothing", "/stock/market-holiday?exchange=US"):
        headers = (await http.get(path)).headers
        assert {"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset"} <= {name.title() for name in headers}
        assert "Retry-After" not in headers


@pytest.mark.parametrize(("per_minute", "per_second"), [(3, 30), (60, 3)])
async def test_who_waits_until_the_reset_is_answered(clock: Clock, per_minute: int, per_second: int) -> None:
    clock.now += 0.25
    async with (
        FakeFinnhub(clock=clock, per_minute=per_minute, per_second=per_second) as fake,
        httpx.AsyncClient(base_url=fake.base_url, params={"token": "test-key", "symbol": "AAPL"}, trust_env=False, verify=False) as http,
    ):
        assert [(await http.get("/quote")).status_code for _ in range(4)] == [200, 200, 200, 429]
        headers = (await http.get("/quote")).headers
        assert headers["X-Ratelimit-Remaining"] == "0"
        clock.now = float(headers["X-Ratelimit-Reset"])
        assert (await http.get("/quote")).status_code == 200


# Prices


async def test_prices_walk_with_the_calls_and_the_same_seed_walks_the_same_way(clock: Clock) -> None:
    async def walk(seed: int) -> list[float]:
        async with FakeFinnhub(clock=clock, seed=seed) as fake:
            return await official(fake, lambda client: [client.quote("AAPL")["c"] for _ in range(20)])

    first = await walk(1)
    assert len(set(first)) > 10
    assert max(first) < 1.1 * min(first)
    assert await walk(1) == first
    assert await walk(2) != first


async def test_time_of_a_quote_moves_with_its_trades_only(fake: FakeFinnhub, clock: Clock) -> None:
    def times(client: Any) -> list[tuple[int, int]]:
        answers = []
        for _ in range(30):
            clock.now += 2
            answers.append((int(clock.now), client.quote("AAPL")["t"]))
        return answers

    behind = [now - t for now, t in await official(fake, times)]
    assert min(behind) == 0
    assert max(behind) > 0


async def test_quote_that_is_set_is_answered_to_the_character_and_stays(fake: FakeFinnhub, http: httpx.AsyncClient) -> None:
    fake.quotes["AAPL"] = Quote(c="255.780", t=1795366800, pc="1e2")
    fake.quotes["NEW"] = Quote(c="1", t=2, d="0.5")
    for _ in range(3):
        assert (await http.get("/quote?symbol=AAPL")).text == (
            '{"c":255.780,"d":null,"dp":null,"h":255.780,"l":255.780,"o":255.780,"pc":1e2,"t":1795366800}'
        )
    assert (await http.get("/quote?symbol=NEW")).json() == {"c": 1, "d": 0.5, "dp": None, "h": 1, "l": 1, "o": 1, "pc": 1, "t": 2}


# Market hours


SESSIONS = [
    ("2026-11-25 03:59", None, None),
    ("2026-11-25 04:00", "pre-market", None),
    ("2026-11-25 09:29", "pre-market", None),
    ("2026-11-25 09:30", "regular", None),
    ("2026-11-25 15:59", "regular", None),
    ("2026-11-25 16:00", "post-market", None),
    ("2026-11-25 19:59", "post-market", None),
    ("2026-11-25 20:00", None, None),
    ("2026-11-26 11:00", None, "Thanksgiving Day"),
    ("2026-11-27 09:00", "pre-market", "Thanksgiving Day"),
    ("2026-11-27 12:59", "regular", "Thanksgiving Day"),
    ("2026-11-27 13:00", "post-market", "Thanksgiving Day"),
    ("2026-11-28 11:00", None, None),
    ("2026-11-29 11:00", None, None),
    ("2026-11-30 11:00", "regular", None),
    ("2027-12-24 11:00", None, "Christmas"),
]


@pytest.mark.parametrize(("local", "session", "holiday"), SESSIONS)
async def test_market_status_at_a_time_of_new_york(
    fake: FakeFinnhub, clock: Clock, local: str, session: str | None, holiday: str | None
) -> None:
    clock.now = new_york(local)
    assert await official(fake, lambda client: client.market_status(exchange="US")) == {
        "exchange": "US",
        "holiday": holiday,
        "isOpen": session == "regular",
        "session": session,
        "t": int(clock.now),
        "timezone": "America/New_York",
    }


# Mondays of the weeks in which one side of the Atlantic has changed its clocks and the other has not, and of a week before.
@pytest.mark.parametrize(
    ("opening_utc", "before_utc"),
    [
        ("2026-03-02T14:30+00:00", "2026-03-02T14:29+00:00"),
        ("2026-03-09T13:30+00:00", "2026-03-09T13:29+00:00"),
        ("2026-10-26T13:30+00:00", "2026-10-26T13:29+00:00"),
        ("2026-11-02T14:30+00:00", "2026-11-02T14:29+00:00"),
    ],
)
async def test_opening_follows_the_clocks_of_new_york(fake: FakeFinnhub, clock: Clock, opening_utc: str, before_utc: str) -> None:
    for moment, is_open in ((opening_utc, True), (before_utc, False)):
        clock.now = datetime.fromisoformat(moment).timestamp()
        assert (await official(fake, lambda client: client.market_status(exchange="US")))["isOpen"] is is_open


async def test_holidays_have_their_hours_on_half_days_only(fake: FakeFinnhub) -> None:
    answer = await official(fake, lambda client: client.market_holiday(exchange="US"))
    assert (answer["exchange"], answer["timezone"]) == ("US", "America/New_York")
    days = {day["atDate"]: day for day in answer["data"]}
    assert days["2026-11-26"] == {"eventName": "Thanksgiving Day", "atDate": "2026-11-26", "tradingHour": ""}
    assert days["2026-11-27"] == {"eventName": "Thanksgiving Day", "atDate": "2026-11-27", "tradingHour": "09:30-13:00"}
    assert sorted(day for day in days if days[day]["tradingHour"]) == ["2026-11-27", "2026-12-24", "2027-11-26"]
    assert [sum(day.startswith(year) for day in days) for year in ("2026", "2027")] == [12, 11]


async def test_holidays_can_be_given(clock: Clock) -> None:
    async with FakeFinnhub(clock=clock, holidays=[Holiday("Day of Mourning", date(2026, 11, 18))]) as fake:
        assert (await official(fake, lambda client: client.market_status(exchange="US")))["holiday"] == "Day of Mourning"
        assert len((await official(fake, lambda client: client.market_holiday(exchange="US")))["data"]) == 1


@pytest.mark.parametrize("path", ["/stock/market-status", "/stock/market-holiday"])
async def test_exchange_must_be_named_and_be_in_the_plan(http: httpx.AsyncClient, path: str) -> None:
    missing, other = await http.get(path), await http.get(f"{path}?exchange=L")
    assert (missing.status_code, missing.json()) == (422, {"error": "Missing parameter exchange"})
    assert (other.status_code, other.json()) == (403, {"error": "You don't have access to this resource."})


# Connections


async def test_one_connection_carries_many_requests(fake: FakeFinnhub) -> None:
    reader, writer = await connect(fake)
    # Two at once: the second is there before the first is answered.
    for requests in (request_for("AAPL") * 2, request_for("KO")):
        writer.write(requests)
        await fake.wait_for_calls(len(fake.calls) + requests.count(b"GET"))
    writer.write(request_for("V").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert (await reader.read()).count(b"HTTP/1.1 200 OK\r\n") == 4
    assert [call.symbol for call in fake.calls] == ["AAPL", "AAPL", "KO", "V"]
    writer.close()


@pytest.mark.parametrize(
    "sent", [b"", b"GET /api/v1/quote?sym", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"\x00" * 1_000_000]
)
async def test_what_is_no_request_ends_the_connection_and_is_no_call(fake: FakeFinnhub, sent: bytes) -> None:
    reader, writer = await connect(fake)
    with suppress(ConnectionError):
        writer.write(sent)
        writer.write_eof()
        assert await reader.read() == b""
    writer.close()
    assert fake.calls == []


async def test_client_that_resets_its_connection_disturbs_nobody(fake: FakeFinnhub, http: httpx.AsyncClient) -> None:
    for _ in range(3):
        _, writer = await connect(fake)
        writer.write(request_for("AAPL") * 20)
        writer.transport.abort()
    assert (await http.get("/quote?symbol=AAPL")).status_code in (200, 429)


async def test_fake_goes_away_and_comes_back_at_the_same_port(clock: Clock) -> None:
    fake = FakeFinnhub(clock=clock)
    async with httpx.AsyncClient(base_url=fake.base_url, headers={"X-Finnhub-Token": "test-key"}, trust_env=False, verify=False) as http:
        for calls in (1, 2):
            with pytest.raises(httpx.ConnectError):
                await http.get("/quote?symbol=AAPL")
            async with fake:
                assert (await http.get("/quote?symbol=AAPL")).status_code == 200
            assert len(fake.calls) == calls


async def test_waiting_for_calls_ends_when_they_came(fake: FakeFinnhub, http: httpx.AsyncClient) -> None:
    fake.answer("AAPL", status(500))
    waiters = [asyncio.create_task(fake.wait_for_calls(n)) for n in (1, 2, 2)]
    await http.get("/quote?symbol=AAPL")
    await waiters[0]
    assert not waiters[1].done()
    await http.get("/quote?symbol=KO")
    await asyncio.gather(*waiters)
    await fake.wait_for_calls(2)
