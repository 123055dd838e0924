"""`examples/notebook`, cell by cell as Jupyter runs them, beside the real pipeline."""

import ast
import asyncio
import inspect
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.admin.embedded import find_free_port
from tests.e2e.market_data import SHAPES, Quote, record
from tests.e2e.pipeline import ROOT, Pipeline
from tests.examples.running import TICKS, market, outcome, speed
from tests.observed import get

NOTEBOOK = ROOT / "examples/notebook/live_prices.ipynb"
TICKER = "SYN.A"
UPDATES = 3


def cells(kind: str) -> list[dict[str, Any]]:
    """The notebook's cells of a kind."""
    return [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


class Kernel:
    """What cells share: they are run in order, `await` and `async for` outside of functions included."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self._left = iter(cells("code"))

    async def run_until(self, id: str) -> None:
        """Run the cells up to this one."""
        for cell in self._left:
            code = compile("".join(cell["source"]), cell["id"], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            # As in Jupyter the loop is somebody else's: code that is not a coroutine may block it.
            answer = eval(code, self.names)
            if inspect.isawaitable(answer):
                await answer
            if cell["id"] == id:
                return


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """One that was just started."""
    monkeypatch.setenv("TICKER", TICKER)
    monkeypatch.setenv("UPDATES", str(UPDATES))
    monkeypatch.setenv("API_URL", f"http://127.0.0.1:{find_free_port()}")
    return Kernel()


async def test_history_and_what_follows_live_become_one_table(
    playing: Pipeline, kernel: Kernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    port = find_free_port()
    monkeypatch.setenv("API_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("GATEWAY_URL", f"ws://127.0.0.1:{playing.port}")
    for name in ("gateway", "persister", "analyzer"):
        playing.start(name)
    api = playing.start("api", API_PORT=str(port))
    await playing.until(api.has_said("listening"), "the api")
    quotes = market().quotes
    before, after = (write(tmp_path / name, half) for name, half in (("before", quotes[: TICKS // 2]), ("after", quotes[TICKS // 2 :])))
    assert await playing.start("fetcher", REPLAY_FILE=before).finish() == 0

    async def has_history() -> bool:
        answer = await asyncio.to_thread(get, port, f"/api/stocks/{TICKER}/ticks?limit=1000")
        return answer.status == 200 and len(json.loads(answer.body)["items"]) == TICKS // 2 // len(SHAPES)

    await playing.until(has_history, "the first half in PostgreSQL")
    await kernel.run_until("bars")
    # Slowly: it must not be over before the notebook has connected.
    playing.start("fetcher", REPLAY_FILE=after, REPLAY_SPEED=speed(60))
    await kernel.run_until("plot")
    expected = {int(event.ts): float(Decimal(event.price)) for events in outcome().events for event in events if event.ticker == TICKER}
    history, prices = kernel.names["history"], kernel.names["prices"]
    assert len(kernel.names["rows"]) >= UPDATES
    assert len(history) < len(prices)
    assert set(items(prices)) <= set(expected.items())
    assert items(history) == list(expected.items())[: len(history)]
    assert list(prices.index) == sorted(set(prices.index))
    assert not kernel.names["bars"].empty


def write(file: Path, quotes: tuple[Quote, ...]) -> str:
    """A file to replay; return its path."""
    file.write_text(record(quotes).text, encoding="ascii")
    return str(file)


def items(table: Any) -> list[tuple[int, float]]:
    """Times in epoch milliseconds, and prices."""
    return [(int(ts.timestamp() * 1000), price) for ts, price in table["price"].items()]


async def test_without_a_pipeline_it_says_what_to_do(kernel: Kernel) -> None:
    with pytest.raises(SystemExit, match="`make run` starts one"):
        await kernel.run_until("history")


def test_it_is_committed_without_outputs() -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells("code"))
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert json.dumps(json.loads(text), indent=1, ensure_ascii=False) == text.rstrip()
