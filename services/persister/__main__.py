"""`python -m services.persister`: one persister, configured by the environment alone."""

from shared.starting import importing

with importing(__name__):
    import asyncio

    from services.persister.housekeeping import keep_house_hourly
    from services.persister.service import persist
    from services.persister.settings import PersisterSettings
    from services.persister.store import POSTGRES_AWAY, Store, connect_store, pass_over_lost_copies
    from shared.errors import ConfigurationError, NotReady, Problem
    from shared.observe import END_SECONDS, probing
    from shared.redis.cluster import connect_to
    from shared.redis.deployment import join
    from shared.redis.lease import CHECK as LEASES
    from shared.redis.lease import Lease, hold
    from shared.runtime import run_service, until_ready

POSTGRESQL, STORING = "postgresql", "storing"


async def serve(settings: PersisterSettings, stop: asyncio.Event) -> None:
    """Hold every partition this process can get, and store its streams."""
    pass_over_lost_copies(asyncio.get_running_loop())
    database_url = settings.database_url.get_secret_value()
    async with (
        connect_to(settings, service="persister") as redis,
        connect_to(settings, service="persister", block_seconds=settings.read_block_seconds) as reader,
        connect_store(database_url) as store,
        connect_store(database_url, close_seconds=END_SECONDS) as probed,
        connect_store(database_url, close_seconds=END_SECONDS) as kept,
        probing({POSTGRESQL: lambda: check_database(probed, settings.partitions), STORING: lambda: check_storing(store)}),
    ):
        ready = await until_ready(lambda: check_database(store, settings.partitions), what="postgresql", stop=stop, away=POSTGRES_AWAY)
        deployment = await until_ready(lambda: join(redis, settings.partitions, settings.sma_period), what="redis", stop=stop)
        if ready is None or deployment is None:
            return

        async def work(lease: Lease) -> None:
            await persist(redis, reader, store, lease, block_ms=int(settings.read_block_seconds * 1000))

        async with asyncio.TaskGroup() as group:
            housekeeping = group.create_task(keep_house_hourly(kept, settings.retention_days, stop), name="housekeeping")
            await hold(redis, deployment, "persister", settings.lease_seconds, work, stop)
            housekeeping.cancel()


async def check_database(store: Store, partitions: int) -> bool:
    """Raise `NotReady` until the tables are there, `ConfigurationError` if they were set up for other PARTITIONS."""
    found = await store.partitions()
    if found is None:
        raise NotReady("the database is not set up; run `tickstream migrate`")
    if found != partitions:
        allowed = f"this database was set up with PARTITIONS={found}; it is fixed for a deployment"
        raise ConfigurationError((Problem("PARTITIONS", str(partitions), allowed),))
    return True


async def check_storing(store: Store) -> None:
    """Raise `NotReady` while a stream cannot be stored: PostgreSQL may answer and still refuse the rows."""
    for (stream, partition), reason in store.outages.items():
        raise NotReady(f"{stream} of partition {partition} are not stored: {reason}")


if __name__ == "__main__":
    run_service("persister", PersisterSettings, serve, checks=(LEASES, POSTGRESQL, STORING))
