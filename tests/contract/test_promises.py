"""What was promised of this version holds: nothing that users, other teams or programs stand on is taken away by accident."""

from copy import deepcopy

import pytest

from scripts.json_schemas import Document
from tests.contract.promises import ADDED, all_breaks, breaks, generated, names, promise, promised

NOW = generated()


@pytest.mark.parametrize("name", names())
def test_nothing_that_was_promised_is_broken(name: str) -> None:
    assert [str(each) for each in breaks(name, promised(name), NOW.get(name))] == []


@pytest.mark.parametrize("name", NOW)
def test_what_was_added_is_promised_too(name: str) -> None:
    assert name in names(), ADDED
    assert promised(name) == NOW[name], ADDED


def changed(name: str) -> tuple[dict[str, Document], Document]:
    """All that is generated, with one document to be changed."""
    now = deepcopy(NOW)
    return now, now[name]


def test_a_field_that_is_renamed_is_refused_and_nothing_is_written() -> None:
    now, ticks = changed("entries/ticks.schema.json")
    ticks["properties"]["symbol"] = ticks["properties"].pop("ticker")
    (found,) = [each for each in promise(now) if each.where == "entries/ticks.ticker"]
    assert str(found) == (
        "entries/ticks.ticker: is gone or has another name. Allowed instead: keep it and add the new name beside it, "
        "or describe it as another version (v2), emitted beside this one until nobody reads this one any more."
    )
    assert promised("entries/ticks.schema.json") == NOW["entries/ticks.schema.json"]


def test_a_command_that_demands_more_is_refused() -> None:
    now, subscribe = changed("commands/subscribe.schema.json")
    subscribe["properties"]["since"] = {"type": "string"}
    subscribe["required"].append("since")
    assert [(each.where, each.what) for each in all_breaks(now)] == [("commands/subscribe.since", "must be sent now")]


def test_a_message_that_is_gone_is_refused() -> None:
    now = {name: document for name, document in NOW.items() if name != "messages/pong.schema.json"}
    assert [each.where for each in all_breaks(now)] == ["messages/pong.schema.json"]


@pytest.mark.parametrize(("name", "where"), [("openapi.json", "GET /healthz"), ("asyncapi.json", "market")])
def test_a_path_or_a_channel_that_is_gone_is_refused(name: str, where: str) -> None:
    now, document = changed(name)
    del document["paths" if name == "openapi.json" else "channels"]["/healthz" if name == "openapi.json" else "market"]
    assert [(each.where, "is gone" in each.what) for each in all_breaks(now)] == [(where, True)]
