"""Latest values and the market from Redis, and what browsers and caches are told of them."""

import gzip
import json
from typing import Any

import pytest

from shared import metrics, streams
from shared.events import Market
from shared.partitions import partition_of
from shared.redis.market import announce
from tests.integration.api.conftest import PARTITIONS, Api, Start
from tests.integration.api.rows import tick
from tests.observed import Gain

SAID = Market("XNYS", "open", "regular session", "", "1771102800000")


async def show(api: Api, ticker: str, price: str = "255.78", sma: str = "254.320001", seq: int = 812) -> None:
    """Let this be the latest value of a ticker, as `commit` writes it."""
    text = f'{{"ticker":"{ticker}","price":{price},"sma":{sma},"alert":null,"ts":1771105101950,"source":"simulated","seq":{seq}}}'
    await api.redis.hset(streams.latest(partition_of(ticker, PARTITIONS)), ticker, text)


async def test_latest_of_all_is_every_ticker_in_order_with_exact_numbers(api: Api) -> None:
    for ticker, price in (("MSFT", "401.32"), ("AAPL", "123456789012.00000001"), ("BRK.B", "5")):
        await show(api, ticker, price, "null")
    assert [text.partition(":")[2].partition(",")[0] for text in (await api.get("/api/stocks")).text.split("{")[1:]] == [
        '"AAPL"',
        '"BRK.B"',
        '"MSFT"',
    ]
    assert (
        '"price":123456789012.00000001,"sma":null,"alert":null,"ts":"2026-02-14T21:38:21.950+00:00"' in (await api.get("/api/stocks")).text
    )


async def test_latest_of_none_is_an_empty_list(api: Api) -> None:
    assert await api.json("/api/stocks") == []


async def test_latest_of_one(api: Api) -> None:
    await show(api, "AAPL")
    assert (await api.get("/api/stocks/AAPL")).text == (
        '{"ticker":"AAPL","price":255.78,"sma":254.320001,"alert":null,"ts":"2026-02-14T21:38:21.950+00:00","seq":812}'
    )


async def test_a_ticker_without_a_price_is_a_404_problem(api: Api) -> None:
    response = await api.get("/api/stocks/IBM")
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["request_id"] == response.headers["x-request-id"]
    assert (response.status_code, body["status"], body["title"], body["instance"]) == (404, 404, "Not Found", "/api/stocks/IBM")


async def test_a_strangers_value_is_passed_over(api: Api) -> None:
    await show(api, "AAPL")
    await api.redis.hset(streams.latest(0), "MSFT", "no json")
    assert [stock["ticker"] for stock in await api.json("/api/stocks")] == ["AAPL"]


async def test_the_market_is_what_was_said_last(api: Api) -> None:
    assert (await api.get("/api/market")).status_code == 404
    await announce(api.redis, Market("XNYS", "closed", "weekend"))
    await announce(api.redis, SAID)
    said = await api.json("/api/market")
    assert (said["exchange"], said["status"], said["next_open"]) == ("XNYS", "open", None)
    assert said["next_close"] == "2026-02-14T21:00:00.000+00:00"
    assert said["ts"].endswith("+00:00")


async def test_who_has_the_latest_values_already_is_told_so(api: Api) -> None:
    await show(api, "AAPL")
    await announce(api.redis, SAID)
    for path in ("/api/stocks", "/api/stocks/AAPL", "/api/market"):
        tag = (await api.get(path)).headers["etag"]
        for held in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*"):
            again = await api.get(path, headers={"If-None-Match": held})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert tag.startswith('W/"')
    before = (await api.get("/api/stocks")).headers["etag"]
    await show(api, "AAPL", "256")
    assert (await api.get("/api/stocks", headers={"If-None-Match": before})).status_code == 200


async def test_larger_answers_are_compressed_for_who_takes_it(api: Api) -> None:
    await api.store("ticks", [tick(seq) for seq in range(1, 101)])
    async with api.client.stream("GET", "/api/stocks/AAPL/ticks", headers={"Accept-Encoding": "gzip"}) as response:
        raw = b"".join([chunk async for chunk in response.aiter_raw()])
    assert response.headers["content-encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(raw))["items"]) == 100
    plain = await api.get("/api/stocks/AAPL/ticks", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers


@pytest.mark.parametrize(("allowed", "shown"), [((), None), (("https://one.example", "https://two.example"), "https://one.example")])
async def test_pages_of_other_origins_may_read_only_if_set(start_api: Start, allowed: tuple[str, ...], shown: str | None) -> None:
    api = await start_api(api_cors_origins=allowed)
    response = await api.get("/api/stocks", headers={"Origin": "https://one.example"})
    assert response.headers.get("access-control-allow-origin") == shown
    stranger = await api.get("/api/stocks", headers={"Origin": "https://three.example"})
    assert "access-control-allow-origin" not in stranger.headers


async def test_a_sane_request_id_is_kept_and_another_is_replaced(api: Api) -> None:
    assert (await api.get("/api/stocks", headers={"X-Request-Id": "abc-1.2_3"})).headers["x-request-id"] == "abc-1.2_3"
    for bad in ("a b", "x" * 65, 'a"b', ""):
        given = (await api.get("/api/stocks", headers={"X-Request-Id": bad})).headers["x-request-id"]
        assert len(given) == 16


async def test_every_answer_forbids_guessing_its_type(api: Api) -> None:
    for path in ("/api/stocks", "/nowhere", "/docs", "/static/docs/rest.js", "/api/stocks/AAPL/ticks?limit=0"):
        headers = (await api.get(path)).headers
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
        assert "server" not in headers
        assert "cache-control" in headers


async def test_requests_are_counted_by_route_and_status(api: Api) -> None:
    routes: Any = {
        "/api/stocks/IBM": ("/api/stocks/{ticker}", "404"),
        "/api/stocks/IBM/ticks?limit=0": ("/api/stocks/{ticker}/ticks", "422"),
        "/any/where": ("other", "404"),
        "/static/docs/rest.js": ("/static/{path:path}", "200"),
    }
    for path, (route, status) in routes.items():
        gain = Gain(metrics.API, "tickstream_api_requests_total", route=route, status=status)
        seconds = Gain(metrics.API, "tickstream_api_request_seconds_count", route=route)
        await api.get(path)
        await gain.reaches(1)
        await seconds.reaches(1)


async def test_head_is_a_get_without_a_body(api: Api) -> None:
    await show(api, "AAPL")
    for path in ("/api/stocks", "/", "/healthz"):
        asked, got = await api.client.head(path), await api.get(path)
        assert (asked.status_code, asked.content) == (200, b"")
        assert asked.headers["content-length"] == got.headers["content-length"]
