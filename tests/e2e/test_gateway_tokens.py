"""A gateway that wants tokens, as a process: its key comes from a file, and its log holds neither key nor token."""

import json
from contextlib import suppress
from pathlib import Path

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from tests.e2e.pipeline import Pipeline
from tests.keys import SECRET, sign


async def end(url: str, *, bearer: str = "", offered: str = "", first: str = "") -> int:
    """Shake hands, show a token in one of the three ways, and return how it went: 0 for data, else status or close code."""
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    subprotocols = [Subprotocol("bearer"), Subprotocol(offered)] if offered else None
    try:
        async with connect(url, proxy=None, additional_headers=headers, subprotocols=subprotocols) as client:
            if first:
                await client.send(json.dumps({"action": "auth", "token": first}))
            return 0 if json.loads(await client.recv())["type"] == "stock_update" else -1
    except InvalidStatus as refused:
        return refused.response.status_code
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else -1


async def test_log_at_its_most_talkative_holds_neither_key_nor_token(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(SECRET)
    good, bad = sign({"sub": "somebody"}), sign({"sub": "nobody"}, SECRET + "!")
    async with pipeline:
        await pipeline.migrate()
        gateway = pipeline.start("gateway", GATEWAY_AUTH="jwt", GATEWAY_JWT_KEY_FILE=str(tmp_path / "key"), LOG_LEVEL="debug")
        await pipeline.until(gateway.has_said("listening"), "the gateway to listen")
        url = f"ws://127.0.0.1:{pipeline.port}/ws/stocks/"
        assert [await end(url, bearer=good), await end(url, offered=good), await end(url, first=good)] == [0, 0, 0]
        assert [await end(url, bearer=bad), await end(url, offered=bad), await end(url, first=bad)] == [4401, 4401, 4401]
        assert [await end(f"{url}?token={good}"), await end(f"{url}?tickers=KO&access_token={good}")] == [400, 400]
        with suppress(OSError):
            await end(f"{url}{good}")
        await pipeline.until(gateway.has_said("connections were refused"), "what was refused to be told")
        await pipeline.stop()
        pipeline.check_logs()
    secrets = [SECRET, *(part for token in (good, bad) for part in token.split(".")[1:])]
    assert [secret for secret in secrets if secret in gateway.text] == []
