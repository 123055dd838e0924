"""`python -m services.analyzer`: one analyzer, configured by the environment alone."""

from shared.starting import importing

with importing(__name__):
    import asyncio

    from services.analyzer.service import analyze
    from services.analyzer.settings import AnalyzerSettings
    from shared.redis.cluster import connect_to
    from shared.redis.deployment import join
    from shared.redis.lease import Lease, hold
    from shared.runtime import run_service, until_ready


async def serve(settings: AnalyzerSettings, stop: asyncio.Event) -> None:
    """Hold every partition this process can get, and analyze each."""
    async with (
        connect_to(settings, service="analyzer") as redis,
        connect_to(settings, service="analyzer", block_seconds=settings.read_block_seconds) as reader,
    ):
        deployment = await until_ready(lambda: join(redis, settings.partitions, settings.sma_period), what="redis", stop=stop)
        if deployment is None:
            return

        async def work(lease: Lease) -> None:
            await analyze(redis, reader, lease, settings, block_ms=int(settings.read_block_seconds * 1000))

        await hold(redis, deployment, "analyzer", settings.lease_seconds, work, stop)


if __name__ == "__main__":
    run_service("analyzer", AnalyzerSettings, serve)
