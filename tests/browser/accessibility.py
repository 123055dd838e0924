"""Judges a page by axe-core: the rules of WCAG 2.2 at level AA that a program can judge."""

from functools import cache
from pathlib import Path

from tests.browser.visit import Visit

AXE = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
JUDGE = """async (tags) => {
  const { violations } = await axe.run(document, { runOnly: tags, resultTypes: ["violations"] });
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id} (${help}) at ${target.join(" ")}: ${failureSummary}`));
}"""


async def violations(visit: Visit) -> list[str]:
    """What the page breaks, an element at a time: rule, place and what would mend it. Colours are judged as they are now."""
    await visit.run(script())
    found: list[str] = await visit.run(JUDGE, TAGS)
    return found


@cache
def script() -> str:
    """The source of axe-core; `make test` fetches it."""
    return AXE.read_text(encoding="utf-8") + "\n;undefined"
