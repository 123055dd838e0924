"""`python -m tests.faults.model --seeds 200 --start 0`: more seeds of the model, on servers of its own; one line at the end."""

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from services.admin.embedded import EmbeddedPostgres, EmbeddedRedis, find_free_port
from services.admin.migrate import migrate_postgres
from tests.faults.model.mutations import HARMFUL, NO_TOKEN_CHECK_IN_COMMIT
from tests.faults.model.running import SOUND, STEPS, Failed, quiet, run

MUTATIONS = {mutation.name: mutation for mutation in (SOUND, *HARMFUL, NO_TOKEN_CHECK_IN_COMMIT)}


@contextmanager
def servers() -> Iterator[tuple[str, str]]:
    """The URLs of a Redis and of a PostgreSQL with the schema, gone afterwards."""
    with (
        TemporaryDirectory(prefix="tickstream-model-") as directory,
        EmbeddedRedis(Path(directory, "redis"), find_free_port(), appendonly=False) as redis,
        EmbeddedPostgres(Path(directory, "postgres"), find_free_port(), durable=False) as postgres,
    ):
        with quiet():
            asyncio.run(migrate_postgres(postgres.url, 4))
        yield redis.url, postgres.url


def main() -> int:
    """Play the seeds; return 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.model", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many (200)")
    parser.add_argument("--start", type=int, default=0, help="the first (0)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"steps with faults in each ({STEPS})")
    parser.add_argument("--mutation", choices=list(MUTATIONS), default=SOUND.name, help="a known way to do it wrong")
    asked = parser.parse_args()
    counts: Counter[str] = Counter()
    failed = []
    with servers() as urls:
        for seed in range(asked.start, asked.start + asked.seeds):
            try:
                counts.update(run(*urls, seed, MUTATIONS[asked.mutation], steps=asked.steps))
            except Failed as failure:
                failed.append(seed)
                print(failure, file=sys.stderr)
    happened = ", ".join(f"{what} {count}" for what, count in sorted(counts.items()))
    print(f"{asked.seeds} seeds, {len(failed)} failed {failed or ''}: {happened}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
