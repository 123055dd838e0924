"""`examples/websocket_reader.mjs` beside the real pipeline: the browser's client prints each alert once, in Node.js, too."""

import json
import signal
from pathlib import Path

import pytest

from services.admin.embedded import find_free_port
from tests.e2e.pipeline import ROOT, Pipeline, until
from tests.examples.running import outcome, speed, started
from tests.integration.gateway.test_gateway_with_ws import NODE

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="there is no node: install Node.js 20 or later"),
]

NODE_WITH_WEBSOCKET = (str(NODE), "--experimental-websocket")
READER = str(ROOT / "examples/websocket_reader.mjs")


async def test_each_alert_is_printed_once_over_a_gateway_that_restarts(playing: Pipeline, tmp_path: Path) -> None:
    expected = [(event.ticker, event.alert, event.seq) for _, event in outcome().alerts]
    gateway = playing.start("gateway")
    playing.start("analyzer")
    await playing.until(gateway.has_said("listening"), "the gateway")
    with started(tmp_path, *NODE_WITH_WEBSOCKET, READER, f"ws://127.0.0.1:{playing.port}", PRICES="1") as reader:

        def alerts() -> list[tuple[str, str, int]]:
            lines = [json.loads(line) for line in reader.text.rpartition("\n")[0].splitlines() if line.startswith("{")]
            return [(line["ticker"], line["direction"], line["seq"]) for line in lines if "direction" in line]

        async def is_connected() -> bool:
            return "Connected to" in reader.text

        async def has_some() -> bool:
            return len(alerts()) >= len(expected) // 3

        async def has_all() -> bool:
            return len(alerts()) >= len(expected)

        await playing.until(is_connected, "the reader to connect")
        playing.start("fetcher", REPLAY_SPEED=speed(3))
        await playing.until(has_some, "some alerts")
        gateway.terminate()
        assert await gateway.finish() == 0
        playing.start("gateway")
        await playing.until(has_all, "all alerts")
        reader.process.send_signal(signal.SIGINT)
        assert await reader.finish() == 0
        assert sorted(alerts()) == sorted(expected)


@pytest.mark.parametrize(("ticker", "text"), [pytest.param("AAPL", "`make run` starts it", marks=pytest.mark.long), ("aapl", "aapl")])
async def test_it_says_what_is_wrong(tmp_path: Path, ticker: str, text: str) -> None:
    with started(tmp_path, *NODE_WITH_WEBSOCKET, READER, f"ws://127.0.0.1:{find_free_port()}", ticker) as reader:

        async def has_said() -> bool:
            return text in reader.text

        await until(has_said, text)
