"""A feed on a real connection: when it comes back, with what, and when it does not."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve

from services.admin.board import Board
from services.admin.embedded import find_free_port
from services.admin.feed import TOKEN_ADVICE, follow

PATIENCE_SECONDS = 20
UPDATE = '{"type":"stock_update","timestamp":"2026-02-14T21:38:22.104+00:00","snapshot":true,"stocks":[],"alerts":[],"cursor":"a-cursor"}'

Attend = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def server(attend: Attend) -> AsyncIterator[str]:
    """A server that does with each client what the test says; yields its URL."""
    port = find_free_port()
    async with serve(attend, "127.0.0.1", port):
        yield f"ws://127.0.0.1:{port}/ws/stocks/"


async def outcome(*urls: str, board: Board | None = None) -> str:
    """What a feed returns in the end."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await follow(urls, board or Board(), asyncio.Event())


@pytest.mark.parametrize(
    ("code", "reason"), [(1009, "message too big"), (4400, "bad messages"), (4401, "unauthorized"), (4403, "forbidden")]
)
async def test_code_that_says_never_to_come_back_is_heeded(code: int, reason: str) -> None:
    async def refuse(client: ServerConnection) -> None:
        await client.close(code, reason)

    board = Board()
    async with server(refuse) as url:
        advice = f"; {TOKEN_ADVICE}" if code == 4401 else ""
        assert await outcome(url, board=board) == f"{reason}, code {code}{advice}"
    assert board.away_because == f"{reason}, code {code}"


async def test_cut_connection_is_resumed_with_its_cursor() -> None:
    asked: list[str] = []

    async def cut(client: ServerConnection) -> None:
        assert client.request is not None
        asked.append(client.request.path)
        await client.send(UPDATE)
        await client.recv()
        await client.close(*((1012, "restart; reconnect in 0.1 s") if len(asked) == 1 else (4403, "forbidden")))

    async with server(cut) as url:
        assert await outcome(f"{url}?tickers=KO") == "forbidden, code 4403"
    assert asked == ["/ws/stocks/?tickers=KO", "/ws/stocks/?tickers=KO&since=a-cursor"]


@pytest.mark.parametrize("text", ["hello", "[]", '{"type":"stock_update"}'])
async def test_what_is_no_gateway_is_left_alone(text: str) -> None:
    async def chat(client: ServerConnection) -> None:
        await client.send(text)
        await client.wait_closed()

    async with server(chat) as url:
        assert await outcome(url) == "what answers there is no gateway of tickstream"


async def test_next_gateway_is_asked_when_one_is_away() -> None:
    async def refuse(client: ServerConnection) -> None:
        await client.close(4403, "forbidden")

    async with server(refuse) as url:
        assert await outcome(f"ws://127.0.0.1:{find_free_port()}/", url) == "forbidden, code 4403"


async def test_redis_that_was_away_before_a_cut_is_forgotten_after_it() -> None:
    clients = 0

    async def attend(client: ServerConnection) -> None:
        nonlocal clients
        clients += 1
        if clients == 1:
            await client.send('{"type":"status","stale":true,"since":"2026-02-14T21:38:22.104+00:00"}')
            await client.send(UPDATE)
            await client.recv()
            await client.close(1012, "restart; reconnect in 0.1 s")
        else:
            await client.send(UPDATE)
            await client.wait_closed()

    board, back = Board(), asyncio.Event()

    def hear(message: str | None) -> None:
        if message == UPDATE and clients == 2:
            back.set()

    async with server(attend) as url, asyncio.timeout(PATIENCE_SECONDS):
        following = asyncio.create_task(follow([url], board, asyncio.Event(), hear))
        await back.wait()
        assert not board.is_stale
        following.cancel()
        await asyncio.wait((following,))
