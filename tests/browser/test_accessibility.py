"""Everybody can use the pages: contrast, names, roles and order, in both colour schemes, as axe-core judges them."""

import pytest

from tests.browser.accessibility import violations
from tests.browser.visit import Deployment, Visit

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_dashboard_breaks_no_rule(deployment: Deployment, visit: Visit, scheme: str) -> None:
    await visit.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
    await visit.open(deployment)
    await visit.page.wait_for_selector("#alerts li")
    assert await violations(visit) == []
