"""How many may be there, from where, and how much each may send; counts are back at zero when all are gone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from websockets.exceptions import InvalidStatus
from websockets.frames import Opcode

from services.gateway.admission import LEAST_SPARE
from services.gateway.entrance import Bounds
from services.gateway.protocol import MOST_TICKERS
from tests.integration.gateway.client import Client
from tests.integration.gateway.conftest import running_gateway
from tests.integration.gateway.market import Market
from tests.integration.gateway.raw import frame, raw, request
from tests.integration.gateway.test_gateway_endings import HINT, http
from tests.integration.gateway.test_gateway_metrics import gain, now, until

PROXY = ("127.0.0.1",)


@pytest.fixture(autouse=True)
async def nothing_is_left(market: Market) -> AsyncIterator[None]:
    """Whatever a test did: afterwards no place is taken."""
    yield
    assert (now("clients"), now("handshakes"), now("subscriptions")) == (0, 0, 0)


async def everybody_left() -> None:
    await until(lambda: now("clients") == now("handshakes") == 0)


async def answer(port: int, *headers: str, path: str = "/ws/stocks/", host: str = "127.0.0.1:8001") -> tuple[int, str]:
    """Status and head of the answer to one handshake, which is given up then."""
    async with raw(port) as client:
        client.send(request(path, *headers, host=host))
        return await client.head()


async def test_at_the_cap_a_client_is_told_when_to_come_again_and_health_is_still_answered(redis_url: str) -> None:
    full = gain("refused_total", reason="full")
    async with running_gateway(redis_url, gateway_max_connections=2) as port:
        async with Client(port) as first, Client(port) as second:
            await first.receive()
            with pytest.raises(InvalidStatus) as refused:
                await Client(port).__aenter__()
            assert refused.value.response.status_code == 503
            assert 1 <= int(refused.value.response.headers["Retry-After"]) <= 5
            assert (await http(port, "GET /healthz"))[0] == 200
            await first.websocket.close()
            await until(lambda: now("clients") == 1)
            async with Client(port) as third:
                await third.receive()
            await second.receive()
        await everybody_left()
    assert full.value == 1


async def test_one_address_has_a_cap_of_its_own(redis_url: str) -> None:
    async with running_gateway(redis_url, gateway_max_connections_per_ip=1) as port:
        async with Client(port) as first:
            await first.receive()
            status, head = await answer(port)
            assert status == 429
            assert "\r\nRetry-After: " in head
            assert (await answer(port, "X-Forwarded-For: 198.51.100.1"))[0] == 429  # anybody can write that
        await everybody_left()


async def test_behind_a_trusted_proxy_each_client_has_a_cap_of_its_own(redis_url: str) -> None:
    async with (
        running_gateway(redis_url, gateway_max_connections_per_ip=1, gateway_trusted_proxies=PROXY) as port,
        AsyncExitStack() as stack,
    ):

        async def comes(*forwarded: str) -> int:
            client = await stack.enter_async_context(raw(port))
            client.send(request("/ws/stocks/", *(f"X-Forwarded-For: {value}" for value in forwarded)))
            return (await client.head())[0]

        assert await comes("198.51.100.1") == 101
        assert await comes("198.51.100.1:4711") == 429
        assert await comes("6.6.6.6, 198.51.100.1") == 429
        assert await comes("6.6.6.6", "198.51.100.1, 127.0.0.1") == 429
        assert await comes("198.51.100.2") == 101
        assert await comes("[2001:db8::1]:80") == 101
        assert await comes("2001:db8::ffff:2") == 429
        assert await comes("2001:db8:0:1::2") == 101
        assert await comes("garbage") == 101
        assert await comes("other garbage") == 429  # both count for the proxy
        assert {await comes(f"203.0.113.{n}") for n in range(2 * LEAST_SPARE)} == {101}
    await everybody_left()


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8001", 101),
        ("http://localhost:8000", "localhost:8001", 101),
        ("https://evil.org", "127.0.0.1:8001", 403),
        ("null", "127.0.0.1:8001", 403),
        ("", "127.0.0.1:8001", 403),
    ],
)
async def test_page_of_the_same_host_name_may_connect_from_another_port(port: int, origin: str, host: str, status: int) -> None:
    assert (await answer(port, f"Origin: {origin}", host=host))[0] == status
    await everybody_left()


async def test_only_listed_origins_may_connect(redis_url: str) -> None:
    async with running_gateway(redis_url, gateway_allowed_origins=("https://app.example.org",)) as port:
        assert (await answer(port, "Origin: https://app.example.org"))[0] == 101
        assert (await answer(port, "Origin: http://127.0.0.1:8000"))[0] == 403
        assert (await answer(port, "Origin: https://app.example.org", "Origin: https://evil.org"))[0] == 403
        assert (await answer(port))[0] == 101
    await everybody_left()


async def test_silent_handshakes_are_bounded(redis_url: str) -> None:
    most = 2 + LEAST_SPARE
    dropped = gain("refused_total", reason="dropped")
    async with running_gateway(redis_url, gateway_max_connections=2, bounds=Bounds(handshake_seconds=600.0)) as port:
        async with AsyncExitStack() as stack:
            silent = [await stack.enter_async_context(raw(port)) for _ in range(most)]
            for client in silent[::2]:
                client.send(b"GET /ws/stocks/ HTTP/1.1\r\nHost:")
            await until(lambda: now("handshakes") == most)
            async with raw(port) as late:
                await late.is_cut()
            await dropped.reaches(1)
        await everybody_left()
        async with Client(port) as client_again:
            await client_again.receive()
    await everybody_left()


async def test_silent_handshakes_end_by_themselves(redis_url: str) -> None:
    async with running_gateway(redis_url, bounds=Bounds(handshake_seconds=0.3)) as port, raw(port) as silent, raw(port) as half:
        half.send(b"GET /ws/stocks/ HTTP/1.1\r\nHost:")
        await silent.is_cut()
        await half.is_cut()
        await everybody_left()


async def test_dripping_headers_do_not_prolong_the_handshake(redis_url: str) -> None:
    async with running_gateway(redis_url, bounds=Bounds(handshake_seconds=0.3)) as port, raw(port) as client:
        client.send(request()[:-2])

        async def drip() -> None:
            while True:
                client.send(b"X-A: b\r\n")
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        await client.is_cut()
        dripping.cancel()
    await everybody_left()


async def test_clients_that_vanish_at_every_point_leave_no_place_taken(redis_url: str) -> None:
    steps = (b"", request()[:40], request(), request("/other"), request("/healthz"), request() + frame(b'{"action":"ping"}'), request() * 2)
    async with running_gateway(redis_url, gateway_max_connections=5) as port:
        for step in steps * 5:
            async with raw(port) as client:
                client.send(step)
                if step:
                    await asyncio.sleep(0)
        await everybody_left()
        async with AsyncExitStack() as stack:
            for _ in range(5):
                await stack.enter_async_context(Client(port))
            assert (await answer(port))[0] == 503
        await everybody_left()


async def test_messages_beyond_the_rate_close_the_connection_with_a_hint(port: int) -> None:
    async with raw(port) as client, Client(port) as other:
        await client.opened()
        client.send(frame(b'{"action":"ping"}') * 500)
        end = await client.end()
        assert end.code == 4429
        assert HINT.search(end.reason)
        await other.receive()
        await other.send(action="ping")
        assert (await other.receive_type("pong"))["type"] == "pong"


async def test_burst_of_three_hundred_is_honest(port: int) -> None:
    async with Client(port) as client:
        await client.receive()
        for _ in range(300):
            await client.send(action="ping")
        for _ in range(300):
            assert (await client.receive())["type"] == "pong"


async def test_pings_beyond_the_rate_are_not_answered_and_close_the_connection(port: int) -> None:
    pongs = 0
    async with raw(port) as client:
        await client.opened()
        client.send(*[frame(b"x" * 125, Opcode.PING) for _ in range(5000)])
        code = 0
        async with asyncio.timeout(15):
            async for opcode, payload in client.frames():
                pongs += opcode == Opcode.PONG
                code = int.from_bytes(payload[:2]) if opcode == Opcode.CLOSE else code
    assert code == 4429
    # What came in one piece of the network with the one too many was answered before that was seen.
    assert 300 <= pongs < 2300


async def test_empty_fragments_without_an_end_close_the_connection(port: int) -> None:
    async with raw(port) as client:
        await client.opened()
        client.send(frame(fin=False), *[frame(opcode=0, fin=False) for _ in range(500)])
        assert (await client.end()).code == 4429


async def subscribed(client: Client) -> set[str]:
    return set((await client.receive_type("subscribed"))["tickers"])


async def test_subscriptions_are_bounded_and_a_message_beyond_the_bound_changes_nothing(port: int) -> None:
    async with Client(port, "?tickers=KO") as client:
        await client.receive()
        names = [f"T{n}" for n in range(MOST_TICKERS)]
        for start in range(0, MOST_TICKERS - 200, 400):
            await client.send(action="subscribe", tickers=names[start : start + 400])
            await subscribed(client)
        await client.send(action="subscribe", tickers=names[-201:])
        assert (await client.receive_type("error"))["code"] == "too_many_tickers"
        await client.send(action="unsubscribe", tickers=[])
        assert len(await subscribed(client)) == 801
        await client.send(action="subscribe", tickers=names[-200:-1])
        assert len(await subscribed(client)) == MOST_TICKERS
        await client.send(action="subscribe", tickers=["*"])
        assert await subscribed(client) == {"*"}


async def test_query_beyond_the_bound_subscribes_to_nothing(market: Market, port: int) -> None:
    await market.trade("KO", "1")
    names = ",".join(["KO", *(f"T{n}" for n in range(MOST_TICKERS))])
    async with Client(port, f"?tickers={names}") as client:
        first = await client.receive()
        assert (first["snapshot"], first["stocks"]) == (True, [])
        assert (await client.receive())["code"] == "too_many_tickers"
        await client.send(action="unsubscribe", tickers=[])
        assert await subscribed(client) == set()


async def test_refusals_are_counted_by_reason_and_told_in_few_lines(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused = {reason: gain("refused_total", reason=reason) for reason in ("path", "origin", "token_in_url")}
    printed = ""

    def is_told() -> bool:
        nonlocal printed
        printed += capsys.readouterr().out
        return "connections were refused" in printed

    async with running_gateway(redis_url) as port:
        for _ in range(20):
            await answer(port, path="/other")
            await answer(port, "Origin: https://evil.org")
            await answer(port, path="/ws/stocks/?token=hunter22")
        await until(is_told)
        await everybody_left()
    assert {reason: counted.value for reason, counted in refused.items()} == {"path": 20, "origin": 20, "token_in_url": 20}
    printed += capsys.readouterr().out
    assert printed.count("connections were refused") <= 2
    assert "last_origin=https://evil.org" in printed
    assert "hunter22" not in printed


async def test_client_that_never_hangs_up_after_a_close_is_cut(port: int) -> None:
    async with raw(port) as client:
        await client.opened()
        client.send(frame(b" " * 4097))
        assert (await client.end()).code == 1009
        await everybody_left()
