"""Each fault is on the wire what its name says, and none outlives the client or the fake."""

import asyncio
import time
from contextlib import suppress
from typing import cast

import finnhub
import httpx
import pytest

from tests.fakes.finnhub import FakeFinnhub, Fault, body, cut, gzip_bomb, huge, limited, reset, silence, status, trickle
from tests.integration.fakes.calling import Clock, connect, conversations_are_over, official, request_for

MEGABYTE = 1 << 20
AAPL = "/quote?symbol=AAPL"


def statuses(fake: FakeFinnhub) -> list[tuple[str, int]]:
    """Who was answered what."""
    return [(call.symbol, call.status) for call in fake.calls]


# Which calls get them


async def test_faults_come_one_by_one_and_then_what_is_usual(fake: FakeFinnhub, http: httpx.AsyncClient) -> None:
    fake.answer("AAPL", status(500), status(502))
    fake.answer("AAPL", status(503))
    told = [(await http.get(f"/quote?symbol={symbol}")).status_code for symbol in ("KO", "AAPL", "AAPL", "KO", "AAPL", "AAPL")]
    assert told == [200, 500, 502, 200, 503, 200]
    assert statuses(fake) == list(zip(["KO", "AAPL", "AAPL", "KO", "AAPL", "AAPL"], told, strict=True))


async def test_star_is_the_next_calls_of_any_symbol_after_faults_of_its_own(fake: FakeFinnhub, http: httpx.AsyncClient) -> None:
    fake.answer("*", status(500), status(501))
    fake.answer("AAPL", status(502))
    paths = ("/quote?symbol=AAPL", "/stock/market-status?exchange=US", "/quote?symbol=AAPL", "/quote?symbol=KO", "/quote?symbol=V")
    assert [(await http.get(path)).status_code for path in paths] == [502, 200, 500, 501, 200]


async def test_last_fault_lasts_until_the_fake_is_healed(fake: FakeFinnhub, http: httpx.AsyncClient) -> None:
    fake.answer("", status(500), status(501), always=True)
    told = [(await http.get("/stock/market-status?exchange=US")).status_code for _ in range(4)]
    assert told == [500, 501, 501, 501]
    fake.heal()
    assert (await http.get("/stock/market-status?exchange=US")).status_code == 200


async def test_faulted_calls_count_against_the_quota(fake: FakeFinnhub, http: httpx.AsyncClient) -> None:
    fake.answer("AAPL", status(500))
    assert (await http.get(AAPL)).headers["X-Ratelimit-Remaining"] == "59"
    assert (await http.get(AAPL)).headers["X-Ratelimit-Remaining"] == "58"


# Answers that are no quotes


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>Sorry</html>",
        b'{"c":255.78,"d":1.',
        b'{"c":NaN,"t":1}',
        b'{"c":1e309,"t":1}',
        b'{"c":-1}',
        b'"\xff\xfe"',
        b"[" * 100_000,
    ],
)
async def test_body_is_sent_to_the_byte_and_the_connection_stays(fake: FakeFinnhub, content: bytes) -> None:
    fake.answer("AAPL", body(content, content_type="text/html; charset=utf-8", headers={"X-RateLimit-Limit": "7", "X-More": "1"}))
    reader, writer = await connect(fake)
    writer.write(request_for("AAPL") + request_for("KO"))
    head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    assert head[0] == b"HTTP/1.1 200 OK"
    assert {b"Content-Type: text/html; charset=utf-8", b"X-Ratelimit-Limit: 7", b"X-Ratelimit-Remaining: 59", b"X-More: 1"} <= {*head}
    assert await reader.readexactly(len(content)) == content
    assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
    writer.close()


async def test_official_client_is_told_of_a_status_that_has_no_json(fake: FakeFinnhub) -> None:
    fake.answer("AAPL", status(502), status(520))
    for code in (502, 520):
        with pytest.raises(finnhub.FinnhubAPIException) as refused:
            await official(fake, lambda client: client.quote("AAPL"))
        assert refused.value.status_code == code
        assert "<html>" in refused.value.message


async def test_limit_says_until_when_or_does_not(fake: FakeFinnhub, clock: Clock, http: httpx.AsyncClient) -> None:
    fake.answer("AAPL", limited(reset_in_seconds=17), limited(reset_in_seconds=-5), limited(with_headers=False))
    told, past, untold = [await http.get(AAPL) for _ in range(3)]
    assert {answer.status_code for answer in (told, past, untold)} == {429}
    assert told.json() == {"error": "API limit reached. Please try again later. Remaining Limit: 0"}
    assert (told.headers["X-Ratelimit-Remaining"], told.headers["X-Ratelimit-Reset"]) == ("0", str(int(clock.now) + 17))
    assert past.headers["X-Ratelimit-Reset"] == str(int(clock.now) - 5)
    assert not [name for name in untold.headers if "ratelimit" in name or "retry" in name]


# Too much


@pytest.mark.parametrize(("chunked", "header"), [(False, "content-length"), (True, "transfer-encoding")])
async def test_huge_body_ends_when_the_client_hangs_up(fake: FakeFinnhub, http: httpx.AsyncClient, chunked: bool, header: str) -> None:
    fault = huge(chunked=chunked)
    fake.answer("AAPL", fault)
    async with http.stream("GET", AAPL) as response:
        assert header in response.headers
        async for part in response.aiter_bytes(MEGABYTE):
            assert part.startswith(b'{"c":255.78,')
            break
    await http.aclose()
    await conversations_are_over()
    # What is on its way fits into two socket buffers.
    assert MEGABYTE <= fault.bytes_sent < 25 * MEGABYTE


@pytest.mark.parametrize("chunked", [False, True])
async def test_huge_body_is_a_whole_quote(fake: FakeFinnhub, http: httpx.AsyncClient, chunked: bool) -> None:
    fault = huge(2, chunked)
    fake.answer("AAPL", fault)
    response = await http.get(AAPL)
    assert response.json()["c"] == 255.78
    assert len(response.content) == fault.bytes_sent == 2 * MEGABYTE


async def test_gzip_bomb_is_small_on_the_wire_and_huge_in_memory(fake: FakeFinnhub, http: httpx.AsyncClient) -> None:
    fake.answer("AAPL", gzip_bomb(8))
    response = await http.get(AAPL)
    assert response.headers["Content-Encoding"] == "gzip"
    assert int(response.headers["Content-Length"]) < 16_000
    assert len(response.content) == 8 * MEGABYTE
    assert response.json()["c"] == 255.78


# Too little


async def test_cut_answer_ends_short_of_what_was_announced(fake: FakeFinnhub) -> None:
    fake.answer("AAPL", cut(10), cut(0), cut(1000))
    for after_bytes in (10, 0, 1000):
        reader, writer = await connect(fake)
        writer.write(request_for("AAPL"))
        head, content = (await reader.read()).split(b"\r\n\r\n")
        announced = int(head.split(b"Content-Length: ")[1])
        assert len(content) == after_bytes < announced
        assert content[:5] == b'{"c":'[:after_bytes]
        writer.close()


async def test_client_sees_a_cut_answer_as_a_protocol_error(fake: FakeFinnhub, http: httpx.AsyncClient) -> None:
    fake.answer("AAPL", cut(10))
    with pytest.raises(httpx.RemoteProtocolError):
        await http.get(AAPL)
    assert (await http.get(AAPL)).status_code == 200


async def test_reset_connection_is_a_reset_and_no_end(fake: FakeFinnhub) -> None:
    fake.answer("AAPL", reset())
    reader, writer = await connect(fake)
    writer.write(request_for("AAPL"))
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    assert statuses(fake) == [("AAPL", 0)]


async def test_trickle_comes_byte_by_byte_and_is_the_usual_answer(fake: FakeFinnhub) -> None:
    fake.answer("AAPL", trickle(0.0001))
    reader, writer = await connect(fake)
    writer.write(request_for("AAPL"))
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.split(b"Content-Length: ")[1])
    parts: list[bytes] = []
    while sum(map(len, parts)) < length:
        parts.append(await reader.read(length))
    assert b"".join(parts) == fake.quotes["AAPL"].json()
    assert len(parts) > 20
    writer.write(request_for("KO"))
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.close()


async def test_each_byte_of_a_trickle_takes_its_time(fake: FakeFinnhub) -> None:
    fake.answer("AAPL", trickle(0.01))
    reader, writer = await connect(fake)
    writer.write(request_for("AAPL"))
    await reader.readuntil(b"\r\n\r\n")
    begin = time.monotonic()
    await reader.readexactly(20)
    assert time.monotonic() - begin >= 0.19
    writer.close()


async def test_silence_is_broken_by_nothing_but_the_end_of_the_client(fake: FakeFinnhub, http: httpx.AsyncClient) -> None:
    fake.answer("AAPL", silence())
    with pytest.raises(httpx.ReadTimeout):
        await http.get(AAPL, timeout=httpx.Timeout(30, read=0.05))
    await conversations_are_over()
    assert statuses(fake) == [("AAPL", 0)]


# The end


@pytest.mark.parametrize("fault", [silence(), trickle(3600), huge()])
async def test_client_may_hang_up_in_the_middle(fake: FakeFinnhub, fault: Fault) -> None:
    fake.answer("AAPL", fault)
    _, writer = await connect(fake)
    writer.write(request_for("AAPL"))
    await fake.wait_for_calls(1)
    writer.close()
    await conversations_are_over()


@pytest.mark.parametrize("fault", [silence(), trickle(3600), huge()])
async def test_closing_the_fake_closes_what_is_open(clock: Clock, fault: Fault) -> None:
    async with asyncio.timeout(30):
        async with FakeFinnhub(clock=clock) as fake:
            fake.answer("AAPL", fault)
            idle_reader, idle_writer = await connect(fake)
            idle_writer.write(request_for("KO"))
            _, writer = await connect(fake)
            # Nobody reads: a huge body fills the buffers and stands still.
            cast(asyncio.Transport, writer.transport).pause_reading()
            writer.write(request_for("AAPL"))
            await fake.wait_for_calls(2)
        await conversations_are_over()
        assert (await idle_reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
    for each in (idle_writer, writer):
        each.close()


async def test_fault_that_is_wrong_itself_is_told_at_the_end(clock: Clock) -> None:
    with pytest.raises(BaseExceptionGroup, match="the fake itself failed") as told:
        async with FakeFinnhub(clock=clock) as fake:
            fake.answer("AAPL", body(b"", headers={"bad name": ""}))
            reader, writer = await connect(fake)
            writer.write(request_for("AAPL"))
            assert await reader.read() == b""
            writer.close()
    assert "name" in str(told.value.exceptions[0])
