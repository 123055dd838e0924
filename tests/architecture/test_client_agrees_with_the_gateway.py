"""The published client stands alone, so it says some things again: the same things."""

import ast
import re
import tomllib

import pytest
import tickstream_client
from hypothesis import given
from hypothesis import strategies as st
from tickstream_client import address
from tickstream_client.parting import UNAUTHORIZED, judge_close

from services.gateway.close_codes import CLOSE_CODES, Reconnect, reason
from services.gateway.protocol import MOST_CURSOR_CHARACTERS, MOST_TICKERS
from services.gateway.service import MOST_MESSAGE_BYTES
from shared import events
from tests.architecture.deployment import CHECKOUT

CLIENT = CHECKOUT / "clients" / "python"
README = (CLIENT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("close", CLOSE_CODES, ids=lambda close: str(close.code))
def test_every_close_of_the_gateway_is_understood(close: tuple[int, Reconnect, str]) -> None:
    code, reconnect, meaning = close
    text = reason(next(each for each in CLOSE_CODES if each.code == code), lambda: 0.5)
    parting = judge_close(code, text)
    assert parting.reason == f"{meaning}, code {code}"
    assert parting.is_final == (reconnect is Reconnect.NEVER)
    assert (parting.hint_seconds is not None) == (reconnect is Reconnect.AFTER_HINT)
    assert (code == UNAUTHORIZED) == (reconnect is Reconnect.WITH_NEW_TOKEN)


@given(st.text(max_size=40) | st.from_regex(r"[A-Z0-9.:\-]{1,33}", fullmatch=True))
def test_tickers_are_the_same(name: str) -> None:
    assert address.is_ticker(name) == events.is_ticker(name)


def test_bounds_are_those_of_the_gateway() -> None:
    assert address.MOST_TICKERS == MOST_TICKERS
    assert address.MOST_CHARACTERS + 3100 < 8192 - 60
    assert MOST_CURSOR_CHARACTERS > 3100
    assert MOST_MESSAGE_BYTES == 4096


def test_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == tickstream_client.__version__


def test_what_is_exported_is_there() -> None:
    assert [name for name in tickstream_client.__all__ if not hasattr(tickstream_client, name)] == []


def test_examples_of_the_readme_are_python() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        compile(block, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_quick_start_is_less_than_five_lines() -> None:
    first = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    assert len([line for line in first.splitlines() if line]) < 5
