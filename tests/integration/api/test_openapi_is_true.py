"""Every answer to generated requests, good and bad, is what the OpenAPI document says."""

import asyncio
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from shared import streams
from shared.events import Market
from shared.partitions import partition_of
from shared.redis.market import announce
from tests.integration.api.conftest import PARTITIONS, Api
from tests.integration.api.rows import enriched, tick

EXAMPLES = 8
LATEST = '{"ticker":"AAPL","price":255.78,"sma":254.3,"alert":"bullish","ts":1771105101950,"source":"simulated","seq":812}'


def ask_everything(url: str) -> list[str]:
    """Send generated requests to every operation; the operations that were asked."""
    # Here, not above: every worker of the tests imports every file, and this takes a third of a second.
    import schemathesis
    from schemathesis.checks import CHECKS, load_all_checks
    from schemathesis.core.result import Ok
    from schemathesis.generation import GenerationMode

    load_all_checks()
    # That a text is a cursor of ours no schema can say.
    not_expressible: Any = CHECKS.get_by_names(["positive_data_acceptance"])
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    asked = []
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            if mode is GenerationMode.NEGATIVE and not (operation.query or operation.path_parameters):
                continue

            @settings(
                max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
                phases=[Phase.generate], suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: schemathesis.Case[Any]) -> None:
                case.call_and_validate(base_url=url, excluded_checks=not_expressible)

            ask()
        asked.append(operation.path)
    return asked


async def test_answers_are_what_the_document_says(api: Api) -> None:
    await api.store("ticks", [tick(seq, volume="1.5") for seq in range(1, 5)])
    await api.store("enriched", [enriched(1, "1"), enriched(2, "2"), enriched(3, "9", "4", "bullish")])
    await api.redis.hset(streams.latest(partition_of("AAPL", PARTITIONS)), "AAPL", LATEST)
    await announce(api.redis, Market("XNYS", "open", "regular session"))
    asked = await asyncio.to_thread(ask_everything, f"http://127.0.0.1:{api.port}")
    assert len(asked) == 10
