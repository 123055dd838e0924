"""One call, whatever the provider does on the wire: it ends within its time, with a price or with the reason for none."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from pydantic import SecretStr

from services.fetcher.finnhub_rest import MOST_BODY_BYTES, FinnhubRest, open_finnhub
from services.fetcher.providers.finnhub import Outcome
from services.fetcher.providers.finnhub import Quote as Price
from tests.fakes import finnhub
from tests.fakes.finnhub import FakeFinnhub, Fault, Quote

Open = Callable[..., AbstractAsyncContextManager[FinnhubRest]]
KEY = "c0ffee-key-of-this-test"
NOW = 1_771_105_200.0


@pytest.fixture
async def fake() -> AsyncIterator[FakeFinnhub]:
    async with asyncio.timeout(60), FakeFinnhub(key=KEY, clock=lambda: NOW, per_minute=1000, per_second=1000) as fake:
        yield fake


@asynccontextmanager
async def rest(fake: FakeFinnhub, *, key: str = KEY, call_seconds: float = 30) -> AsyncIterator[FinnhubRest]:
    async with open_finnhub(fake.base_url, SecretStr(key), call_seconds=call_seconds, now=lambda: NOW) as client:
        yield client


async def test_price_comes_with_the_key_in_a_header_and_the_symbol_as_it_is(fake: FakeFinnhub) -> None:
    fake.quotes["BRK.B"] = Quote(c="497.5500", t=1_771_105_100)
    async with rest(fake) as client:
        assert await client.quote("BRK.B") == Price("497.55", "1771105100000")
    (call,) = fake.calls
    assert (call.path, call.symbol, call.key_in) == ("/api/v1/quote", "BRK.B", "header")


async def test_symbol_is_escaped_in_the_url(fake: FakeFinnhub) -> None:
    async with rest(fake) as client:
        await client.quote("BINANCE:BTCUSDT")
        await client.quote("A-B.C")
    assert [call.symbol for call in fake.calls] == ["BINANCE:BTCUSDT", "A-B.C"]


@pytest.mark.parametrize(
    ("fault", "outcome", "reason"),
    [
        (finnhub.body(b"<html>hello</html>", content_type="text/html"), Outcome.MALFORMED, "content type 'text/html'"),
        (finnhub.body(b'{"c":255.78,"t":17711'), Outcome.MALFORMED, "not JSON"),
        (finnhub.body(b'{"c":NaN,"t":1771105100}'), Outcome.MALFORMED, "not JSON"),
        (finnhub.body(b'{"c":1e309,"t":1771105100}'), Outcome.MALFORMED, "1e309"),
        (finnhub.body(b'{"c":"12","t":1771105100}'), Outcome.MALFORMED, "c is no number"),
        (finnhub.body(b'{"c":-3,"t":1771105100}'), Outcome.MALFORMED, "-3"),
        (finnhub.body(b'{"c":null,"t":1771105100}'), Outcome.MALFORMED, "c is no number"),
        (finnhub.body(b"\xff\xfe\x00"), Outcome.MALFORMED, "not JSON"),
        (finnhub.body(b'{"c":255.78,"t":1771105100}', content_type="text/plain"), Outcome.MALFORMED, "content type 'text/plain'"),
        (finnhub.gzip_bomb(), Outcome.MALFORMED, "compressed"),
        (finnhub.body(b'{"error":"Invalid API key."}', status=401), Outcome.UNAUTHORIZED, "401"),
        (finnhub.body(b"", status=403), Outcome.FORBIDDEN, "403"),
        (finnhub.body(b"", status=302, headers={"Location": "http://127.0.0.1:9/elsewhere"}), Outcome.UNEXPECTED, "302"),
        (finnhub.limited(with_headers=False), Outcome.LIMITED, "429"),
        (finnhub.status(502), Outcome.SERVER_ERROR, "502"),
        (finnhub.reset(), Outcome.UNREACHABLE, "ReadError"),
        (finnhub.cut(20), Outcome.UNREACHABLE, "RemoteProtocolError"),
    ],
    ids=lambda value: str(value) if isinstance(value, Outcome) else None,
)
async def test_answer_that_is_no_quote_gives_its_reason(fake: FakeFinnhub, fault: Fault, outcome: Outcome, reason: str) -> None:
    fake.answer("AAPL", fault)
    async with rest(fake) as client:
        answer = await client.quote("AAPL")
        assert not isinstance(answer, Price)
        assert (answer.outcome, reason in answer.reason) == (outcome, True), answer
        assert isinstance(await client.quote("AAPL"), Price), "the next call is none the worse"


@pytest.mark.parametrize("chunked", [False, True])
async def test_endless_answer_is_not_read_to_its_end(fake: FakeFinnhub, chunked: bool) -> None:
    endless = finnhub.huge(megabytes=50, chunked=chunked)
    fake.answer("AAPL", endless)
    async with rest(fake) as client:
        answer = await client.quote("AAPL")
        assert not isinstance(answer, Price)
        assert (answer.outcome, answer.reason) == (Outcome.MALFORMED, f"longer than {MOST_BODY_BYTES} bytes")
        assert 0 < len(answer.payload) <= 4096
    assert endless.bytes_sent < 50 << 20


@pytest.mark.parametrize("fault", [finnhub.silence(), finnhub.trickle(seconds_per_byte=0.02)], ids=["silent", "slow"])
async def test_call_that_takes_too_long_is_given_up(fake: FakeFinnhub, fault: Fault) -> None:
    fake.answer("AAPL", fault)
    async with rest(fake, call_seconds=0.3) as client:
        answer = await client.quote("AAPL")
        assert answer == (Outcome.TIMEOUT, "no whole answer within 0.3 s", "", None)


async def test_provider_that_is_not_there_is_unreachable() -> None:
    fake = FakeFinnhub(key=KEY)  # never entered: nobody listens at its port
    async with rest(fake) as client:
        answer = await client.quote("AAPL")
        assert not isinstance(answer, Price)
        assert answer.outcome is Outcome.UNREACHABLE
        assert "ConnectError" in answer.reason


async def test_time_to_wait_is_taken_from_the_header(fake: FakeFinnhub) -> None:
    fake.answer("AAPL", finnhub.body(b"", status=429, headers={"X-Ratelimit-Reset": "1771105230"}))
    async with rest(fake) as client:
        answer = await client.quote("AAPL")
        assert not isinstance(answer, Price)
        assert answer.retry_after_seconds == 30.0


async def test_slow_calls_do_not_hold_up_the_others(fake: FakeFinnhub) -> None:
    fake.answer("AAPL", finnhub.silence(), always=True)
    async with rest(fake) as client:
        hanging = [asyncio.create_task(client.quote("AAPL")) for _ in range(20)]
        await fake.wait_for_calls(20)
        assert isinstance(await client.quote("KO"), Price)
        for task in hanging:
            task.cancel()
        await asyncio.wait(hanging)


async def test_key_is_in_no_log_line_whatever_happens(fake: FakeFinnhub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    fake.answer("AAPL", finnhub.reset(), finnhub.status(500), finnhub.limited())
    async with rest(fake) as client:
        for _ in range(4):
            assert KEY not in repr(await client.quote("AAPL"))
        assert KEY not in repr(client)
    assert KEY not in caplog.text
