"""How connections end, what plain HTTP gets, and how the process starts and stops."""

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr
from websockets.exceptions import InvalidStatus

from services.admin.embedded import find_free_port
from services.gateway.service import Gateway
from services.gateway.settings import GatewaySettings
from shared.errors import ConfigurationError
from tests.integration.gateway.client import Client
from tests.integration.gateway.conftest import running_gateway
from tests.integration.gateway.market import PERIOD, Market

HINT = re.compile(r"reconnect in \d\.\d s$")


async def close_of(client: Client) -> tuple[int, str]:
    """Read to the end; return code and reason of the close frame."""
    close = await client.read_to_the_end()
    assert close is not None
    return close.code, close.reason


async def test_tenth_error_is_answered_and_then_the_connection_closed(port: int) -> None:
    async with Client(port) as client:
        await client.receive()
        for _ in range(10):
            await client.websocket.send("nonsense")
            assert (await client.receive())["code"] == "bad_json"
        assert await close_of(client) == (4400, "bad messages")


async def test_malformed_ticker_in_the_query_counts_as_an_error(port: int) -> None:
    async with Client(port, "?tickers=aapl") as client:
        for _ in range(9):
            await client.websocket.send("nonsense")
        assert (await close_of(client))[0] == 4400


async def test_binary_frame_closes_the_connection(port: int) -> None:
    async with Client(port) as client:
        await client.websocket.send(b'{"action":"ping"}')
        assert (await close_of(client))[0] == 4400


async def test_message_of_four_kib_is_taken_and_a_longer_one_is_too_big(port: int) -> None:
    async with Client(port) as client:
        await client.receive()
        await client.websocket.send('{"action":"ping"}'.ljust(4096))
        assert (await client.receive())["type"] == "pong"
        await client.websocket.send(" " * 4097)
        assert (await close_of(client))[0] == 1009


async def test_fault_of_ours_closes_one_connection_with_a_hint_and_no_other(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_text: str) -> None:
        raise ZeroDivisionError

    async with Client(port) as client, Client(port) as other:
        await client.receive()
        await other.receive()
        with monkeypatch.context() as broken:
            broken.setattr("services.gateway.protocol.parse_command", fail)
            await client.send(action="ping")
            code, reason = await close_of(client)
        assert code == 1011
        assert HINT.search(reason)
        await other.send(action="ping")
        assert (await other.receive())["type"] == "pong"


async def test_stopping_closes_each_client_with_a_hint_of_its_own(market: Market, redis_url: str) -> None:
    async with running_gateway(redis_url) as port:
        clients = [Client(port) for _ in range(8)]
        await asyncio.gather(*(client.__aenter__() for client in clients))
        closing = [asyncio.create_task(close_of(client)) for client in clients]
    ends = await asyncio.gather(*closing)
    assert {code for code, _ in ends} == {1001}
    assert all(HINT.search(reason) for _, reason in ends)
    assert len({reason for _, reason in ends}) > 1


async def test_client_that_comes_before_anything_is_known_is_asked_to_try_later(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.service.LOAD_SECONDS", 0.1)
    settings = GatewaySettings(redis_url=SecretStr(redis_url), gateway_port=find_free_port())
    async with Gateway(settings).listening(), Client(settings.gateway_port) as client:
        code, reason = await close_of(client)
        assert code == 1013
        assert HINT.search(reason)


async def http(port: int, request: str) -> tuple[int, str]:
    """Send a request by hand; return status and whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{request} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return int(answer.split(" ")[1]), answer


async def test_health_is_answered_and_other_paths_are_not_found(port: int) -> None:
    assert (await http(port, "GET /healthz"))[0] == 200
    assert (await http(port, "GET /healthz?x=1"))[0] == 200
    for path in ("/", "/ws", "/ws/stocks//", "/ws/stocksx", "/healthz/"):
        assert (await http(port, f"GET {path}"))[0] == 404
    assert (await http(port, "GET /ws/stocks/"))[0] == 426
    assert (await http(port, "POST /healthz"))[0] == 405


async def test_answers_do_not_tell_the_server_software(port: int) -> None:
    assert "\nserver:" not in (await http(port, "GET /healthz"))[1].lower()


async def test_handshake_for_another_path_is_not_found(port: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await Client(port, path="/other").__aenter__()
    assert refused.value.response.status_code == 404


async def test_taken_port_names_port_and_variable(market: Market, redis_url: str) -> None:
    async with running_gateway(redis_url) as port:
        with pytest.raises(ConfigurationError, match=rf"^GATEWAY_PORT={port}: is taken by another program"):
            async with Gateway(GatewaySettings(redis_url=SecretStr(redis_url), gateway_port=port)).listening():
                pass


async def test_address_of_another_machine_names_the_variable(redis_url: str) -> None:
    settings = GatewaySettings(redis_url=SecretStr(redis_url), gateway_host="192.0.2.1", gateway_port=find_free_port())
    with pytest.raises(ConfigurationError, match=r"^GATEWAY_HOST=192\.0\.2\.1: cannot listen there"):
        async with Gateway(settings).listening():
            pass


@asynccontextmanager
async def process(redis_url: str, port: int, **variables: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m services.gateway` as an operator starts it."""
    environment = {
        "PATH": os.environ["PATH"],
        "REDIS_URL": redis_url,
        "GATEWAY_PORT": str(port),
        "PARTITIONS": "2",
        "SMA_PERIOD": str(PERIOD),
        **variables,
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.gateway", env=environment, stderr=asyncio.subprocess.PIPE
    )  # fmt: skip
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def connected(port: int) -> Client:
    """A client of a process that may be starting still."""
    while True:
        try:
            return await Client(port).__aenter__()
        except OSError:
            await asyncio.sleep(0.05)


async def test_process_ends_soon_and_with_zero_after_sigterm_although_a_handshake_is_never_finished(market: Market, redis_url: str) -> None:
    port, now = find_free_port(), asyncio.get_running_loop().time
    async with asyncio.timeout(30), process(redis_url, port) as child:
        client = await connected(port)
        await client.receive()
        with socket.create_connection(("127.0.0.1", port)) as silent:
            silent.sendall(b"GET /ws/stocks/ HTTP/1.1\r\n")
            await client.send(action="ping")
            await client.receive_type("pong")
            child.terminate()
            terminated_at = now()
            assert (await close_of(client))[0] == 1001
            assert await child.wait() == 0
            assert now() - terminated_at < 4  # sooner than the handshake times out
        await client.__aexit__()


async def test_process_ends_with_two_and_one_line_on_a_taken_port(market: Market, redis_url: str) -> None:
    async with running_gateway(redis_url) as port, process(redis_url, port) as child:
        assert child.stderr is not None
        lines = (await child.stderr.read()).decode().splitlines()
        assert await child.wait() == 2
        assert [line for line in lines if not line.startswith("{")] == [
            f"GATEWAY_PORT={port}: is taken by another program; stop that one or choose another port"
        ]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("GATEWAY_PORT", "0"), ("GATEWAY_PORT", "web"), ("GATEWAY_FLUSH_SECONDS", "-1"), ("GATEWAY_FLUSH_SECONDS", "nan")],
)
async def test_wrong_variable_ends_the_process_with_two_and_names_it(redis_url: str, variable: str, value: str) -> None:
    async with process(redis_url, find_free_port(), **{variable: value}) as child:
        assert child.stderr is not None
        assert (await child.stderr.read()).decode().startswith(f"{variable}={value}: ")
        assert await child.wait() == 2


async def test_other_number_of_partitions_than_the_deployment_ends_the_process_with_two(market: Market, redis_url: str) -> None:
    async with process(redis_url, find_free_port(), PARTITIONS="3") as child:
        assert child.stderr is not None
        assert "PARTITIONS=3: " in (await child.stderr.read()).decode()
        assert await child.wait() == 2
