"""A persister whose role owns nothing: it cannot make days, and stores every row all the same."""

import asyncio
import re
import signal
from pathlib import Path

import pytest
from redis.asyncio import Redis

from services.admin.embedded import EmbeddedPostgres, find_free_port
from services.admin.embedded.postgres import DATABASE, ROLE, choose_account, find_binaries
from services.admin.embedded.process import Launch, run_to_end
from services.persister.store import connect_store
from tests.e2e.pipeline import ROOT
from tests.faults.postgres import processes_on, storage
from tests.observed import Observed


def needed_rights() -> list[str]:
    """What docs/storage.md says a role needs."""
    text = (ROOT / "docs" / "storage.md").read_text(encoding="utf-8")
    return [f"GRANT {rights} TO {ROLE}" for rights in re.findall(r"^GRANT (.*) TO persister;$", text, re.MULTILINE)]


def execute_as_superuser(server: EmbeddedPostgres, statements: list[str]) -> None:
    """Stop the server for it: nobody can log in as the superuser."""
    server.stop()
    cluster, binaries = server.data_dir / "cluster", find_binaries()
    command = (str(binaries / "postgres"), "--single", "-j", "-c", "exit_on_error=on", "-D", str(cluster), DATABASE)
    launch = Launch(command, signal.SIGTERM, choose_account(cluster, binaries))
    run_to_end("PostgreSQL", launch, server.log_file, "".join(f"{statement};\n\n" for statement in statements))
    server.start()


@pytest.mark.long
async def test_a_role_with_the_needed_rights_alone_stores_every_row_into_the_default_partition(
    redis: Redis, redis_url: str, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    async with storage(redis, redis_url, postgres_server.url) as stored, processes_on(stored, tmp_path) as pipeline:
        days = await stored.database.fetch(
            "SELECT relid::text FROM pg_partition_tree('ticks') WHERE isleaf AND relid <> 'ticks_default'::regclass"
        )
        owned_by_another = [*(f"DROP TABLE {name}" for (name,) in days), f"REASSIGN OWNED BY {ROLE} TO postgres", *needed_rights()]
        await asyncio.to_thread(execute_as_superuser, postgres_server, owned_by_another)
        observed = Observed(find_free_port())
        persister = pipeline.start("persister", METRICS_PORT=str(observed.port))
        await stored.partition.append("1", "2")
        await redis.xadd("ticks:{0}", {"no": "tick"})
        await stored.partition.append("3")
        await stored.partition.analyze()
        await pipeline.until(stored.is_stored, "all entries to be stored")
        await pipeline.until(observed.is_ready, "the persister to be ready")
        await pipeline.until(
            persister.has_said("housekeeping failed, trying again; rows are stored all the same"), "that days cannot be made"
        )
        async with connect_store(stored.url) as store:
            assert [await store.newest(table, 0, "", 1) for table in ("ticks", "enriched")] == [None, None]
            assert await store.newest_dropped("ticks", 0, "") is None
        await pipeline.stop()
        persister.check_log(("noted in stream_events",))
        await asyncio.to_thread(execute_as_superuser, postgres_server, [f"GRANT SELECT ON stream_events TO {ROLE}"])
        await stored.connect_again()
        assert await stored.database.fetchval("SELECT array_agg(DISTINCT tableoid::regclass::text) FROM ticks") == ["ticks_default"]
        assert await stored.database.fetchval("SELECT array_agg(seq ORDER BY seq) FROM ticks") == [1, 2, 3]
        assert await stored.database.fetchval("SELECT array_agg(kind) FROM stream_events") == ["rejected"]
