"""The whole pipeline with real market data: every entry, row and message equals the oracle's."""

from dataclasses import replace
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.e2e.market_data import outcome, recording
from tests.e2e.pipeline import FreshPipeline
from tests.e2e.proof import Proof
from tests.e2e.viewer import Viewer, first_message

FROM_THE_FUTURE = {"line": "AAPL,12.5,7258118400000,1", "payload": "AAPL,12.5,7258118400000,replay,1,,", "reason": "in the future"}
"""A good line with an event time that no tick can have yet. The reader cannot tell, only Redis can, whose clock counts."""


@pytest.fixture
def file_with_a_future(tmp_path: Path) -> Path:
    """The whole market, and a line from the future at its end."""
    path = tmp_path / "market.csv"
    path.write_text(f"{recording(every=1).text}{FROM_THE_FUTURE['line']}\n", encoding="ascii")
    return path


@pytest.mark.parametrize("partitions", [4, pytest.param(1, marks=pytest.mark.long)])
async def test_streams_rows_and_messages_equal_the_oracle(
    partitions: int, redis: Redis, redis_url: str, database_url: str, file_with_a_future: Path, tmp_path: Path
) -> None:
    expected = outcome(partitions, every=1)
    expected = replace(expected, deadletters=expected.deadletters | {FROM_THE_FUTURE["payload"]: FROM_THE_FUTURE["reason"]})
    proof = Proof(redis, database_url, expected)
    variables = {"SOURCE": "replay", "REPLAY_FILE": str(file_with_a_future)}
    async with FreshPipeline(redis_url, database_url, tmp_path, partitions, **variables) as pipeline:
        await pipeline.migrate()
        gateway, *_ = [pipeline.start(name) for name in ("gateway", "persister", "analyzer")]
        async with Viewer(pipeline.port) as viewer:
            assert await pipeline.start("fetcher").finish() == 0
            await pipeline.until(proof.is_complete, "all of the file in both streams and in PostgreSQL")
            await viewer.until(proof.has_all_prices, "the last price of every ticker")
            assert viewer.connections == 1
            assert gateway.process.poll() is None
            late = await first_message(pipeline.port)
        await pipeline.stop()
        pipeline.check_logs()
    await proof.check_all()
    proof.check_prices(viewer.book.stocks.values())
    proof.check_prices(late["stocks"])
    await proof.check_alerts_seen(viewer.book)
