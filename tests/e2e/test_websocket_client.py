"""A client written only from contract.md talks to the running pipeline."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.e2e.market_data import SPAN_SECONDS
from tests.e2e.pipeline import Pipeline
from tests.e2e.proof import Proof, shown
from tests.e2e.viewer import Book, Message, Talker


async def http_status(port: int, path: str) -> int:
    """The status of a GET."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()
        await writer.wait_closed()


def tickers_of(message: Message) -> set[str]:
    """Every ticker that a message tells of."""
    return {entry["ticker"] for entry in (*message["stocks"], *message["alerts"])}


async def updates(talker: Talker, count: int) -> list[Message]:
    """The next so many updates."""
    return [await talker.receive_type("stock_update") for _ in range(count)]


@pytest.fixture
async def quiet_gateway(pipeline: Pipeline) -> AsyncIterator[Pipeline]:
    """A gateway that has nothing to show yet."""
    async with pipeline:
        await pipeline.migrate()
        gateway = pipeline.start("gateway")
        await pipeline.until(gateway.has_said("listening"), "the gateway to listen")
        yield pipeline
        await pipeline.stop()
        pipeline.check_logs()


async def test_a_client_that_changes_its_subscription_sees_what_it_asked_for(quiet_gateway: Pipeline, proof: Proof) -> None:
    pipeline = quiet_gateway
    async with Talker(pipeline.port, "?tickers=AAPL,SYN.A", path="/ws/stocks") as talker:
        first = await talker.receive()
        assert (first["snapshot"], first["stocks"], first["alerts"]) == (True, [], [])
        pipeline.start("persister")
        pipeline.start("analyzer")
        fetcher = pipeline.start("fetcher", REPLAY_SPEED=str(SPAN_SECONDS / 3))
        seen = await updates(talker, 2)
        assert not any(message["snapshot"] for message in seen)
        assert set().union(*map(tickers_of, seen)) == {"AAPL", "SYN.A"}

        await talker.send(action="subscribe", tickers=["MSFT", "NOT.YET", "AAPL"])
        answer = await talker.receive_type("subscribed")
        assert sorted(answer["tickers"]) == ["AAPL", "MSFT", "NOT.YET", "SYN.A"]
        added = await talker.receive_type("stock_update")
        assert (added["snapshot"], tickers_of(added), added["alerts"]) == (True, {"MSFT"}, [])
        assert "MSFT" in set().union(*map(tickers_of, await updates(talker, 2)))

        await talker.send(action="unsubscribe", tickers=["AAPL"])
        answer = await talker.receive_type("subscribed")
        assert sorted(answer["tickers"]) == ["MSFT", "NOT.YET", "SYN.A"]
        last_of_apple = talker.book.stocks.pop("AAPL")

        await talker.send(action="ping")
        assert (await talker.receive_type("pong"))["cursor"]
        assert await fetcher.finish() == 0
        await until_shown(talker, proof, "MSFT", "SYN.A")
        assert "AAPL" not in talker.book.stocks
        await talker.send(action="subscribe", tickers=["*"])
        assert (await talker.receive_type("subscribed"))["tickers"] == ["*"]
        others = await talker.receive_type("stock_update")
        assert others["snapshot"]
        await until_shown(talker, proof, *proof.expected.latest)
    assert int(last_of_apple["seq"]) < proof.expected.latest["AAPL"].seq
    await proof.check_alerts_seen(talker.book, all_of_them=False)


async def until_shown(talker: Talker, proof: Proof, *tickers: str) -> None:
    """Receive until the last event of these tickers is there, character for character."""

    def is_shown(book: Book, ticker: str) -> bool:
        return book.stocks.get(ticker) == shown(proof.expected.latest[ticker])

    while not all(is_shown(talker.book, ticker) for ticker in tickers):
        await talker.receive()


async def test_what_a_client_does_wrong_is_answered_and_the_tenth_error_ends_it(quiet_gateway: Pipeline) -> None:
    async with Talker(quiet_gateway.port, "?tickers=AAPL,nonsense") as talker:
        codes = [(await talker.receive_type("error"))["code"]]
        for text in ("{", "[]", '{"action":"dance"}', '{"action":"subscribe"}', '{"action":"subscribe","tickers":["MSFT","no ticker"]}'):
            await talker.websocket.send(text)
            codes.append((await talker.receive_type("error"))["code"])
        assert codes == ["bad_ticker", "bad_json", "bad_json", "bad_action", "bad_ticker", "bad_ticker"]
        assert sorted((await talker.receive_type("subscribed"))["tickers"]) == ["AAPL", "MSFT"]
        await talker.send(action="subscribe", tickers=["*"])
        await talker.receive_type("subscribed")
        await talker.send(action="unsubscribe", tickers=["AAPL"])
        assert (await talker.receive_type("error"))["code"] == "not_supported"
        await talker.send(action="ping")
        await talker.receive_type("pong")
        for _ in range(3):
            await talker.websocket.send("again")
        assert await talker.close_code() == 4400


async def test_plain_http_unwelcome_frames_and_an_unreadable_cursor_are_answered_as_the_contract_says(quiet_gateway: Pipeline) -> None:
    port = quiet_gateway.port
    assert await http_status(port, "/healthz") == 200
    assert await http_status(port, "/elsewhere") == 404
    for frame, code in ((b"\x00", 4400), ("x" * 1_000_000, 1009)):
        async with Talker(port) as talker:
            await talker.websocket.send(frame)
            assert await talker.close_code() == code
    async with Talker(port, "?since=nonsense") as talker:
        first = await talker.receive()
    assert (first["snapshot"], first["recovered"], first["alerts"]) == (True, False, [])
