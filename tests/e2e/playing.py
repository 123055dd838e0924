"""What the tests of deaths have in common: how far the pipeline is, and bringing it to its end."""

from random import Random

from tests.e2e.pipeline import Pipeline
from tests.e2e.proof import Proof
from tests.e2e.viewer import Viewer


def moments(chance: Random, ticks: int, count: int) -> list[int]:
    """Moments in mid-run, in ticks, each in a part of the run of its own."""
    part = 0.75 / count
    return [int(ticks * (0.02 + part * (number + chance.random()))) for number in range(count)]


async def progress(proof: Proof, name: str) -> int:
    """How far a service is, in ticks; the gateway as far as there is something to show."""
    match name:
        case "fetcher":
            return await proof.count("ticks")
        case "persister":
            return await proof.passed("enriched", "persister")
        case _:
            return await proof.count("enriched")


async def run_until(pipeline: Pipeline, proof: Proof, name: str, moment: int) -> bool:
    """Let the pipeline run until a service has done so many ticks; return whether that is mid-run, and not the end already."""

    async def has_come() -> bool:
        return await progress(proof, name) >= moment

    await pipeline.until(has_come, f"{moment} ticks done by {name}")
    return await progress(proof, name) < proof.expected.ticks


async def run_to_the_end(pipeline: Pipeline, proof: Proof, viewer: Viewer, errors_allowed: tuple[str, ...] = ()) -> None:
    """Let the pipeline finish, and stop it."""
    await pipeline.until(proof.is_complete, "all of the file in both streams and in PostgreSQL")
    await viewer.until(proof.has_all_prices, "the last price of every ticker")
    await pipeline.stop()
    pipeline.check_logs(errors_allowed)
