"""The page for operators has a section for every alarm, and none for one that is gone."""

import re

from services.persister.rows import KINDS
from tests.architecture.deployment import CHECKOUT
from tests.architecture.test_dashboard_and_alerts import ALERTS

PAGE = (CHECKOUT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_every_alarm_has_its_section() -> None:
    assert re.findall(r"^### (\w+)$", PAGE, re.MULTILINE) == [rule["alert"] for rule in ALERTS]


def test_every_kind_of_stream_event_is_explained() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == set(KINDS)
